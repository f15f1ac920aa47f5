//! The objects of one kind as last heard of, with two indices: by namespace and by controlling owner.
//!
//! Invariant: `seen` is never older than any object that was read out of the cache, so whoever remembers
//! the revision of its own write knows whether the cache already shows it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use coracle_api::names::NamespacedName;
use coracle_api::revision::Revision;
use kube::Resource;
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// What can be cached: a built-in kind.
pub(crate) trait Cached:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static
{
}
impl<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static> Cached for K {}

/// What happened to an object.
#[derive(Debug)]
pub(crate) enum Change<K> {
    /// It was not there before.
    Added(Arc<K>),
    /// It was otherwise.
    Updated { old: Arc<K>, new: Arc<K> },
    /// It is gone; this is how it was last.
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// The object as it is, or as it was last.
    pub(crate) fn latest(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Deleted(object) => object,
            Self::Updated { new, .. } => new,
        }
    }

    /// The object before and after, as far as there was one.
    pub(crate) fn sides(&self) -> impl Iterator<Item = &Arc<K>> {
        match self {
            Self::Added(object) | Self::Deleted(object) => [Some(object), None],
            Self::Updated { old, new } => [Some(old), Some(new)],
        }
        .into_iter()
        .flatten()
    }
}

/// A place in the history of a kind, for asking later whether the cache has passed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    revision: Revision,
    lists_begun: u64,
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// A cache, and who hears of its changes.
pub(crate) struct Informer<K> {
    held: RwLock<Held<K>>,
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

struct Held<K> {
    objects: BTreeMap<NamespacedName, Arc<K>>,
    /// By namespace and controlling owner, then by name.
    controlled: HashMap<(String, Option<String>), BTreeMap<String, Arc<K>>>,
    seen: Revision,
    lists_begun: u64,
    lists_done: u64,
}

impl<K> Default for Informer<K> {
    fn default() -> Self {
        let held = Held {
            objects: BTreeMap::new(),
            controlled: HashMap::new(),
            seen: Revision::ZERO,
            lists_begun: 0,
            lists_done: 0,
        };
        Self { held: RwLock::new(held), handlers: Mutex::default(), synced: watch::Sender::new(false) }
    }
}

impl<K: Cached> Informer<K> {
    /// Calls `handler` on every change from now on. To be given before the watch starts.
    pub(crate) fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(handler));
    }

    /// Returns once the first list has arrived.
    pub(crate) async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = synced.wait_for(|done| *done).await;
    }

    /// The object of this name.
    pub(crate) fn get(&self, key: &NamespacedName) -> Option<Arc<K>> {
        self.read(|held| held.objects.get(key).cloned())
    }

    /// All objects of a namespace, by name.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = NamespacedName::new(namespace, "");
        self.read(|held| {
            let rest = held.objects.range(from..);
            rest.take_while(|(key, _)| key.namespace == namespace).map(|(_, object)| Arc::clone(object)).collect()
        })
    }

    /// All objects for which `keep` holds.
    pub(crate) fn filtered(&self, keep: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.read(|held| held.objects.values().filter(|object| keep(object)).cloned().collect())
    }

    /// The objects of a namespace that the owner with this UID controls.
    pub(crate) fn controlled_by(&self, namespace: &str, uid: &str) -> Vec<Arc<K>> {
        self.indexed(namespace, Some(uid))
    }

    /// The objects of a namespace that nobody controls.
    pub(crate) fn orphans(&self, namespace: &str) -> Vec<Arc<K>> {
        self.indexed(namespace, None)
    }

    fn indexed(&self, namespace: &str, uid: Option<&str>) -> Vec<Arc<K>> {
        self.read(|held| {
            let controlled = held.controlled.get(&(namespace.to_owned(), uid.map(str::to_owned)));
            controlled.into_iter().flat_map(BTreeMap::values).map(Arc::clone).collect()
        })
    }

    /// The place in history right after a write that gave an object this `resourceVersion`.
    pub(crate) fn mark(&self, resource_version: Option<&str>) -> Mark {
        let revision = resource_version.and_then(|v| v.parse().ok()).unwrap_or(Revision::ZERO);
        Mark { revision, lists_begun: self.read(|held| held.lists_begun) }
    }

    /// Whether the cache shows everything up to `mark`: the watch passed it, or a whole list began after it.
    pub(crate) fn has_passed(&self, mark: Mark) -> bool {
        self.read(|held| held.seen >= mark.revision || held.lists_done > mark.lists_begun)
    }

    fn read<T>(&self, f: impl FnOnce(&Held<K>) -> T) -> T {
        f(&self.held.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut Held<K>) -> T) -> T {
        f(&mut self.held.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The side of an informer that the watch writes to; there is one per informer.
pub(crate) struct Intake<K> {
    informer: Arc<Informer<K>>,
    handlers: Vec<Handler<K>>,
    listed: Vec<K>,
}

impl<K: Cached> Intake<K> {
    /// Takes over the handlers given so far.
    pub(crate) fn new(informer: Arc<Informer<K>>) -> Self {
        let handlers = std::mem::take(&mut *informer.handlers.lock().unwrap_or_else(PoisonError::into_inner));
        Self { informer, handlers, listed: Vec::new() }
    }

    /// Takes in one event of the watch and tells the handlers what changed by it.
    pub(crate) fn apply(&mut self, event: Event<K>) {
        let changes = match event {
            Event::Apply(object) => self.informer.write(|held| held.put(object)).into_iter().collect(),
            Event::Delete(object) => self.informer.write(|held| held.remove(&object)).into_iter().collect(),
            Event::Init => {
                self.listed.clear();
                self.informer.write(|held| held.lists_begun += 1);
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listed.push(object);
                Vec::new()
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.informer.write(|held| held.replace(listed))
            }
        };
        for change in &changes {
            for handler in &self.handlers {
                handler(change);
            }
        }
        if !*self.informer.synced.borrow() && self.informer.read(|held| held.lists_done > 0) {
            self.informer.synced.send_replace(true);
        }
    }
}

impl<K: Cached> Held<K> {
    fn put(&mut self, mut object: K) -> Option<Change<K>> {
        // Nobody here reads who wrote which field, and it is often a third of an object.
        object.meta_mut().managed_fields = None;
        self.see(&object);
        let key = key_of(&object);
        let new = Arc::new(object);
        let old = self.objects.insert(key.clone(), Arc::clone(&new));
        if let Some(old) = &old {
            self.unindex(&key, old);
        }
        let slot = (key.namespace.clone(), controller_uid(new.as_ref()));
        self.controlled.entry(slot).or_default().insert(key.name, Arc::clone(&new));
        match old {
            None => Some(Change::Added(new)),
            Some(old) if old.meta().resource_version == new.meta().resource_version => None,
            Some(old) => Some(Change::Updated { old, new }),
        }
    }

    fn remove(&mut self, object: &K) -> Option<Change<K>> {
        self.see(object);
        self.forget(&key_of(object))
    }

    fn forget(&mut self, key: &NamespacedName) -> Option<Change<K>> {
        let old = self.objects.remove(key)?;
        self.unindex(key, &old);
        Some(Change::Deleted(old))
    }

    fn replace(&mut self, listed: Vec<K>) -> Vec<Change<K>> {
        self.lists_done = self.lists_begun;
        let listed_keys: BTreeSet<_> = listed.iter().map(key_of).collect();
        let gone: Vec<_> = self.objects.keys().filter(|key| !listed_keys.contains(*key)).cloned().collect();
        let mut changes: Vec<_> = gone.iter().filter_map(|key| self.forget(key)).collect();
        changes.extend(listed.into_iter().filter_map(|object| self.put(object)));
        changes
    }

    fn see(&mut self, object: &K) {
        let revision = object.meta().resource_version.as_deref().and_then(|v| v.parse().ok());
        self.seen = self.seen.max(revision.unwrap_or(Revision::ZERO));
    }

    fn unindex(&mut self, key: &NamespacedName, old: &Arc<K>) {
        let slot = (key.namespace.clone(), controller_uid(old.as_ref()));
        if let Some(names) = self.controlled.get_mut(&slot) {
            names.remove(&key.name);
            if names.is_empty() {
                self.controlled.remove(&slot);
            }
        }
    }
}

fn key_of<K: Cached>(object: &K) -> NamespacedName {
    let meta = object.meta();
    NamespacedName::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn controller_uid<K: Cached>(object: &K) -> Option<String> {
    crate::ownership::controller_of(object.meta()).map(|owner| owner.uid.clone())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;

    fn object(name: &str, revision: u64, owner: Option<&str>) -> ConfigMap {
        let owners: Vec<_> = owner
            .iter()
            .map(|uid| json!({"apiVersion": "v1", "kind": "X", "name": "x", "uid": uid, "controller": true}))
            .collect();
        let metadata =
            json!({"namespace": "a", "name": name, "resourceVersion": revision.to_string(), "ownerReferences": owners});
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    fn told(informer: &Arc<Informer<ConfigMap>>) -> Arc<Mutex<Vec<String>>> {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let words = Arc::clone(&told);
        informer.on_change(move |change| {
            let verb = match change {
                Change::Added(_) => "added",
                Change::Updated { .. } => "updated",
                Change::Deleted(_) => "deleted",
            };
            let name = change.latest().metadata.name.clone().unwrap();
            words.lock().unwrap().push(format!("{verb} {name}"));
        });
        told
    }

    #[test]
    fn a_list_after_a_break_tells_what_the_watch_missed() {
        let informer: Arc<Informer<ConfigMap>> = Arc::default();
        let told = told(&informer);
        let mut intake = Intake::new(Arc::clone(&informer));
        for (name, revision) in [("kept", 1), ("lost", 2), ("changed", 3)] {
            intake.apply(Event::Apply(object(name, revision, None)));
        }
        told.lock().unwrap().clear();
        intake.apply(Event::Init);
        for (name, revision) in [("kept", 1), ("changed", 5), ("new", 6)] {
            intake.apply(Event::InitApply(object(name, revision, None)));
        }
        assert_eq!(informer.in_namespace("a").len(), 3, "nothing is taken away while the list still arrives");
        intake.apply(Event::InitDone);
        assert_eq!(*told.lock().unwrap(), ["deleted lost", "updated changed", "added new"]);
    }

    #[test]
    fn the_index_follows_the_owner() {
        let informer: Arc<Informer<ConfigMap>> = Arc::default();
        let mut intake = Intake::new(Arc::clone(&informer));
        intake.apply(Event::Apply(object("c", 1, None)));
        assert_eq!(informer.orphans("a").len(), 1);
        intake.apply(Event::Apply(object("c", 2, Some("u"))));
        assert_eq!((informer.orphans("a").len(), informer.controlled_by("a", "u").len()), (0, 1));
        intake.apply(Event::Delete(object("c", 3, Some("u"))));
        assert_eq!(informer.controlled_by("a", "u").len(), 0);
    }

    #[test]
    fn a_mark_is_passed_by_the_watch_or_by_a_later_list() {
        let informer: Arc<Informer<ConfigMap>> = Arc::default();
        let mut intake = Intake::new(Arc::clone(&informer));
        let mark = informer.mark(Some("7"));
        assert!(!informer.has_passed(mark));
        intake.apply(Event::Apply(object("c", 7, None)));
        assert!(informer.has_passed(mark));

        let later = informer.mark(Some("9"));
        intake.apply(Event::InitDone);
        assert!(!informer.has_passed(later), "that list may have begun before the write");
        intake.apply(Event::Init);
        intake.apply(Event::InitDone);
        assert!(informer.has_passed(later));
    }
}
