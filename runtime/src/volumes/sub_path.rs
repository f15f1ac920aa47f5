//! Paths in volumes and containers as a spec writes them. Pure.

use std::io;

/// What is in the place of a part that is neither a file nor a directory.
pub(super) const NEITHER: &str = "it is neither a file nor a directory";

/// The path without slashes at its ends, empty parts and `.`; nothing if it has `..`.
pub(super) fn clean(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

/// Why a part of a volume cannot be opened, so that a person knows what to do.
pub(super) fn explained(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file in the volume".to_owned(),
        io::ErrorKind::NotADirectory => "a part of the path is not a directory".to_owned(),
        io::ErrorKind::PermissionDenied => "a link on the way leads out of the volume".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cleaned_and_never_leads_up() {
        for (given, expected) in [
            ("", Some("")),
            ("/", Some("")),
            ("a", Some("a")),
            ("/a//b/./c/", Some("a/b/c")),
            ("a/..", None),
            ("../a", None),
            ("..data", Some("..data")),
        ] {
            assert_eq!(clean(given).as_deref(), expected, "{given}");
        }
    }
}
