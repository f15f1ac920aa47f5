//! What of a pod may change: its image, and little else.

mod difference;

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, NodeAffinity, NodeSelectorTerm, Pod, PodSpec, Toleration};
use serde_json::Value;

use super::create;
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, required, text};
use crate::registry::pod_spec;

const MAY_CHANGE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// The rules for a change of a pod.
pub(super) fn validate(new: &Pod, old: &Pod) -> Errors {
    let mut errors = Vec::new();
    create::validate_any(&mut errors, new);
    annotations(&mut errors, new, old);
    let empty = PodSpec::default();
    let (new, old) = (new.spec.as_ref().unwrap_or(&empty), old.spec.as_ref().unwrap_or(&empty));
    let path = Path::from("spec");
    let none = Vec::new();
    let inits = |spec: &'_ PodSpec| spec.init_containers.as_ref().unwrap_or(&none).clone();
    for (field, new, old) in
        [("containers", new.containers.clone(), old.containers.clone()), ("initContainers", inits(new), inits(old))]
    {
        if new.len() != old.len() {
            let detail = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(path.field(field), detail));
            return errors;
        }
        images(&mut errors, path.field(field), &new);
    }
    if !deadline(&mut errors, path.field("activeDeadlineSeconds"), new, old) {
        return errors;
    }
    tolerations(&mut errors, path.field("tolerations"), new, old);
    gates(&mut errors, path.field("schedulingGates"), new, old);
    if new == old {
        return errors;
    }
    let mended = mended(&mut errors, path, new, old);
    if mended != *old {
        let shown = difference::shown(&as_json(old), &as_json(&mended));
        errors.push(FieldError::forbidden(path, format!("{MAY_CHANGE}\n{shown}")));
    }
    errors
}

fn as_json(spec: &PodSpec) -> Value {
    serde_json::to_value(spec).unwrap_or_default()
}

/// The rules for a change of a pod's annotations.
pub(super) fn annotations(errors: &mut Errors, new: &Pod, old: &Pod) {
    let none = BTreeMap::new();
    let of = |pod: &'_ Pod| pod.metadata.annotations.clone().unwrap_or_else(|| none.clone());
    if new.metadata.annotations == old.metadata.annotations {
        return;
    }
    let path = Path::from("metadata.annotations");
    pod_spec::validate_annotations_update(errors, path, &of(new), &of(old));
}

fn images(errors: &mut Errors, path: Path<'_>, containers: &[Container]) {
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        required(errors, path.field("image"), text(&container.image));
        pod_spec::untrimmed_image(errors, path, container);
    }
}

/// A deadline may be set and brought nearer. Tells whether the rest is to be looked at.
fn deadline(errors: &mut Errors, path: Path<'_>, new: &PodSpec, old: &PodSpec) -> bool {
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.push(FieldError::invalid(path, new, "must be between 0 and 2147483647, inclusive"));
            return false;
        }
        (Some(new), Some(old)) if new > old => {
            errors.push(FieldError::invalid(path, new, "must be less than or equal to previous value"));
            return false;
        }
        (None, Some(_)) => {
            let detail = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(path, Value::Null, detail));
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    true
}

fn tolerations(errors: &mut Errors, path: Path<'_>, new: &PodSpec, old: &PodSpec) {
    let (new, old) = (new.tolerations.as_deref().unwrap_or_default(), old.tolerations.as_deref().unwrap_or_default());
    if new == old {
        return;
    }
    let timeless = |t: &Toleration| serde_json::to_string(&Toleration { toleration_seconds: None, ..t.clone() }).ok();
    let kept: BTreeSet<_> = new.iter().map(timeless).collect();
    if old.iter().any(|t| !kept.contains(&timeless(t))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(path, detail));
        return;
    }
    pod_spec::validate_tolerations(errors, path, new);
}

fn gates(errors: &mut Errors, path: Path<'_>, new: &PodSpec, old: &PodSpec) {
    let known: BTreeSet<&str> = old.scheduling_gates.iter().flatten().map(|g| g.name.as_str()).collect();
    for (index, gate) in new.scheduling_gates.iter().flatten().enumerate() {
        if !known.contains(gate.name.as_str()) {
            let path = path.index(index);
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
            errors.push(FieldError::forbidden(path.field("name"), detail));
        }
    }
}

