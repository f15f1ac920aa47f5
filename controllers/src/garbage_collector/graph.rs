//! Who owns whom, by UID, as the watches tell it.
//!
//! An owner that no watch has shown is a virtual node: it is looked up before anything is done to what it owns.
//! Invariant: `a` is a dependent of `b` exactly if `b` is among the owners that `a` names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use coracle_api::wellknown::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Identity {
    pub(super) api_version: String,
    pub(super) kind: String,
    /// Empty for an object of the cluster.
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Identity {
    /// An owner as its dependent names it; if it is in a namespace at all, it is in the dependent's.
    pub(super) fn of_owner(owner: &OwnerReference, namespace: &str) -> Self {
        Self {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            namespace: namespace.to_owned(),
            name: owner.name.clone(),
        }
    }
}

/// What is to be looked into.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Attempt {
    /// Whether the object of this UID must go.
    Delete(String),
    /// The dependents of the object of this UID must be cut loose.
    Orphan(String),
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete(uid) => write!(f, "delete {uid}"),
            Self::Orphan(uid) => write!(f, "orphan {uid}"),
        }
    }
}

/// An object in the graph, as others ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) identity: Identity,
    /// No watch has shown it.
    pub(super) is_virtual: bool,
}

/// A dependent, as its owner asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependent {
    pub(super) uid: String,
    pub(super) identity: Identity,
    /// It is itself being deleted and waits for its own dependents.
    pub(super) waits_for_dependents: bool,
}

#[derive(Debug, Clone, Default)]
struct Node {
    identity: Identity,
    /// By UID; whether it blocks that owner's deletion.
    owners: BTreeMap<String, bool>,
    dependents: BTreeSet<String>,
    is_virtual: bool,
    waits_for_dependents: bool,
    is_orphaning: bool,
}

/// The graph.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
}

impl Graph {
    /// Takes in an object as it is now, and tells what must be looked into for it.
    pub(super) fn observe(&mut self, api_version: &str, kind: &str, meta: &ObjectMeta) -> Vec<Attempt> {
        let Some(uid) = meta.uid.clone() else { return Vec::new() };
        let namespace = meta.namespace.clone().unwrap_or_default();
        let has = |finalizer: &str| {
            meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().any(|f| f == finalizer)
        };
        let owners: BTreeMap<String, bool> = meta
            .owner_references
            .iter()
            .flatten()
            .map(|owner| (owner.uid.clone(), owner.block_owner_deletion.unwrap_or(false)))
            .collect();
        let mut attempts = Vec::new();
        let before = self.nodes.get(&uid).cloned();
        let is_new = before.as_ref().is_none_or(|node| node.is_virtual);
        let before = before.unwrap_or_default();
        for owner in before.owners.keys().filter(|owner| !owners.contains_key(*owner)) {
            attempts.extend(self.unlink(owner, &uid));
        }
        // A dependent that blocks no longer may set its owner free.
        let unblocked = before.owners.iter().filter(|(owner, blocks)| **blocks && owners.get(*owner) == Some(&false));
        attempts.extend(unblocked.filter_map(|(owner, _)| self.waiting(owner)));
        for owner in meta.owner_references.iter().flatten() {
            if let Some(attempt) = self.link(owner, &uid, &namespace) {
                attempts.push(attempt);
            }
        }
        let node = Node {
            identity: Identity {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                namespace,
                name: meta.name.clone().unwrap_or_default(),
            },
            owners,
            dependents: self.nodes.get(&uid).map(|node| node.dependents.clone()).unwrap_or_default(),
            is_virtual: false,
            waits_for_dependents: has(FINALIZER_FOREGROUND),
            is_orphaning: has(FINALIZER_ORPHAN),
        };
        if node.is_orphaning && (is_new || !before.is_orphaning) {
            attempts.push(Attempt::Orphan(uid.clone()));
        }
        if node.waits_for_dependents && (is_new || !before.waits_for_dependents) {
            attempts.extend(node.dependents.iter().cloned().map(Attempt::Delete));
            attempts.push(Attempt::Delete(uid.clone()));
        }
        if is_new && !node.identity.namespace.is_empty() {
            // Who named it before it was seen may have named it from where it cannot be an owner.
            let elsewhere =
                |d: &&String| self.nodes.get(*d).is_some_and(|n| n.identity.namespace != node.identity.namespace);
            attempts.extend(node.dependents.iter().filter(elsewhere).cloned().map(Attempt::Delete));
        }
        self.nodes.insert(uid, node);
        attempts
    }

