//! Revisions of a StatefulSet: the pod templates that it had, as ControllerRevisions.
//!
//! A revision's data is a strategic merge patch that puts the template back; `kubectl rollout undo` sends it
//! as it stands. Invariant: the data depends on the template alone, so a template that comes back is known
//! again, by whatever set of that name finds it.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::identity;
use crate::canonical::canonical;
use crate::hash::safe_letters;
use crate::ownership::controller_reference;

/// The hash of a revision's data.
const LABEL_HASH: &str = "controller.kubernetes.io/hash";

/// How much of a set's name a revision's name keeps, so that it stays a name (upstream's 223 bytes).
const PREFIX_MAX: usize = 223;

/// How many revisions are kept where the set does not say.
const HISTORY_LIMIT: i32 = 10;

/// A revision whose data is no pod template.
#[derive(Debug, thiserror::Error)]
#[error("read ControllerRevision {name}")]
pub(crate) struct InvalidRevision {
    name: String,
    #[source]
    source: serde_json::Error,
}

/// What to do about the revision of the set's template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    /// It is the latest.
    Latest(Arc<ControllerRevision>),
    /// It was there before: it becomes the latest, with this number.
    Again(Arc<ControllerRevision>, i64),
    /// It is to be created.
    New(Box<ControllerRevision>),
}

/// The revisions, oldest first.
pub(super) fn sorted(mut revisions: Vec<Arc<ControllerRevision>>) -> Vec<Arc<ControllerRevision>> {
    revisions.sort_by_key(|r| (r.revision.unwrap_or(0), r.metadata.creation_timestamp.clone(), r.name_any()));
    revisions
}

/// Finds the revision of the set's template among its revisions, oldest first.
pub(super) fn wanted(set: &StatefulSet, revisions: &[Arc<ControllerRevision>], collisions: i32) -> Wanted {
    let next = revisions.last().map_or(1, |last| last.revision.unwrap_or(0).saturating_add(1));
    let new = new_revision(set, next, collisions);
    let same = revisions.iter().rev().find(|revision| has_same_data(revision, &new));
    match (same, revisions.last()) {
        (Some(same), Some(last)) if has_same_data(same, last) => Wanted::Latest(Arc::clone(last)),
        (Some(same), _) => Wanted::Again(Arc::clone(same), next),
        (None, _) => Wanted::New(Box::new(new)),
    }
}

/// Whether two revisions put back the same template.
pub(super) fn has_same_data(a: &ControllerRevision, b: &ControllerRevision) -> bool {
    a.data == b.data || canonical(&a.data) == canonical(&b.data)
}

/// The template that a revision puts back.
pub(super) fn template(revision: &ControllerRevision) -> Result<PodTemplateSpec, InvalidRevision> {
    let mut template = revision.data.0.pointer("/spec/template").cloned().unwrap_or(Value::Null);
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    serde_json::from_value(template).map_err(|source| InvalidRevision { name: revision.name_any(), source })
}

/// The revisions that `revisionHistoryLimit` does not keep: neither the current nor the wanted one, nor any
/// that a pod was made from.
pub(super) fn forgotten(
    set: &StatefulSet,
    revisions: &[Arc<ControllerRevision>],
    pods: &[Arc<Pod>],
    in_use: &[&str],
) -> Vec<Arc<ControllerRevision>> {
    let mut live: BTreeSet<&str> = in_use.iter().copied().collect();
    live.extend(pods.iter().map(|pod| identity::revision(pod)));
    let mut history: Vec<_> = revisions.iter().filter(|r| !live.contains(r.name_any().as_str())).cloned().collect();
    let limit = set.spec.revision_history_limit.unwrap_or(HISTORY_LIMIT);
    let excess = usize::try_from(limit).map_or(0, |limit| history.len().saturating_sub(limit));
    history.truncate(excess);
    history
}

