//! What of a pod may change: its image, and little else.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};

use super::Strategy;
use crate::registry::check::Errors;
use crate::registry::typed::Kind as _;

/// The rules for a change of a pod.
pub(super) fn validate(new: &Pod, old: &Pod) -> Errors {
    let mut errors = Vec::new();
    let (new_spec, old_spec) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    let count = |spec: &PodSpec| (spec.containers.len(), spec.init_containers.as_ref().map_or(0, Vec::len));
    let ((containers, inits), (old_containers, old_inits)) = (count(&new_spec), count(&old_spec));
    for (path, fits) in [("spec.containers", containers == old_containers), ("spec.initContainers", inits == old_inits)]
    {
        if !fits {
            errors.push(FieldError::forbidden(path, "pod updates may not add or remove containers"));
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    errors.extend(Strategy::validate(new));
    deadline(&mut errors, new_spec.active_deadline_seconds, old_spec.active_deadline_seconds);
    tolerations(&mut errors, &new_spec, &old_spec);
    gates(&mut errors, &new_spec, &old_spec);
    if mended(new_spec, &old_spec) != old_spec {
        errors.push(FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,\
             `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
             existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
             previously negative)",
        ));
    }
    errors
}

/// The new spec with all that may change put back to what it was.
fn mended(mut new: PodSpec, old: &PodSpec) -> PodSpec {
    for (new, old) in new.containers.iter_mut().zip(&old.containers) {
        new.image.clone_from(&old.image);
    }
    let inits = new.init_containers.iter_mut().flatten().zip(old.init_containers.iter().flatten());
    for (new, old) in inits {
        new.image.clone_from(&old.image);
    }
    new.active_deadline_seconds = old.active_deadline_seconds;
    new.tolerations.clone_from(&old.tolerations);
    new.scheduling_gates.clone_from(&old.scheduling_gates);
    if old.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
        // A pod that is not yet to be scheduled may have its choice of nodes narrowed.
        new.node_selector.clone_from(&old.node_selector);
        new.affinity.clone_from(&old.affinity);
    }
    if old.termination_grace_period_seconds.is_some_and(|s| s < 0) && new.termination_grace_period_seconds == Some(1) {
        new.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    new
}

fn deadline(errors: &mut Errors, new: Option<i64>, old: Option<i64>) {
    const PATH: &str = "spec.activeDeadlineSeconds";
    match (new, old) {
        (Some(new), Some(old)) if new > old => {
            errors.push(FieldError::invalid(PATH, new, "must be less than or equal to previous value"));
        }
        (None, Some(_)) => {
            errors.push(FieldError::invalid(
                PATH,
                serde_json::Value::Null,
                "must not update from a positive integer to nil value",
            ));
        }
        (Some(_) | None, Some(_) | None) => {}
    }
}

fn tolerations(errors: &mut Errors, new: &PodSpec, old: &PodSpec) {
    let same = |a: &Toleration, b: &Toleration| {
        let mut a = a.clone();
        a.toleration_seconds = b.toleration_seconds;
        a == *b
    };
    let kept = old.tolerations.iter().flatten().all(|o| new.tolerations.iter().flatten().any(|n| same(n, o)));
    if !kept {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", detail));
    }
}

fn gates(errors: &mut Errors, new: &PodSpec, old: &PodSpec) {
    let known: Vec<&str> = old.scheduling_gates.iter().flatten().map(|g| g.name.as_str()).collect();
    for gate in new.scheduling_gates.iter().flatten().filter(|g| !known.contains(&g.name.as_str())) {
        let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
        errors.push(FieldError::forbidden("spec.schedulingGates", detail));
    }
}

/// The rules for a change of a pod's status: what has ended for good does not start again.
pub(super) fn validate_status(new: &Pod, old: &Pod) -> Errors {
    let mut errors = Vec::new();
    let (new_status, old_status) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    let policy = new.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always");
    if policy == "Always" {
        return errors;
    }
    for old in old_status.container_statuses.iter().flatten() {
        let code = old.state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code);
        let ended = code.is_some_and(|code| policy == "Never" || code == 0);
        let statuses = new_status.container_statuses.iter().flatten().enumerate();
        let restarted = statuses
            .filter(|(_, n)| n.name == old.name)
            .find(|(_, n)| n.state.as_ref().is_some_and(|s| s.terminated.is_none()));
        if let (true, Some((index, _))) = (ended, restarted) {
            let path = format!("status.containerStatuses[{index}].state");
            errors.push(FieldError::forbidden(path, "may not be transitioned to non-terminated state"));
        }
    }
    errors
}
