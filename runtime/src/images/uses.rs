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
    /// The uids of the pods that use an image, by its full name or by its digest, as they name it: there may be
    /// thousands of pods, and who asks for one image must not go through all of them.
    by_image: BTreeMap<String, BTreeSet<String>>,
    /// A node runs here, and has not yet told which pods it has: whatever is here may be in use.
    awaited: bool,
}

impl Uses {
    /// A node will tell its pods.
    pub(super) fn expect(&mut self) {
        self.awaited = true;
    }

    /// The node has told all its pods, and goes on telling what changes.
    pub(super) fn are_told(&mut self) {
        self.awaited = false;
    }

    /// Whether it is known what is in use, so that the rest may go.
    pub(super) fn are_known(&self) -> bool {
        !self.awaited
    }

    /// Takes note of what a pod names; of what it named before, nothing is kept.
    pub(super) fn note(&mut self, pod: &Pod) {
        let meta = &pod.metadata;
        let Some(uid) = meta.uid.clone() else { return };
        let images = named(pod);
        if self.pods.get(&uid).is_some_and(|known| known.images == images) {
            return;
        }
        self.forget(&uid);
        for image in &images {
            self.by_image.entry(key(image)).or_default().insert(uid.clone());
        }
        let text = |s: &Option<String>| s.clone().unwrap_or_default();
        let name = NamespacedName::new(text(&meta.namespace), text(&meta.name));
        self.pods.insert(uid, Use { pod: name, images });
    }

    /// Forgets a pod. Returns what it used.
    pub(super) fn forget(&mut self, uid: &str) -> Vec<Reference> {
        let Some(Use { images, .. }) = self.pods.remove(uid) else { return Vec::new() };
        for image in &images {
            let key = key(image);
            if let Some(users) = self.by_image.get_mut(&key) {
                users.remove(uid);
                if users.is_empty() {
                    self.by_image.remove(&key);
                }
            }
        }
        images
    }

    /// The pods that use the image of this name and digest, in order.
    pub(super) fn of(&self, reference: Option<&Reference>, digest: &Digest) -> BTreeSet<NamespacedName> {
        let by_name = reference.and_then(|r| self.by_image.get(&key(r)));
        let by_digest = self.by_image.get(digest.as_str());
        let users = by_name.into_iter().chain(by_digest).flatten();
        users.filter_map(|uid| Some(self.pods.get(uid)?.pod.clone())).collect()
    }
}

/// What an image is found by: a digest is the same in every repository.
fn key(reference: &Reference) -> String {
    match reference.pick() {
        Pick::Digest(digest) => digest.to_string(),
        Pick::Tag(_) => reference.to_string(),
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
