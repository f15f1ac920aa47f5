//! Who is who in a StatefulSet: the names, labels and volumes that go with an ordinal.
//!
//! Source: `stateful_set_utils.go` in upstream's controller. A pod belongs by its name alone: the set's own
//! name, a dash and its ordinal.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use crate::ownership::controller_reference;

/// The pod's own name, for a Service that selects one pod.
pub(super) const LABEL_POD_NAME: &str = "statefulset.kubernetes.io/pod-name";

/// The pod's ordinal.
pub(super) const LABEL_POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The revision that the pod was made from.
pub(super) const LABEL_REVISION: &str = "controller-revision-hash";

/// The first ordinal: `spec.ordinals.start`, else zero.
pub(super) fn start(set: &StatefulSet) -> i32 {
    set.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0)
}

/// `spec.replicas`, one if absent.
pub(super) fn wanted(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// Whether the set wants a pod of this ordinal.
pub(super) fn is_wanted(set: &StatefulSet, ordinal: i32) -> bool {
    ordinal >= start(set) && i64::from(ordinal) < i64::from(start(set)) + i64::from(wanted(set))
}

/// The name of the pod of this ordinal.
pub(super) fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.name_any())
}

/// The name of a StatefulSet and an ordinal, if this could be the name of one of its pods.
pub(super) fn split(pod: &str) -> Option<(&str, i32)> {
    let (set, ordinal) = pod.rsplit_once('-')?;
    let number = !ordinal.is_empty() && ordinal.bytes().all(|b| b.is_ascii_digit());
    number.then(|| ordinal.parse().ok()).flatten().map(|ordinal| (set, ordinal))
}

/// The pod's ordinal in this set, if it bears the set's name.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let name = pod.metadata.name.as_deref()?;
    split(name).filter(|(parent, _)| set.metadata.name.as_deref() == Some(parent)).map(|(_, ordinal)| ordinal)
}

/// The revision that the pod was made from; empty if it does not say.
pub(super) fn revision(pod: &Pod) -> &str {
    pod.labels().get(LABEL_REVISION).map_or("", String::as_str)
}

/// The name of the claim that a template makes for an ordinal.
pub(super) fn claim_name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template.name_any(), set.name_any())
}

/// The claims of the pod of this ordinal, in the order of their templates.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let one = |template: &PersistentVolumeClaim| {
        let mut labels = template.metadata.labels.clone().unwrap_or_default();
        labels.extend(set.spec.selector.match_labels.clone().unwrap_or_default());
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(claim_name(set, template, ordinal)),
                namespace: set.namespace(),
                labels: Some(labels),
                annotations: template.metadata.annotations.clone(),
                finalizers: template.metadata.finalizers.clone(),
                ..ObjectMeta::default()
            },
            spec: template.spec.clone(),
            status: None,
        }
    };
    set.spec.volume_claim_templates.iter().flatten().map(one).collect()
}

/// The volumes of a pod: the set's claims, and of what it has besides all that bears none of their names.
fn volumes(set: &StatefulSet, ordinal: i32, own: &[Volume]) -> Vec<Volume> {
    let templates = set.spec.volume_claim_templates.as_deref().unwrap_or_default();
    let claimed = templates.iter().map(|template| Volume {
        name: template.name_any(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim_name(set, template, ordinal),
            read_only: None,
        }),
        ..Volume::default()
    });
    let is_claimed = |volume: &Volume| templates.iter().any(|template| template.name_any() == volume.name);
    claimed.chain(own.iter().filter(|volume| !is_claimed(volume)).cloned()).collect()
}

/// The pod of an ordinal, made from the template of a revision.
pub(super) fn new_pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    let name = pod_name(set, ordinal);
    let mut labels = meta.labels.unwrap_or_default();
    labels.extend(own_labels(set, ordinal));
    labels.insert(LABEL_REVISION.to_owned(), revision.to_owned());
    let mut spec = template.spec.clone().unwrap_or_default();
    let volumes = volumes(set, ordinal, spec.volumes.as_deref().unwrap_or_default());
    spec.volumes = (!volumes.is_empty()).then_some(volumes);
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.service_name.clone().filter(|service| !service.is_empty());
    Pod {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: set.namespace(),
            labels: Some(labels),
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// The labels by which a pod tells its ordinal.
pub(super) fn own_labels(set: &StatefulSet, ordinal: i32) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_POD_NAME.to_owned(), pod_name(set, ordinal)),
        (LABEL_POD_INDEX.to_owned(), ordinal.to_string()),
    ])
}