/// The new spec with all that may change put back to what it was.
fn mended(errors: &mut Errors, path: Path<'_>, new: &PodSpec, old: &PodSpec) -> PodSpec {
    let mut mended = new.clone();
    for (new, old) in mended.containers.iter_mut().zip(&old.containers) {
        new.image.clone_from(&old.image);
    }
    let inits = mended.init_containers.iter_mut().flatten().zip(old.init_containers.iter().flatten());
    for (new, old) in inits {
        new.image.clone_from(&old.image);
    }
    mended.active_deadline_seconds = old.active_deadline_seconds;
    mended.tolerations.clone_from(&old.tolerations);
    mended.scheduling_gates.clone_from(&old.scheduling_gates);
    let grace = (old.termination_grace_period_seconds, new.termination_grace_period_seconds);
    if let (Some(..0), Some(1)) = grace {
        mended.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    if old.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
        narrow(errors, path, &mut mended, old);
    }
    mended
}

/// A pod that is not to be placed yet may have its choice of nodes narrowed.
fn narrow(errors: &mut Errors, path: Path<'_>, mended: &mut PodSpec, old: &PodSpec) {
    let selects = |spec: &PodSpec| spec.node_selector.clone().unwrap_or_default();
    let (wanted, before) = (selects(mended), selects(old));
    if before.iter().any(|(key, value)| wanted.get(key) != Some(value)) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        let shown = serde_json::to_value(&wanted).unwrap_or_default();
        errors.push(FieldError::invalid(path.field("nodeSelector"), shown, detail));
    }
    mended.node_selector.clone_from(&old.node_selector);
    let to_nodes = |spec: &PodSpec| spec.affinity.as_ref().and_then(|a| a.node_affinity.clone());
    let (wanted, before) = (to_nodes(mended), to_nodes(old));
    if wanted == before {
        return;
    }
    let path = path.field("affinity");
    narrow_affinity(errors, path.field("nodeAffinity"), wanted.as_ref(), before.as_ref());
    let affinity = mended.affinity.get_or_insert_default();
    affinity.node_affinity = before;
    let empty = affinity.pod_affinity.is_none() && affinity.pod_anti_affinity.is_none();
    if old.affinity.is_none() && empty {
        mended.affinity = None;
    }
}

fn terms(affinity: Option<&NodeAffinity>) -> &[NodeSelectorTerm] {
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    required.map_or(&[], |required| &required.node_selector_terms)
}

fn narrow_affinity(errors: &mut Errors, path: Path<'_>, new: Option<&NodeAffinity>, old: Option<&NodeAffinity>) {
    let (new, old) = (terms(new), terms(old));
    let path = path.field("requiredDuringSchedulingIgnoredDuringExecution");
    let list = path.field("nodeSelectorTerms");
    if !old.is_empty() && new.len() != old.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(FieldError::invalid(list, serde_json::to_value(new).unwrap_or_default(), detail));
        return;
    }
    for (index, (new, _)) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| !only_adds(new, old)) {
        let detail = "only additions are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid(list.index(index), serde_json::to_value(new).unwrap_or_default(), detail));
    }
}

/// Whether a term asks for all that it asked for before, and in the same order. One that asked for nothing selected
/// nothing, and would select more with any addition.
fn only_adds(new: &NodeSelectorTerm, old: &NodeSelectorTerm) -> bool {
    let list = |list: &'_ Option<Vec<_>>| list.clone().unwrap_or_default();
    let (labels, fields) = (list(&new.match_expressions), list(&new.match_fields));
    let (old_labels, old_fields) = (list(&old.match_expressions), list(&old.match_fields));
    if old_labels.is_empty() && old_fields.is_empty() {
        return labels.is_empty() && fields.is_empty();
    }
    labels.starts_with(&old_labels) && fields.starts_with(&old_fields)
}
