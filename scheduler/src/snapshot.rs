//! What the scheduler knows of the cluster: the nodes, what is placed on each, and the volumes.
//!
//! Invariant: a pod is counted on at most one node. It is counted from the decision on, before the API
//! server has confirmed the binding, so that a burst of pods never fills a node twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use coracle_api::names::{NodeName, Uid};
use k8s_openapi::api::core::v1::Node;

use crate::amounts::{Amounts, Requests};
use crate::storage::Storage;

/// Nodes and what is placed on them.
#[derive(Debug, Default)]
pub struct Snapshot {
    nodes: BTreeMap<NodeName, NodeInfo>,
    placed: HashMap<Uid, NodeName>,
    /// Claims and volumes.
    pub(crate) storage: Storage,
}

/// One node.
#[derive(Debug, Default)]
pub(crate) struct NodeInfo {
    /// The object; absent while only pods speak of it.
    pub(crate) node: Option<Arc<Node>>,
    /// What the node gives to pods.
    pub(crate) allocatable: Amounts,
    /// What its pods ask for.
    pub(crate) requested: Amounts,
    /// The same, with guesses where they say nothing.
    pub(crate) guessed: Amounts,
    pods: HashMap<Uid, Requests>,
}

impl NodeInfo {
    /// How many pods are placed on it.
    pub(crate) fn pod_count(&self) -> i64 {
        i64::try_from(self.pods.len()).unwrap_or(i64::MAX)
    }
}

impl Snapshot {
    /// The nodes that exist, by name.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&NodeName, &Node, &NodeInfo)> {
        self.nodes.iter().filter_map(|(name, info)| Some((name, info.node.as_deref()?, info)))
    }

    /// The node of this name, if it exists.
    pub(crate) fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.get(name)?.node.as_deref()
    }

    /// Takes in a node as it is now, and tells whether anything changed that matters to pods.
    pub(crate) fn put_node(&mut self, name: NodeName, node: Node) -> bool {
        let info = self.nodes.entry(name).or_default();
        let matters = info.node.as_ref().is_none_or(|old| {
            let allocatable = |n: &Node| n.status.as_ref().and_then(|s| s.allocatable.clone());
            old.spec != node.spec
                || old.metadata.labels != node.metadata.labels
                || allocatable(old) != allocatable(&node)
        });
        info.allocatable = Amounts::read(node.status.as_ref().and_then(|s| s.allocatable.as_ref()));
        info.node = Some(Arc::new(node));
        matters
    }

    /// Forgets a node; pods that are still placed on it stay counted, in case it comes back.
    pub(crate) fn remove_node(&mut self, name: &NodeName) {
        if let Some(info) = self.nodes.get_mut(name) {
            info.node = None;
            if info.pods.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// Counts a pod on a node, and on no other.
    pub(crate) fn place(&mut self, uid: Uid, node: NodeName, requests: Requests) {
        self.unplace(&uid);
        let info = self.nodes.entry(node.clone()).or_default();
        info.requested.add(&requests.said);
        info.guessed.add(&requests.guessed);
        self.storage.used(&uid, &requests.claims);
        info.pods.insert(uid.clone(), requests);
        self.placed.insert(uid, node);
    }

    /// No longer counts a pod, and tells whether it was counted.
    pub(crate) fn unplace(&mut self, uid: &Uid) -> bool {
        let Some(node) = self.placed.remove(uid) else { return false };
        if let Some(info) = self.nodes.get_mut(&node)
            && let Some(requests) = info.pods.remove(uid)
        {
            info.requested.subtract(&requests.said);
            info.guessed.subtract(&requests.guessed);
            self.storage.left(uid, &requests.claims);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_counted_is_what_is_placed(steps in proptest::collection::vec((0..6_u8, 0..4_u8), 0..60)) {
            let one = Requests { said: Amounts::read(Some(&[("cpu".to_owned(),
                k8s_openapi::apimachinery::pkg::api::resource::Quantity("1".into()))].into())), ..Requests::default() };
            let mut snapshot = Snapshot::default();
            let mut model: HashMap<u8, u8> = HashMap::new();
            for (pod, node) in steps {
                let uid = Uid::new(format!("p{pod}")).unwrap();
                if node == 0 {
                    prop_assert_eq!(snapshot.unplace(&uid), model.remove(&pod).is_some());
                } else {
                    snapshot.place(uid, NodeName::new(format!("n{node}")).unwrap(), one.clone());
                    model.insert(pod, node);
                }
                for (name, info) in &snapshot.nodes {
                    let expected = model.values().filter(|n| format!("n{n}") == name.as_str()).count();
                    prop_assert_eq!(info.pod_count(), i64::try_from(expected).unwrap());
                    prop_assert_eq!(info.requested.get("cpu"), info.pod_count() * 1000);
                }
            }
        }
    }
}
