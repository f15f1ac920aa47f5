//! Which pods of this node use which images: what they name is not removed under them.
//!
//! An image counts as used as long as the pod's object is there, whether its containers run or not: they may start
//! again at any moment.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::names::{Digest, NamespacedName};
use k8s_openapi::api::core::v1::Pod;

use super::name::{Pick, Reference};

/// What one pod uses.
#[derive(Debug)]
struct Use {
    pod: NamespacedName,
    images: Vec<Reference>,
}

/// The pods of the node, by uid.
#[derive(Debug, Default)]
pub(super) struct Uses {
    pods: BTreeMap<String, Use>,
}

impl Uses {
    /// Takes note of what a pod names; of what it named before, nothing is kept.
    pub(super) fn note(&mut self, pod: &Pod) {
        let meta = &pod.metadata;
        let Some(uid) = meta.uid.clone() else { return };
        let text = |s: &Option<String>| s.clone().unwrap_or_default();
        let name = NamespacedName::new(text(&meta.namespace), text(&meta.name));
        self.pods.insert(uid, Use { pod: name, images: named(pod) });
    }

    /// Forgets a pod. Returns what it used.
    pub(super) fn forget(&mut self, uid: &str) -> Vec<Reference> {
        self.pods.remove(uid).map(|pod| pod.images).unwrap_or_default()
    }

    /// The pods that use the image of this name and digest, in order.
    pub(super) fn of(&self, reference: Option<&Reference>, digest: &Digest) -> BTreeSet<NamespacedName> {
        let wanted = |named: &&Reference| match named.pick() {
            Pick::Digest(d) => d == digest,
            Pick::Tag(_) => reference.is_some_and(|r| r.is_same(named)),
        };
        let users = self.pods.values().filter(|u| u.images.iter().any(|named| wanted(&named)));
        users.map(|u| u.pod.clone()).collect()
    }
}

/// The images that a pod's containers name, of all kinds of containers.
fn named(pod: &Pod) -> Vec<Reference> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let plain = spec.init_containers.iter().flatten().chain(&spec.containers).map(|c| c.image.as_deref());
    let added = spec.ephemeral_containers.iter().flatten().map(|c| c.image.as_deref());
    plain.chain(added).flatten().filter_map(|name| name.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_uses_what_any_of_its_containers_names_until_it_is_gone() {
        let digest = Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"namespace": "n", "name": "p", "uid": "1"},
            "spec": {
                "initContainers": [{"name": "i", "image": "docker.io/library/first:1"}],
                "containers": [{"name": "c", "image": "hello"}, {"name": "d", "image": format!("x@{digest}")}],
            },
        }))
        .unwrap();
        let mut uses = Uses::default();
        uses.note(&pod);
        let other = Digest::new(format!("sha256:{}", "b".repeat(64))).unwrap();
        let users = |uses: &Uses, name: &str, digest: &Digest| {
            let reference: Reference = name.parse().unwrap();
            uses.of(Some(&reference), digest).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(users(&uses, "first:1", &other), ["n/p"]);
        assert_eq!(users(&uses, "hello:latest", &other), ["n/p"]);
        assert_eq!(users(&uses, "unnamed:2", &digest), ["n/p"]);
        assert_eq!(users(&uses, "hello:2", &other), [""; 0]);
        assert_eq!(uses.forget("1").len(), 3);
        assert_eq!(users(&uses, "hello:latest", &other), [""; 0]);
    }
}
