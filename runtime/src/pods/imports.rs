//! What a pod's programs import, shown on the pod: `coracle.dev/imports`, for `kubectl describe pod`.
//!
//! A component cannot use what it does not import, so this bounds what it may do: who imports no `wasi:sockets` and no
//! `wasi:http` has no network. It is written along with the status, never by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// The annotation.
pub(super) const ANNOTATION: &str = "coracle.dev/imports";

/// The most packages that are named of one program: a person reads them.
const PACKAGES_MAX: usize = 16;

/// What is known of the programs of one pod, by container.
#[derive(Default)]
pub(super) struct Imports(Mutex<BTreeMap<String, String>>);

impl Imports {
    /// A container's program imports these.
    pub(super) fn note(&self, container: &str, imports: &[String]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(container.to_owned(), packages(imports));
    }

    /// The annotation's value: `wasi:cli wasi:http`, or for several containers `main: wasi:cli; web: wasi:http`.
    /// Nothing while no program is known.
    pub(super) fn text(&self) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = known.iter();
        match (all.next(), known.len()) {
            (None, _) => None,
            (Some((_, packages)), 1) => Some(packages.clone()),
            (Some(_), _) => {
                let each = known.iter().map(|(container, packages)| format!("{container}: {packages}"));
                Some(each.collect::<Vec<_>>().join("; "))
            }
        }
    }
}

/// The packages of what is imported, in order, as `wasi:cli wasi:http`.
fn packages(imports: &[String]) -> String {
    let package = |name: &String| name.split(['/', '#', '@']).next().unwrap_or_default().to_owned();
    let all: BTreeSet<String> = imports.iter().map(package).collect();
    let mut named: Vec<&str> = all.iter().map(String::as_str).take(PACKAGES_MAX).collect();
    if all.len() > named.len() {
        named.push("and more");
    }
    if named.is_empty() { "nothing".to_owned() } else { named.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn packages_are_named_once_without_interfaces_and_versions() {
        let imports = ["wasi:http/types@0.2.3", "wasi:cli/stdout@0.2.0", "wasi:cli/environment@0.2.0"];
        assert_eq!(packages(&names(&imports)), "wasi:cli wasi:http");
        assert_eq!(packages(&names(&["wasi_snapshot_preview1#fd_write"])), "wasi_snapshot_preview1");
        assert_eq!(packages(&[]), "nothing");
        let many: Vec<String> = (0..20).map(|n| format!("acme:p{n:02}/x@1.0.0")).collect();
        assert!(packages(&many).ends_with("acme:p15 and more"));
    }

    #[test]
    fn one_container_needs_no_name_and_several_do() {
        let imports = Imports::default();
        assert_eq!(imports.text(), None);
        imports.note("web", &names(&["wasi:http/types@0.2.3"]));
        assert_eq!(imports.text().as_deref(), Some("wasi:http"));
        imports.note("log", &names(&["wasi:cli/stdout@0.2.0"]));
        assert_eq!(imports.text().as_deref(), Some("log: wasi:cli; web: wasi:http"));
    }
}
