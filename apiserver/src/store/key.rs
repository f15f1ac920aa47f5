//! Keys: where an object stands, and the parts of the key space that are listed and watched.
//!
//! Invariant: a group, a resource and a namespace hold no `/`, so a key names exactly one place.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Where an object stands: `group/resource/namespace/name`, with an empty group for the core group and an empty
/// namespace for objects of the cluster. Keys sort as lists are answered: by the text `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// A part of the key space: all objects of a resource, those of one namespace, or one object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prefix(Arc<str>);

impl Key {
    /// The place of this object; `group` is empty for the core group, `namespace` for objects of the cluster.
    #[must_use]
    pub fn new(group: &str, resource: &str, namespace: &str, name: &str) -> Self {
        Self(format!("{group}/{resource}/{namespace}/{name}").into())
    }

    /// The API group; empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.part(0)
    }

    /// The plural resource.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.part(1)
    }

    /// The namespace; empty for objects of the cluster.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.part(2)
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.part(3)
    }

    /// The whole key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A key as it was written to disk, if it is one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '/').skip(1);
        let named = parts.next().is_some_and(|resource| !resource.is_empty());
        (named && parts.nth(1).is_some_and(|name| !name.is_empty())).then(|| Self(text.into()))
    }

    /// `group/resource/`: the part of the key by which objects and events are kept apart.
    pub(super) fn table(&self) -> &str {
        through_slash(&self.0, 2)
    }

    /// The prefixes that hold this key, as texts: its resource's, its namespace's, its own.
    pub(super) fn prefixes(&self) -> [&str; 3] {
        [through_slash(&self.0, 2), through_slash(&self.0, 3), &self.0]
    }

    fn part(&self, nth: usize) -> &str {
        self.0.splitn(4, '/').nth(nth).unwrap_or_default()
    }
}

/// The text up to its nth slash and with it; `group/resource/` for the second.
fn through_slash(text: &str, nth: usize) -> &str {
    let end = text.match_indices('/').nth(nth - 1).map_or(text.len(), |(at, _)| at + 1);
    text.split_at_checked(end).map_or(text, |(start, _)| start)
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Prefix {
    /// All objects of a resource, in every namespace.
    #[must_use]
    pub fn resource(group: &str, resource: &str) -> Self {
        Self(format!("{group}/{resource}/").into())
    }

    /// The objects of a resource in one namespace.
    #[must_use]
    pub fn namespace(group: &str, resource: &str, namespace: &str) -> Self {
        Self(format!("{group}/{resource}/{namespace}/").into())
    }

    /// One object alone: what a watch with `metadata.name=…` is about.
    #[must_use]
    pub fn object(key: &Key) -> Self {
        Self(Arc::clone(&key.0))
    }

    /// Whether the key is in this part.
    #[must_use]
    pub fn covers(&self, key: &Key) -> bool {
        if self.0.ends_with('/') { key.0.starts_with(&*self.0) } else { self.0 == key.0 }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// What a key of this part has after the prefix.
    #[must_use]
    pub fn rest<'a>(&self, key: &'a Key) -> &'a str {
        key.0.strip_prefix(&*self.0).unwrap_or_default()
    }

    /// The first text that sorts after all keys of this part.
    pub(super) fn end(&self) -> String {
        // A slash is the only byte that ends a prefix, and `0` comes right after it.
        match self.0.strip_suffix('/') {
            Some(part) => format!("{part}0"),
            None => format!("{}\0", self.0),
        }
    }

    pub(super) fn table(&self) -> &str {
        through_slash(&self.0, 2)
    }
}

impl Borrow<str> for Prefix {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_its_parts() {
        let key = Key::new("apps", "deployments", "default", "web");
        assert_eq!((key.group(), key.resource()), ("apps", "deployments"));
        assert_eq!((key.namespace(), key.name()), ("default", "web"));
        let of_the_cluster = Key::new("", "nodes", "", "n1");
        assert_eq!((of_the_cluster.group(), of_the_cluster.namespace(), of_the_cluster.name()), ("", "", "n1"));
        assert_eq!(of_the_cluster.prefixes(), ["/nodes/", "/nodes//", "/nodes//n1"]);
    }

    #[test]
    fn a_prefix_covers_its_part_and_no_more() {
        let key = Key::new("", "pods", "default", "web-1");
        assert!(Prefix::resource("", "pods").covers(&key));
        assert!(Prefix::namespace("", "pods", "default").covers(&key));
        assert!(Prefix::object(&key).covers(&key));
        assert!(!Prefix::object(&key).covers(&Key::new("", "pods", "default", "web-10")));
        assert!(!Prefix::namespace("", "pods", "def").covers(&key));
        assert!(!Prefix::resource("", "pod").covers(&key));
        assert!(!Prefix::resource("apps", "pods").covers(&key));
    }

    #[test]
    fn a_part_ends_after_its_last_key() {
        let key = Key::new("", "pods", "default", "web");
        for (prefix, rest) in [
            (Prefix::resource("", "pods"), "default/web"),
            (Prefix::namespace("", "pods", "default"), "web"),
            (Prefix::object(&key), ""),
        ] {
            assert!(prefix.as_str() <= key.as_str() && key.as_str() < prefix.end().as_str());
            assert_eq!(prefix.rest(&key), rest);
        }
        assert!(Prefix::namespace("", "pods", "default").end().as_str() < "/pods/default1/a");
        assert!(Prefix::object(&key).end().as_str() < "/pods/default/web-1");
    }

    #[test]
    fn a_key_is_read_back_and_a_fragment_is_refused() {
        let key = Key::new("", "pods", "default", "web");
        assert_eq!(Key::parse(key.as_str()), Some(key));
        for bad in ["", "/pods", "/pods/default", "/pods/default/", "a//b/c"] {
            assert_eq!(Key::parse(bad), None, "{bad}");
        }
    }
}
