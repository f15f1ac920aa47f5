//! The parts of a pod that subresources of their own change: its ephemeral containers, and what its containers may use.
//!
//! Source of the words: `ValidatePodEphemeralContainersUpdate` and `ValidatePodResize` upstream.

use std::collections::BTreeMap;

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value};

use super::create;
use crate::registry::check::Errors;
use crate::registry::{Subresource, pod_spec};

/// Marks the image, in the API, of a pod that a node runs by itself.
const MIRROR: &str = "kubernetes.io/config.mirror";

const MUTABLE: &str = "only cpu and memory resources are mutable";

/// Puts all back to what it was but the part that may change.
pub(super) fn prepare(part: Subresource, new: &mut Value, old: &Value) {
    let sent = new.get("spec").cloned().unwrap_or_default();
    let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) else { return };
    for field in ["spec", "status"] {
        new.insert(field.to_owned(), old.get(field).cloned().unwrap_or_default());
    }
    keep_metadata(new, old);
    let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else { return };
    match part {
        Subresource::EphemeralContainers => match sent.get("ephemeralContainers") {
            Some(list) => {
                spec.insert("ephemeralContainers".to_owned(), list.clone());
            }
            None => {
                spec.remove("ephemeralContainers");
            }
        },
        Subresource::Resize => take_resources(spec, &sent),
        _ => {}
    }
}

/// Of the metadata nothing may change; what names the object stays as it was sent, for the validation to see.
fn keep_metadata(new: &mut Map<String, Value>, old: &Map<String, Value>) {
    let meta = |object: &Map<String, Value>, field: &str| object.get("metadata").and_then(|m| m.get(field)).cloned();
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let before = meta(old, field);
        let Some(new) = new.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        match before {
            Some(value) => new.insert(field.to_owned(), value),
            None => new.remove(field),
        };
    }
}

/// Takes the resources of containers over from what was sent. If containers came, went or moved, all of them are taken,
/// and the validation refuses them.
fn take_resources(spec: &mut Map<String, Value>, sent: &Value) {
    for field in ["containers", "initContainers"] {
        let names = |list: Option<&Value>| -> Vec<Value> {
            let list = list.and_then(Value::as_array).into_iter().flatten();
            list.map(|c| c.get("name").cloned().unwrap_or_default()).collect()
        };
        let wanted = sent.get(field);
        if names(wanted) != names(spec.get(field)) {
            if let Some(wanted) = wanted {
                spec.insert(field.to_owned(), wanted.clone());
            } else {
                spec.remove(field);
            }
            continue;
        }
        let wanted = wanted.and_then(Value::as_array).into_iter().flatten();
        let kept = spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten();
        for (kept, wanted) in kept.filter_map(Value::as_object_mut).zip(wanted) {
            for field in ["resources", "resizePolicy"] {
                match wanted.get(field) {
                    Some(value) => kept.insert(field.to_owned(), value.clone()),
                    None => kept.remove(field),
                };
            }
        }
    }
}

/// The rules for a change of one part.
pub(super) fn validate(part: Subresource, new: &Pod, old: &Pod) -> Errors {
    let mut errors = Vec::new();
    create::validate_any(&mut errors, new);
    let is_mirror = old.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR));
    let (empty, also_empty) = (PodSpec::default(), PodSpec::default());
    let (new_spec, old_spec) = (new.spec.as_ref().unwrap_or(&empty), old.spec.as_ref().unwrap_or(&also_empty));
    match part {
        Subresource::EphemeralContainers if is_mirror => {
            return vec![FieldError::forbidden("", "static pods do not support ephemeral containers")];
        }
        Subresource::EphemeralContainers => ephemeral(&mut errors, new_spec, old_spec),
        Subresource::Resize if is_mirror => {
            return vec![FieldError::forbidden("", "static pods cannot be resized")];
        }
        Subresource::Resize => resize(&mut errors, new_spec, old_spec, old),
        _ => {}
    }
    errors
}