    /// Forgets an owner that is not where its dependents say, and tells what must be looked into. Dependents in other
    /// namespaces mean another place: for them it is looked up once more.
    pub(super) fn not_there(&mut self, uid: &str) -> Vec<Attempt> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let place = |dependent: &String| self.nodes.get(dependent).map(|n| n.identity.namespace.clone());
        let here = Some(node.identity.namespace.clone());
        let (here, others): (BTreeSet<_>, BTreeSet<_>) = node.dependents.into_iter().partition(|d| place(d) == here);
        let mut attempts: Vec<_> = here.into_iter().map(Attempt::Delete).collect();
        if let Some(namespace) = others.first().and_then(place) {
            let identity = Identity { namespace, ..node.identity };
            let next = Node { identity, dependents: others, is_virtual: true, ..Node::default() };
            self.nodes.insert(uid.to_owned(), next);
            attempts.push(Attempt::Delete(uid.to_owned()));
        }
        attempts
    }

    /// Whether the object of this UID has been seen, in a namespace that is not this one.
    pub(super) fn is_elsewhere(&self, uid: &str, namespace: &str) -> bool {
        let seen = self.nodes.get(uid).filter(|node| !node.is_virtual);
        seen.is_some_and(|node| !node.identity.namespace.is_empty() && node.identity.namespace != namespace)
    }

    /// Forgets an object, and tells what must be looked into because it is gone.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<Attempt> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let mut attempts: Vec<_> = node.owners.keys().flat_map(|owner| self.unlink(owner, uid)).collect();
        attempts.extend(node.dependents.into_iter().map(Attempt::Delete));
        attempts
    }

    /// The object of this UID.
    pub(super) fn node(&self, uid: &str) -> Option<Found> {
        let node = self.nodes.get(uid)?;
        Some(Found { identity: node.identity.clone(), is_virtual: node.is_virtual })
    }

    /// What names this object as an owner.
    pub(super) fn dependents_of(&self, uid: &str) -> Vec<Dependent> {
        let dependents = self.nodes.get(uid).into_iter().flat_map(|node| &node.dependents);
        dependents
            .filter_map(|dependent| {
                let node = self.nodes.get(dependent)?;
                Some(Dependent {
                    uid: dependent.clone(),
                    identity: node.identity.clone(),
                    waits_for_dependents: node.waits_for_dependents,
                })
            })
            .collect()
    }

    /// What must be gone before this object may go.
    pub(super) fn blocking_dependents_of(&self, uid: &str) -> Vec<Attempt> {
        let dependents = self.nodes.get(uid).into_iter().flat_map(|node| &node.dependents);
        let blocks =
            |dependent: &&String| self.nodes.get(*dependent).is_some_and(|node| node.owners.get(uid) == Some(&true));
        dependents.filter(blocks).cloned().map(Attempt::Delete).collect()
    }

    fn link(&mut self, owner: &OwnerReference, dependent: &str, namespace: &str) -> Option<Attempt> {
        if let Some(node) = self.nodes.get_mut(&owner.uid) {
            let is_new = node.dependents.insert(dependent.to_owned());
            let place = &node.identity.namespace;
            let misplaced = !node.is_virtual && !place.is_empty() && place != namespace;
            // A dependent that arrives while its owner waits for dependents is one more to see to; one that names an
            // owner in another namespace has none.
            return (is_new && (node.waits_for_dependents || misplaced)).then(|| Attempt::Delete(dependent.to_owned()));
        }
        let node = Node {
            identity: Identity::of_owner(owner, namespace),
            dependents: BTreeSet::from([dependent.to_owned()]),
            is_virtual: true,
            ..Node::default()
        };
        self.nodes.insert(owner.uid.clone(), node);
        Some(Attempt::Delete(owner.uid.clone()))
    }

    fn unlink(&mut self, owner: &str, dependent: &str) -> Option<Attempt> {
        let node = self.nodes.get_mut(owner)?;
        node.dependents.remove(dependent);
        if node.is_virtual && node.dependents.is_empty() {
            self.nodes.remove(owner);
            return None;
        }
        self.waiting(owner)
    }

    fn waiting(&self, owner: &str) -> Option<Attempt> {
        self.nodes.get(owner).filter(|node| node.waits_for_dependents).map(|_| Attempt::Delete(owner.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn seen(graph: &mut Graph, uid: &str, owners: &[&str], more: &Value) -> Vec<String> {
        let owners: Vec<_> = owners
            .iter()
            .map(|o| json!({"apiVersion": "v1", "kind": "K", "name": o, "uid": o, "blockOwnerDeletion": true}))
            .collect();
        let mut meta = json!({"uid": uid, "name": uid, "namespace": "a", "ownerReferences": owners});
        meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        shown(graph.observe("v1", "K", &serde_json::from_value(meta).unwrap()))
    }

    fn shown(attempts: Vec<Attempt>) -> Vec<String> {
        attempts.iter().map(ToString::to_string).collect()
    }

    fn dying(finalizer: &str) -> Value {
        json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer]})
    }

    #[test]
    fn an_owner_never_seen_is_looked_up_before_its_dependents() {
        let mut graph = Graph::default();
        assert_eq!(seen(&mut graph, "pod", &["set"], &json!({})), ["delete set"]);
        assert!(graph.node("set").unwrap().is_virtual);
        assert_eq!(seen(&mut graph, "set", &[], &json!({})), [""; 0]);
        assert!(!graph.node("set").unwrap().is_virtual);
        assert_eq!(shown(graph.remove("set")), ["delete pod"]);
    }

    #[test]
    fn foreground_deletion_goes_through_the_dependents_to_the_owner() {
        let mut graph = Graph::default();
        seen(&mut graph, "set", &[], &json!({}));
        seen(&mut graph, "pod", &["set"], &json!({}));
        assert_eq!(seen(&mut graph, "set", &[], &dying(FINALIZER_FOREGROUND)), ["delete pod", "delete set"]);
        assert_eq!(shown(graph.blocking_dependents_of("set")), ["delete pod"]);
        assert_eq!(seen(&mut graph, "late", &["set"], &json!({})), ["delete late"]);
        assert_eq!(shown(graph.remove("late")), ["delete set"]);
        assert_eq!(shown(graph.remove("pod")), ["delete set"]);
        assert!(graph.blocking_dependents_of("set").is_empty());
    }

    #[test]
    fn an_owner_is_looked_for_wherever_its_dependents_are() {
        let mut graph = Graph::default();
        seen(&mut graph, "near", &["set"], &json!({}));
        assert!(seen(&mut graph, "far", &["set"], &json!({"namespace": "b"})).is_empty(), "it is being looked up");
        assert_eq!(shown(graph.not_there("set")), ["delete near", "delete set"]);
        assert_eq!(graph.node("set").map(|n| n.identity.namespace), Some("b".to_owned()));
        assert_eq!(shown(graph.not_there("set")), ["delete far"]);
        assert!(graph.node("set").is_none());
    }

    #[test]
    fn a_dependent_in_another_namespace_than_its_owner_is_looked_into() {
        let mut graph = Graph::default();
        seen(&mut graph, "far", &["set"], &json!({"namespace": "b"}));
        assert_eq!(seen(&mut graph, "set", &[], &json!({})), ["delete far"], "seen before its owner");
        assert_eq!(seen(&mut graph, "later", &["set"], &json!({"namespace": "b"})), ["delete later"]);
        assert!(graph.is_elsewhere("set", "b") && !graph.is_elsewhere("set", "a") && !graph.is_elsewhere("near", "b"));
    }

    #[test]
    fn orphaning_is_attempted_once() {
        let mut graph = Graph::default();
        seen(&mut graph, "set", &[], &json!({}));
        seen(&mut graph, "pod", &["set"], &json!({}));
        assert_eq!(seen(&mut graph, "set", &[], &dying(FINALIZER_ORPHAN)), ["orphan set"]);
        assert!(seen(&mut graph, "set", &[], &dying(FINALIZER_ORPHAN)).is_empty());
        seen(&mut graph, "pod", &[], &json!({}));
        assert!(graph.dependents_of("set").is_empty());
        assert!(graph.remove("set").is_empty());
    }

    proptest! {
        #[test]
        fn dependents_are_exactly_those_who_name_their_owner(
            steps in proptest::collection::vec((0..6_u8, proptest::collection::btree_set(0..6_u8, 0..3), any::<bool>()), 0..60),
        ) {
            let mut graph = Graph::default();
            for (who, owners, goes) in steps {
                let uid = format!("u{who}");
                if goes {
                    graph.remove(&uid);
                } else {
                    let owners: Vec<_> = owners.iter().filter(|o| **o != who).map(|o| format!("u{o}")).collect();
                    let owners: Vec<_> = owners.iter().map(String::as_str).collect();
                    seen(&mut graph, &uid, &owners, &json!({}));
                }
                for (uid, node) in &graph.nodes {
                    for dependent in &node.dependents {
                        prop_assert!(graph.nodes[dependent].owners.contains_key(uid));
                    }
                    for owner in node.owners.keys() {
                        // An owner that was removed is gone until its dependent is looked into.
                        if let Some(owner) = graph.nodes.get(owner) {
                            prop_assert!(owner.dependents.contains(uid) || !node.is_virtual);
                        }
                    }
                    prop_assert!(!node.is_virtual || !node.dependents.is_empty(), "no idle virtual nodes");
                }
            }
        }
    }
}
