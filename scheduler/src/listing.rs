//! A watch as a plain series of "this is so now" and "this is gone", breaks included.
//!
//! It remembers names and UIDs only: after a break it tells of what vanished meanwhile.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

use coracle_api::names::NamespacedName;
use kube::Resource;
use kube::runtime::watcher::Event;

/// One piece of news about a kind.
#[derive(Debug)]
pub(crate) enum News<K> {
    /// The object is so now.
    Put(Box<K>),
    /// The object of this name, with this UID, is gone.
    Gone(NamespacedName, String),
}

/// What is known to exist.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    known: HashMap<NamespacedName, String>,
    listed: HashSet<NamespacedName>,
    complete: bool,
}

impl Listing {
    /// Whether a whole list has arrived since the start.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// What an event of the watch says.
    pub(crate) fn read<K: Resource<DynamicType = ()> + Debug>(&mut self, event: Event<K>) -> Vec<News<K>> {
        match event {
            Event::Apply(object) => self.put(object),
            Event::Delete(object) => self.gone(&key_of(&object)).into_iter().collect(),
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listed.insert(key_of(&object));
                self.put(object)
            }
            Event::InitDone => {
                self.complete = true;
                let gone: Vec<_> = self.known.keys().filter(|key| !self.listed.contains(*key)).cloned().collect();
                gone.iter().filter_map(|key| self.gone(key)).collect()
            }
        }
    }

    fn put<K: Resource<DynamicType = ()> + Debug>(&mut self, object: K) -> Vec<News<K>> {
        let key = key_of(&object);
        let uid = object.meta().uid.clone().unwrap_or_default();
        let mut news = Vec::with_capacity(1);
        match self.known.insert(key.clone(), uid.clone()) {
            Some(old) if old != uid => news.push(News::Gone(key, old)),
            Some(_) | None => {}
        }
        news.push(News::Put(Box::new(object)));
        news
    }

    fn gone<K>(&mut self, key: &NamespacedName) -> Option<News<K>> {
        self.known.remove(key).map(|uid| News::Gone(key.clone(), uid))
    }
}

/// Namespace and name of an object.
pub(crate) fn key_of<K: Resource<DynamicType = ()>>(object: &K) -> NamespacedName {
    let meta = object.meta();
    NamespacedName::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    use super::*;

    fn node(name: &str, uid: &str) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name, "uid": uid}})).unwrap()
    }

    fn told(listing: &mut Listing, event: Event<Node>) -> Vec<String> {
        let words = |news: News<Node>| match news {
            News::Put(node) => format!("put {}", key_of(node.as_ref()).name),
            News::Gone(key, uid) => format!("gone {} {uid}", key.name),
        };
        listing.read(event).into_iter().map(words).collect()
    }

    #[test]
    fn a_break_tells_of_the_vanished_and_the_reborn() {
        let mut listing = Listing::default();
        told(&mut listing, Event::Apply(node("a", "1")));
        told(&mut listing, Event::Apply(node("b", "1")));
        assert!(told(&mut listing, Event::Init).is_empty());
        assert_eq!(told(&mut listing, Event::InitApply(node("b", "2"))), ["gone b 1", "put b"]);
        assert!(!listing.is_complete());
        assert_eq!(told(&mut listing, Event::InitDone), ["gone a 1"]);
        assert!(listing.is_complete());
    }
}