fn ephemeral(errors: &mut Errors, new: &PodSpec, old: &PodSpec) {
    const PATH: &str = "spec.ephemeralContainers";
    for before in old.ephemeral_containers.iter().flatten() {
        let now = new.ephemeral_containers.iter().flatten().find(|c| c.name == before.name);
        let what = match now {
            Some(now) if now == before => continue,
            Some(_) => "changed",
            None => "removed",
        };
        let detail = format!("existing ephemeral containers {:?} may not be {what}\n", before.name);
        errors.push(FieldError::forbidden(PATH, detail));
    }
}

fn resize(errors: &mut Errors, new: &PodSpec, old: &PodSpec, pod: &Pod) {
    let (before, after) = (pod_spec::quality_of_service(old), pod_spec::quality_of_service(new));
    if before != after {
        errors.push(FieldError::invalid("spec", after, "Pod QOS Class may not change as a result of resizing"));
    }
    if !is_resizable(pod) {
        errors.push(FieldError::forbidden("spec", "Pod running on node without support for resize"));
    }
    let none = Vec::new();
    let (inits, old_inits) =
        (new.init_containers.as_ref().unwrap_or(&none), old.init_containers.as_ref().unwrap_or(&none));
    let ordered = [
        same_order(errors, "containers", &new.containers, &old.containers),
        same_order(errors, "initContainers", inits, old_inits),
    ];
    if ordered.contains(&Order::Changed) {
        return;
    }
    for (index, (new, old)) in inits.iter().zip(old_inits).enumerate() {
        let path = format!("spec.initContainers[{index}].resources");
        if old.restart_policy.as_deref() == Some("Always") {
            container(errors, &path, new, old);
        } else if new != old {
            errors.push(FieldError::forbidden(path, "resources for non-sidecar init containers are immutable"));
        }
    }
    for (index, (new, old)) in new.containers.iter().zip(&old.containers).enumerate() {
        container(errors, &format!("spec.containers[{index}].resources"), new, old);
    }
}

/// Whether the containers are still the same ones, one for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Kept,
    Changed,
}

fn same_order(errors: &mut Errors, field: &str, new: &[Container], old: &[Container]) -> Order {
    let detail = if new.len() != old.len() {
        format!("{field} may not be added or removed on resize")
    } else if new.iter().zip(old).any(|(new, old)| new.name != old.name) {
        format!("{field} may not be renamed or reordered on resize")
    } else {
        return Order::Kept;
    };
    errors.push(FieldError::forbidden("spec", detail));
    Order::Changed
}

/// A node that says nothing about what its running containers use cannot change it.
fn is_resizable(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let running = statuses.iter().find(|s| s.state.as_ref().is_some_and(|state| state.running.is_some()));
    running.is_none_or(|status| status.resources.is_some())
}

fn container(errors: &mut Errors, path: &str, new: &Container, old: &Container) {
    let empty = ResourceRequirements::default();
    let (wanted, had) = (new.resources.as_ref().unwrap_or(&empty), old.resources.as_ref().unwrap_or(&empty));
    for (field, wanted, had) in [("requests", &wanted.requests, &had.requests), ("limits", &wanted.limits, &had.limits)]
    {
        let is_there = |name: &String| wanted.as_ref().is_some_and(|w| w.contains_key(name));
        if had.iter().flatten().any(|(name, _)| !is_there(name)) {
            let detail = format!("resource {field} cannot be removed");
            errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
        }
    }
    let mut mended = new.clone();
    let resources = mended.resources.get_or_insert_default();
    restore(&mut resources.requests, &had.requests);
    restore(&mut resources.limits, &had.limits);
    mended.resize_policy.clone_from(&old.resize_policy);
    let mut before = old.clone();
    before.resources.get_or_insert_default();
    if mended != before {
        errors.push(FieldError::forbidden("spec", MUTABLE));
    }
}

/// Puts CPU and memory back to what they were.
fn restore(new: &mut Option<BTreeMap<String, Quantity>>, old: &Option<BTreeMap<String, Quantity>>) {
    let mut amounts = new.take().unwrap_or_default();
    for name in ["cpu", "memory"] {
        match old.as_ref().and_then(|old| old.get(name)) {
            Some(amount) => amounts.insert(name.to_owned(), amount.clone()),
            None => amounts.remove(name),
        };
    }
    *new = (!amounts.is_empty() || old.is_some()).then_some(amounts);
}
