//! The nodes of this process: where the API server finds their kubelet APIs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use coracle_api::meet::{HttpService, Nodes};
use coracle_api::names::NodeName;

/// A register that is filled while the parts are built: the API server comes first, its nodes after it.
#[derive(Default)]
pub(crate) struct LocalNodes {
    kubelets: RwLock<BTreeMap<NodeName, Arc<dyn HttpService>>>,
}

impl LocalNodes {
    /// Makes a node known.
    pub(crate) fn add(&self, name: NodeName, kubelet: Arc<dyn HttpService>) {
        self.kubelets.write().unwrap_or_else(PoisonError::into_inner).insert(name, kubelet);
    }
}

impl Nodes for LocalNodes {
    fn kubelet(&self, node: &NodeName) -> Option<Arc<dyn HttpService>> {
        self.kubelets.read().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }
}
