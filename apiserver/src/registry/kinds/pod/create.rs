//! What a new pod is made of, and the rules for it.

use std::collections::BTreeMap;

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::registry::check::path::Path;
use crate::registry::check::{Errors, text};
use crate::registry::pod_spec::{self, Holder};

/// Sets what a pod starts with.
pub(super) fn prepare(object: &mut Value) {
    let mut spec = object.get("spec").and_then(|s| PodSpec::deserialize(s).ok()).unwrap_or_default();
    let mut status = Map::new();
    status.insert("phase".to_owned(), "Pending".into());
    status.insert("qosClass".to_owned(), pod_spec::quality_of_service(&spec).into());
    if spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
        status.insert("conditions".to_owned(), json!([gated(object)]));
    }
    let changed = complete(&mut spec, object);
    let Some(object) = object.as_object_mut() else { return };
    object.insert("status".to_owned(), Value::Object(status));
    if changed && let Ok(spec) = serde_json::to_value(&spec) {
        object.insert("spec".to_owned(), spec);
    }
}

/// The condition of a pod that is not to be placed yet.
fn gated(object: &Value) -> Value {
    json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
        "lastProbeTime": null,
        "lastTransitionTime": object.pointer("/metadata/creationTimestamp").cloned().unwrap_or_default(),
    })
}

/// Completes a spec by the pod's own labels and annotations; tells whether there was anything to do.
fn complete(spec: &mut PodSpec, object: &Value) -> bool {
    let before = spec.clone();
    let map = |field: &str| -> BTreeMap<String, String> {
        let found = object.pointer(&format!("/metadata/{field}"));
        found.and_then(|map| BTreeMap::deserialize(map).ok()).unwrap_or_default()
    };
    pod_spec::merge_label_keys(spec, &map("labels"));
    let annotations = map("annotations");
    if annotations.keys().any(|key| key.starts_with(pod_spec::APP_ARMOR_CONTAINER))
        && spec.os.as_ref().is_none_or(|os| os.name != "windows")
    {
        let of_pod = spec.security_context.as_ref().and_then(|s| s.app_armor_profile.clone());
        for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
            let key = format!("{}{}", pod_spec::APP_ARMOR_CONTAINER, container.name);
            let profile = annotations.get(&key).and_then(|value| pod_spec::app_armor_of_annotation(value));
            let own = container.security_context.as_ref().is_some_and(|s| s.app_armor_profile.is_some());
            if !own && profile.is_some() && profile != of_pod {
                container.security_context.get_or_insert_default().app_armor_profile = profile;
            }
        }
    }
    *spec != before
}

/// The rules for a new pod.
pub(super) fn validate(object: &Pod) -> Vec<FieldError> {
    let mut errors = Vec::new();
    validate_any(&mut errors, object);
    let (empty, none) = (PodSpec::default(), BTreeMap::new());
    let spec = object.spec.as_ref().unwrap_or(&empty);
    let path = Path::from("spec");
    if spec.ephemeral_containers.as_ref().is_some_and(|c| !c.is_empty()) {
        errors.push(FieldError::forbidden(path.field("ephemeralContainers"), "cannot be set on create"));
    }
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    if gated && !text(&spec.node_name).is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(path.field("nodeName"), detail));
    }
    let annotations = object.metadata.annotations.as_ref().unwrap_or(&none);
    pod_spec::validate_annotations_agree(&mut errors, path, annotations, spec);
    errors
}

/// The rules for a pod, whether it is new or changed.
pub(super) fn validate_any(errors: &mut Errors, object: &Pod) {
    let empty = PodSpec::default();
    let spec = object.spec.as_ref().unwrap_or(&empty);
    if let Some(annotations) = &object.metadata.annotations {
        pod_spec::validate_annotations(errors, Path::from("metadata.annotations"), annotations, spec);
    }
    let path = Path::from("spec");
    pod_spec::validate_spec(errors, path, spec, Holder::Pod(text(&object.metadata.name)));
    if text(&spec.service_account_name).is_empty() {
        tokens_of_nobody(errors, path.field("volumes"), spec);
    }
    let images = |errors: &mut Errors, list: Path<'_>, containers: &[Container]| {
        for (index, container) in containers.iter().enumerate() {
            pod_spec::untrimmed_image(errors, list.index(index), container);
        }
    };
    images(errors, path.field("containers"), &spec.containers);
    images(errors, path.field("initContainers"), spec.init_containers.as_deref().unwrap_or_default());
}

/// A token is issued for a ServiceAccount.
fn tokens_of_nobody(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let Some(projected) = &volume.projected else { continue };
        let path = path.index(index);
        let path = path.field("projected");
        let list = path.field("sources");
        for (index, source) in projected.sources.iter().flatten().enumerate() {
            if source.service_account_token.is_some() {
                let path = list.index(index);
                let detail = "must not be specified when serviceAccountName is not set";
                errors.push(FieldError::forbidden(path.field("serviceAccountToken"), detail));
            }
        }
    }
}
