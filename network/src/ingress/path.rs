//! Paths of rules, and which of them a request's path belongs to.
//!
//! What is compared is the path as the client wrote it: letters have case, `%2f` is no slash, `//` is an empty element,
//! and nothing is resolved; so what the backend sees is what was matched. A request whose path climbs (`..`, also
//! written `%2e`) is refused before (see `asked`), as its backend might take it for a path of another rule.

use std::collections::HashMap;

/// How a path is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathType {
    /// This path and no other.
    Exact,
    /// All paths that begin with its elements. `ImplementationSpecific` is the same here.
    Prefix,
}

/// Something for each path of a host.
#[derive(Debug)]
pub(super) struct Paths<T> {
    exact: HashMap<String, T>,
    /// Without the slash at their end, so that the root is empty.
    prefixes: HashMap<String, T>,
    /// The most elements that one of the prefixes has: no more of a request's path need be looked at.
    elements_max: usize,
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), prefixes: HashMap::new(), elements_max: 0 }
    }
}

impl<T> Paths<T> {
    /// Adds a path of a rule; gives back what was there first, which stays.
    pub(super) fn add(&mut self, kind: PathType, path: &str, thing: T) -> Result<(), &T> {
        let (map, key) = match kind {
            PathType::Exact => (&mut self.exact, path),
            PathType::Prefix => {
                let key = path.trim_end_matches('/');
                self.elements_max = self.elements_max.max(key.matches('/').count());
                (&mut self.prefixes, key)
            }
        };
        match map.entry(key.to_owned()) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(thing);
                Ok(())
            }
            std::collections::hash_map::Entry::Occupied(taken) => Err(taken.into_mut()),
        }
    }

    /// What a request's path leads to: the longest path that fits, an exact one before a prefix.
    pub(super) fn find(&self, path: &str) -> Option<&T> {
        self.exact.get(path).or_else(|| {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            let heads = ends.take(self.elements_max + 1).filter_map(|end| self.prefixes.get(path.get(..end)?));
            heads.last()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The paths of rules, and what a request is led to. The order is that of the table in the API's documentation.
    fn check(rules: &[(PathType, &'static str)], asked: &str, expected: Option<&'static str>) {
        let mut paths = Paths::default();
        for (kind, path) in rules {
            paths.add(*kind, path, *path).unwrap();
        }
        assert_eq!(paths.find(asked).copied(), expected, "{asked} in {rules:?}");
    }

    use PathType::{Exact, Prefix};

    #[test]
    fn the_examples_of_the_documentation_hold() {
        check(&[(Prefix, "/")], "/any/path", Some("/"));
        check(&[(Exact, "/foo")], "/foo", Some("/foo"));
        check(&[(Exact, "/foo")], "/bar", None);
        check(&[(Exact, "/foo")], "/foo/", None);
        check(&[(Exact, "/foo/")], "/foo", None);
        check(&[(Prefix, "/foo")], "/foo", Some("/foo"));
        check(&[(Prefix, "/foo")], "/foo/", Some("/foo"));
        check(&[(Prefix, "/foo/")], "/foo", Some("/foo/"));
        check(&[(Prefix, "/foo/")], "/foo/", Some("/foo/"));
        check(&[(Prefix, "/aaa/bb")], "/aaa/bbb", None);
        check(&[(Prefix, "/aaa/bbb")], "/aaa/bbb", Some("/aaa/bbb"));
        check(&[(Prefix, "/aaa/bbb/")], "/aaa/bbb", Some("/aaa/bbb/"));
        check(&[(Prefix, "/aaa/bbb")], "/aaa/bbb/", Some("/aaa/bbb"));
        check(&[(Prefix, "/aaa/bbb")], "/aaa/bbb/ccc", Some("/aaa/bbb"));
        check(&[(Prefix, "/aaa/bbb")], "/aaa/bbbxyz", None);
        check(&[(Prefix, "/"), (Prefix, "/aaa")], "/aaa/ccc", Some("/aaa"));
        check(&[(Prefix, "/"), (Prefix, "/aaa"), (Prefix, "/aaa/bbb")], "/aaa/bbb", Some("/aaa/bbb"));
        check(&[(Prefix, "/"), (Prefix, "/aaa"), (Prefix, "/aaa/bbb")], "/ccc", Some("/"));
        check(&[(Prefix, "/aaa")], "/ccc", None);
        check(&[(Prefix, "/foo"), (Exact, "/foo")], "/foo", Some("/foo"));
    }

    #[test]
    fn an_exact_path_comes_before_a_prefix() {
        let mut paths = Paths::default();
        paths.add(Prefix, "/foo/", "prefix").unwrap();
        paths.add(Exact, "/foo", "exact").unwrap();
        assert_eq!((paths.find("/foo"), paths.find("/foo/")), (Some(&"exact"), Some(&"prefix")));
    }

    #[test]
    fn paths_are_compared_as_they_are_written() {
        check(&[(Prefix, "/admin")], "//admin", None);
        check(&[(Prefix, "/admin")], "/Admin", None);
        check(&[(Prefix, "/a/b")], "/a%2fb", None);
        check(&[(Prefix, "/a/b")], "/a//b", None);
        check(&[(Prefix, "/a")], "/a//b", Some("/a"));
        check(&[(Prefix, "/a")], "/%61", None);
    }

    #[test]
    fn the_first_of_two_that_are_the_same_stays() {
        let mut paths = Paths::default();
        paths.add(Prefix, "/a", 1).unwrap();
        assert_eq!(paths.add(Prefix, "/a/", 2), Err(&1));
        assert_eq!(paths.add(Exact, "/a", 3), Ok(()));
        assert_eq!(paths.find("/a/b"), Some(&1));
    }

    /// What the documentation says, word by word.
    fn fits(kind: PathType, rule: &str, asked: &str) -> bool {
        let elements = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        match kind {
            Exact => rule == asked,
            Prefix => elements(asked).starts_with(&elements(rule.trim_end_matches('/'))),
        }
    }

    proptest! {
        #[test]
        fn what_is_found_fits_and_nothing_longer_does(
            rules in prop::collection::vec((any::<bool>(), "(/[ab]{0,2}){1,4}"), 0..6),
            asked in "(/([abA.]|%2f|%2e){0,2}){1,6}",
        ) {
            let mut paths = Paths::default();
            let mut kept = Vec::new();
            for (is_exact, path) in rules {
                let kind = if is_exact { Exact } else { Prefix };
                if paths.add(kind, &path, (kind, path.clone())).is_ok() {
                    kept.push((kind, path));
                }
            }
            let size = |(kind, path): &(PathType, String)| (path.trim_end_matches('/').len(), *kind == Exact);
            let best = kept.iter().filter(|(kind, path)| fits(*kind, path, &asked)).max_by_key(|rule| size(rule));
            prop_assert_eq!(paths.find(&asked), best);
        }
    }
}
