//! What the scheduler knows of claims, volumes and storage classes, and which pods use which claim.

use std::collections::{BTreeMap, HashMap, HashSet};

use coracle_api::names::{NamespacedName, Uid};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

/// Claims, volumes, classes, and the users of claims.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    /// By namespace and name.
    pub(crate) claims: BTreeMap<NamespacedName, PersistentVolumeClaim>,
    /// By name.
    pub(crate) volumes: BTreeMap<String, PersistentVolume>,
    /// By name.
    pub(crate) classes: BTreeMap<String, StorageClass>,
    users: HashMap<NamespacedName, HashSet<Uid>>,
}

impl Storage {
    /// Whether a pod that is placed uses the claim.
    pub(crate) fn is_used(&self, claim: &NamespacedName) -> bool {
        self.users.contains_key(claim)
    }

    /// A pod that uses these claims has been placed.
    pub(crate) fn used(&mut self, uid: &Uid, claims: &[NamespacedName]) {
        for claim in claims {
            self.users.entry(claim.clone()).or_default().insert(uid.clone());
        }
    }

    /// It no longer is.
    pub(crate) fn left(&mut self, uid: &Uid, claims: &[NamespacedName]) {
        for claim in claims {
            if let Some(users) = self.users.get_mut(claim) {
                users.remove(uid);
                if users.is_empty() {
                    self.users.remove(claim);
                }
            }
        }
    }
}
