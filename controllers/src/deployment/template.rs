//! Pod templates of a Deployment: when two are the same, and the ReplicaSet that one makes.
//!
//! Invariant: the hash depends on the template and the collision count alone, so a controller that starts
//! again names the same ReplicaSet.

use std::collections::BTreeMap;

use coracle_api::wellknown::LABEL_POD_TEMPLATE_HASH;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use crate::canonical::canonical;
use crate::hash::safe_letters;
use crate::ownership::controller_reference;

/// Whether two templates are the same but for the label that tells ReplicaSets apart.
pub(super) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let (a, b) = (without_hash(a), without_hash(b));
    a == b || canonical(&a) == canonical(&b)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(LABEL_POD_TEMPLATE_HASH);
    }
    template
}

/// Ten letters that stand for a template; a collision count other than zero gives others.
pub(super) fn template_hash(template: &PodTemplateSpec, collisions: i32) -> String {
    safe_letters(&canonical(template).to_string(), collisions)
}

/// The ReplicaSet for the Deployment's template as it is now, with no replicas yet.
pub(super) fn new_replicaset(deployment: &Deployment) -> ReplicaSet {
    let spec = deployment.spec.clone();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let hash = template_hash(&spec.template, collisions);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(LABEL_POD_TEMPLATE_HASH.to_owned(), hash.clone());
    let labels: BTreeMap<_, _> = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(LABEL_POD_TEMPLATE_HASH.to_owned(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn template(value: Value) -> PodTemplateSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn templates_differ_by_content_only() {
        let base =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let mut hashed = base.clone();
        hashed["metadata"]["labels"][LABEL_POD_TEMPLATE_HASH] = json!("abc");
        let mut spelled = base.clone();
        spelled["spec"]["volumes"] = json!([]);
        let mut other = base.clone();
        other["spec"]["containers"][0]["image"] = json!("j");
        let base = template(base);
        assert!(same_template(&base, &template(hashed)));
        assert!(same_template(&base, &template(spelled)));
        assert!(!same_template(&base, &template(other)));
    }

    #[test]
    fn the_replicaset_selects_its_own_pods_only() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "u"},
            "spec": {"minReadySeconds": 3, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}},
        }))
        .unwrap();
        let set = new_replicaset(&deployment);
        let hash = set.labels()[LABEL_POD_TEMPLATE_HASH].clone();
        assert_eq!(set.name_any(), format!("web-{hash}"));
        let spec = set.spec;
        assert_eq!(spec.selector.match_labels.unwrap()[LABEL_POD_TEMPLATE_HASH], hash);
        assert_eq!(spec.template.unwrap().metadata.unwrap().labels.unwrap()[LABEL_POD_TEMPLATE_HASH], hash);
        assert_eq!((spec.replicas, spec.min_ready_seconds), (Some(0), Some(3)));
    }
}