/// Whether the pod tells its name by its label.
pub(super) fn is_labelled(pod: &Pod) -> bool {
    pod.labels().get(LABEL_POD_NAME) == pod.metadata.name.as_ref()
}

/// The volumes that the pod should have instead of its own, if these are not the set's.
pub(super) fn missing_volumes(set: &StatefulSet, pod: &Pod, ordinal: i32) -> Option<Vec<Volume>> {
    let own = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let has = |template: &PersistentVolumeClaim| {
        let name = claim_name(set, template, ordinal);
        own.iter().any(|volume| {
            volume.name == template.name_any()
                && volume.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name == name)
        })
    };
    let all = set.spec.volume_claim_templates.iter().flatten().all(has);
    (!all).then(|| volumes(set, ordinal, own))
}

/// Whether a claim of this name could be one that the set made.
pub(super) fn could_own_claim(set: &StatefulSet, claim: &str) -> bool {
    set.spec.volume_claim_templates.iter().flatten().any(|template| {
        let rest = claim.strip_prefix(&template.name_any()).and_then(|rest| rest.strip_prefix('-'));
        rest.and_then(split).is_some_and(|(parent, _)| set.metadata.name.as_deref() == Some(parent))
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn set() -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "u"},
            "spec": {"replicas": 2, "serviceName": "peers", "ordinals": {"start": 4},
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}, "annotations": {"k": "v"}},
                    "spec": {"containers": [{"name": "c", "image": "i"}],
                        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"tier": "db"}},
                    "spec": {"accessModes": ["ReadWriteOnce"]}}]},
        }))
        .unwrap()
    }

    fn check(given: &impl serde::Serialize, expected: &Expect) {
        expected.assert_eq(&serde_json::to_string_pretty(given).unwrap());
    }

    #[test]
    fn a_pod_has_its_ordinal_s_name_labels_and_claims() {
        let set = set();
        check(
            &new_pod(&set, &set.spec.template, "web-abc", 4),
            &expect![[r#"
            {
              "apiVersion": "v1",
              "kind": "Pod",
              "metadata": {
                "annotations": {
                  "k": "v"
                },
                "labels": {
                  "app": "web",
                  "apps.kubernetes.io/pod-index": "4",
                  "controller-revision-hash": "web-abc",
                  "statefulset.kubernetes.io/pod-name": "web-4"
                },
                "name": "web-4",
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
              "spec": {
                "containers": [
                  {
                    "image": "i",
                    "name": "c"
                  }
                ],
                "hostname": "web-4",
                "subdomain": "peers",
                "volumes": [
                  {
                    "name": "data",
                    "persistentVolumeClaim": {
                      "claimName": "data-web-4"
                    }
                  },
                  {
                    "emptyDir": {},
                    "name": "tmp"
                  }
                ]
              }
            }"#]],
        );
    }

    #[test]
    fn a_claim_has_its_template_s_spec_and_the_selector_s_labels() {
        check(
            &claims(&set(), 5),
            &expect![[r#"
            [
              {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                  "labels": {
                    "app": "web",
                    "tier": "db"
                  },
                  "name": "data-web-5",
                  "namespace": "a"
                },
                "spec": {
                  "accessModes": [
                    "ReadWriteOnce"
                  ]
                }
              }
            ]"#]],
        );
    }

    #[test]
    fn names_tell_the_set_and_the_ordinal() {
        for (name, expected) in [
            ("web-0", Some(("web", 0))),
            ("my-web-12", Some(("my-web", 12))),
            ("web", None),
            ("web-", None),
            ("web-+1", None),
            ("web-x1", None),
            ("web-99999999999", None),
        ] {
            assert_eq!(split(name), expected, "{name}");
        }
        let set = set();
        assert!(could_own_claim(&set, "data-web-7"));
        assert!(!could_own_claim(&set, "data-web"));
        assert!(!could_own_claim(&set, "data-webs-7"));
        assert!(!could_own_claim(&set, "other-web-7"));
        assert!(is_wanted(&set, 5) && !is_wanted(&set, 6) && !is_wanted(&set, 3));
    }

    #[test]
    fn what_an_adopted_pod_lacks_is_seen() {
        let set = set();
        let mut pod = new_pod(&set, &set.spec.template, "web-abc", 4);
        assert!(is_labelled(&pod));
        assert_eq!(missing_volumes(&set, &pod, 4), None);
        pod.labels_mut().remove(LABEL_POD_NAME);
        pod.spec.as_mut().unwrap().volumes = None;
        assert!(!is_labelled(&pod));
        assert_eq!(missing_volumes(&set, &pod, 4).unwrap()[0].name, "data");
    }
}