/// The revision of the set's template, with this number.
fn new_revision(set: &StatefulSet, number: i64, collisions: i32) -> ControllerRevision {
    let mut template = canonical(&set.spec.template);
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".to_owned(), json!("replace"));
    }
    let data = json!({"spec": {"template": template}});
    let hash = safe_letters(&data.to_string(), collisions);
    let meta = set.spec.template.metadata.clone().unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.insert(LABEL_HASH.to_owned(), hash.clone());
    let name = set.name_any();
    let prefix = name.get(..PREFIX_MAX).unwrap_or(&name);
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}-{hash}")),
            namespace: set.namespace(),
            labels: Some(labels),
            annotations: set.metadata.annotations.clone(),
            owner_references: Some(vec![controller_reference(set)]),
            ..ObjectMeta::default()
        },
        data: RawExtension(data),
        revision: Some(number),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn set(image: &str) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "u",
                "annotations": {"kubernetes.io/change-cause": image}},
            "spec": {"revisionHistoryLimit": 1, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "c", "image": image}], "volumes": []}}},
        }))
        .unwrap()
    }

    fn made(set: &StatefulSet, before: &[Arc<ControllerRevision>]) -> Arc<ControllerRevision> {
        match wanted(set, before, 0) {
            Wanted::New(revision) => Arc::new(*revision),
            other => panic!("not new: {other:?}"),
        }
    }

    #[test]
    fn a_revision_holds_the_patch_that_puts_the_template_back() {
        let revision = made(&set("one"), &[]);
        expect![[r#"
            {
              "apiVersion": "apps/v1",
              "kind": "ControllerRevision",
              "data": {
                "spec": {
                  "template": {
                    "$patch": "replace",
                    "metadata": {
                      "labels": {
                        "app": "web"
                      }
                    },
                    "spec": {
                      "containers": [
                        {
                          "image": "one",
                          "name": "c"
                        }
                      ]
                    }
                  }
                }
              },
              "metadata": {
                "annotations": {
                  "kubernetes.io/change-cause": "one"
                },
                "labels": {
                  "app": "web",
                  "controller.kubernetes.io/hash": "6b5cd4dfc9"
                },
                "name": "web-6b5cd4dfc9",
                "namespace": "a",
                "ownerReferences": [
                  {
                    "apiVersion": "apps/v1",
                    "blockOwnerDeletion": true,
                    "controller": true,
                    "kind": "StatefulSet",
                    "name": "web",
                    "uid": "u"
                  }
                ]
              },
              "revision": 1
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(revision.as_ref()).unwrap());
        let back = template(&revision).unwrap();
        assert_eq!(canonical(&back), canonical(&set("one").spec.template));
        let mut odd = revision.as_ref().clone();
        odd.data = RawExtension(json!({"spec": {"template": 3}}));
        assert_eq!(template(&odd).unwrap_err().to_string(), format!("read ControllerRevision {}", odd.name_any()));
    }

    #[test]
    fn a_template_that_comes_back_is_known_again() {
        let one = made(&set("one"), &[]);
        let two = made(&set("two"), &[Arc::clone(&one)]);
        assert_eq!((one.revision, two.revision), (Some(1), Some(2)));
        let history = sorted(vec![Arc::clone(&two), Arc::clone(&one)]);
        assert_eq!(wanted(&set("two"), &history, 0), Wanted::Latest(two));
        assert_eq!(wanted(&set("one"), &history, 0), Wanted::Again(Arc::clone(&one), 3));
        let Wanted::New(other) = wanted(&set("one"), &[], 1) else { panic!("there is none") };
        assert_ne!(other.name_any(), one.name_any(), "a collision gives another name");
    }

    #[test]
    fn the_oldest_revisions_are_forgotten_but_none_that_is_in_use() {
        let mut all: Vec<Arc<ControllerRevision>> = Vec::new();
        for image in ["one", "two", "three", "four", "five"] {
            let next = made(&set(image), &all);
            all.push(next);
        }
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"labels": {identity::LABEL_REVISION: all[0].name_any()}}}))
                .unwrap();
        let last = all[4].name_any();
        let gone = forgotten(&set("five"), &all, &[Arc::new(pod)], &[&last]);
        assert_eq!(gone.iter().map(|r| r.revision).collect::<Vec<_>>(), [Some(2), Some(3)]);
    }
}
