//! Warnings beside an answer, as `kubectl` prints them.
//!
//! Pure. Each is told once, and all together stay below what proxies take as headers: if they are too long, each is
//! cut, and what is still too much is left out.

use std::collections::HashSet;

use http::HeaderValue;

/// So many characters of warnings go out whole: upstream's bound.
const ALL_MAX: usize = 4 * 1024;

/// If they are more, each is cut to so many: upstream's bound.
const EACH_MAX: usize = 256;

/// The values of the `Warning` headers.
pub(super) fn headers(warnings: &[String]) -> Vec<HeaderValue> {
    let mut seen = HashSet::new();
    let told: Vec<&str> = warnings.iter().map(String::as_str).filter(|w| !w.is_empty() && seen.insert(*w)).collect();
    if told.iter().map(|w| w.chars().count()).sum::<usize>() <= ALL_MAX {
        return told.into_iter().filter_map(header).collect();
    }
    let mut written = 0;
    let mut headers = Vec::new();
    for warning in told {
        if written >= ALL_MAX {
            break;
        }
        let cut: String = warning.chars().take(EACH_MAX).collect();
        written += cut.chars().count();
        headers.extend(header(&cut));
    }
    headers
}

/// One header; a warning with control characters is none.
fn header(warning: &str) -> Option<HeaderValue> {
    if warning.chars().any(char::is_control) {
        return None;
    }
    let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(warnings: &[String]) -> Vec<String> {
        headers(warnings).iter().map(|h| String::from_utf8_lossy(h.as_bytes()).into_owned()).collect()
    }

    #[test]
    fn warnings_are_quoted_and_told_once() {
        let warnings = [r#"unknown field "a""#, r#"unknown field "a""#, "", "a\\b", "a\nb", "é"].map(str::to_owned);
        assert_eq!(told(&warnings), [r#"299 - "unknown field \"a\"""#, r#"299 - "a\\b""#, r#"299 - "é""#]);
    }

    #[test]
    fn too_many_warnings_are_cut_and_then_left_out() {
        let long: Vec<String> = (0..100).map(|i| format!("{i:03}{}", "x".repeat(300))).collect();
        let told = told(&long);
        assert_eq!(told.len(), ALL_MAX / EACH_MAX);
        assert!(told.iter().all(|w| w.len() == EACH_MAX + 8));
        let fits: Vec<String> = (0..10).map(|i| format!("{i}{}", "x".repeat(300))).collect();
        assert_eq!(headers(&fits).len(), 10);
    }
}
