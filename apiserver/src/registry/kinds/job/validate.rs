//! The rules for Jobs, and for the templates from which CronJobs make them.

use coracle_api::field::FieldError;
use coracle_api::selector::Selector;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::PodSpec;

use super::{failure, selector};
use crate::registry::check::labels;
use crate::registry::check::numbers::not_negative;
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, at, domains, immutable, one_of};
use crate::registry::kinds::workload;
use crate::registry::pod_spec;

const INDEXED: &str = "Indexed";

/// Bounds of Jobs whose pods have numbers.
const INDEXED_PARALLELISM_MAX: i32 = 100_000;
const FAILED_INDEXES_MAX: i32 = 100_000;
const MANAGER_BYTES_MAX: usize = 63;

/// The rules for a new Job.
pub(super) fn job(job: &Job) -> Errors {
    let mut errors = Vec::new();
    let of_job = job.spec.clone().unwrap_or_default();
    generated(&mut errors, job, &of_job);
    whole(&mut errors, &of_job);
    let name = job.metadata.name.as_deref().unwrap_or_default();
    if of_job.completion_mode.as_deref() == Some(INDEXED)
        && let Some(last) = of_job.completions.filter(|completions| *completions > 0).map(|all| all - 1)
    {
        let longest = format!("{name}-{last}");
        for rule in crate::registry::check::names::label(&longest) {
            let detail = format!("will not able to create pod with invalid DNS name {longest}: {rule}");
            errors.push(FieldError::invalid("metadata.name", name, detail));
        }
    }
    errors
}

/// The rules for a change of a Job: little of it may change.
pub(super) fn change(new: &Job, old: &Job) -> Errors {
    let mut errors = Vec::new();
    let suspended = |spec: &JobSpec| spec.suspend == Some(true);
    let started = old.status.as_ref().is_some_and(|status| status.start_time.is_some());
    let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    whole(&mut errors, &new);
    let indexed = new.completion_mode.as_deref() == Some(INDEXED);
    if !indexed || new.completions.is_none() {
        immutable(&mut errors, "spec.completions", &new.completions, &old.completions);
    } else if new.completions != old.completions
        && (new.completions != new.parallelism || old.completions != old.parallelism)
    {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.push(FieldError::invalid("spec.completions", new.completions.unwrap_or(0), detail));
    }
    immutable(&mut errors, "spec.selector", &new.selector, &old.selector);
    let mut template = new.template.clone();
    if suspended(&old) && !started {
        // Whoever starts suspended Jobs may still say where their pods go.
        take_over_directives(&mut template.spec, old.template.spec.as_ref());
        template.metadata.clone_from(&old.template.metadata);
    }
    if template != old.template {
        let shown = serde_json::to_value(&new.template).unwrap_or_default();
        errors.push(FieldError::invalid("spec.template", shown, "field is immutable"));
    }
    immutable(&mut errors, "spec.completionMode", &new.completion_mode, &old.completion_mode);
    immutable(&mut errors, "spec.podFailurePolicy", &new.pod_failure_policy, &old.pod_failure_policy);
    immutable(&mut errors, "spec.backoffLimitPerIndex", &new.backoff_limit_per_index, &old.backoff_limit_per_index);
    immutable(&mut errors, "spec.managedBy", &new.managed_by, &old.managed_by);
    immutable(&mut errors, "spec.successPolicy", &new.success_policy, &old.success_policy);
    errors
}

fn take_over_directives(new: &mut Option<PodSpec>, old: Option<&PodSpec>) {
    if let (Some(new), Some(old)) = (new, old) {
        new.node_selector.clone_from(&old.node_selector);
        new.tolerations.clone_from(&old.tolerations);
        new.scheduling_gates.clone_from(&old.scheduling_gates);
        new.affinity.clone_from(&old.affinity);
    }
}

/// A selector that the server makes fits the Job's own uid and name, and so do the labels of its pods.
fn generated(errors: &mut Errors, job: &Job, spec: &JobSpec) {
    let Some(made) = spec.selector.as_ref().filter(|_| spec.manual_selector != Some(true)) else { return };
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let expected = selector::expected(uid, name);
    let own = workload::own_labels(&spec.template);
    let in_order = [selector::UID[1], selector::NAME[1], selector::UID[0], selector::NAME[0]];
    for (label, value) in in_order.iter().filter_map(|label| Some((label, expected.get(*label)?))) {
        let path = format!("spec.template.metadata.labels[{label}]");
        match own.get(*label) {
            None => errors.push(FieldError::required(path, format!("must be '{value}'"))),
            Some(other) if other != value => {
                let shown = serde_json::to_value(&own).unwrap_or_default();
                errors.push(FieldError::invalid(path, shown, format!("must be '{value}'")));
            }
            Some(_) => {}
        }
    }
    if Selector::from_structured(made).is_ok_and(|selector| !selector.matches(&expected)) {
        errors.push(FieldError::invalid("spec.selector", labels::shown(made), "`selector` not auto-generated"));
    }
}

fn whole(errors: &mut Errors, of_job: &JobSpec) {
    spec(errors, "spec", of_job);
    let Some(wanted) = &of_job.selector else {
        errors.push(FieldError::required("spec.selector", ""));
        return;
    };
    labels::selector(errors, "spec.selector", wanted);
    let own = workload::own_labels(&of_job.template);
    if Selector::from_structured(wanted).is_ok_and(|selector| !selector.matches(&own)) {
        let shown = serde_json::to_value(&own).unwrap_or_default();
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", shown, detail));
    }
}

/// The rules for what a Job is, its selector aside.
pub(in crate::registry::kinds) fn spec(errors: &mut Errors, path: &str, spec: &JobSpec) {
    let counts = [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ];
    for (field, count) in counts.iter().filter_map(|(field, count)| Some((field, (*count)?))) {
        not_negative(errors, at(path, field), count);
    }
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        errors.push(FieldError::required(at(path, "backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
    }
    if let Some(manager) = &spec.managed_by {
        let path = at(path, "managedBy");
        domains::prefixed_path(errors, &path, manager);
        if manager.len() > MANAGER_BYTES_MAX {
            errors.push(FieldError::too_long(path, MANAGER_BYTES_MAX));
        }
    }
    completion(errors, path, spec);
    failure::failures(errors, path, spec);
    if let Some(policy) = &spec.success_policy {
        let place = at(path, "successPolicy");
        if spec.completion_mode.as_deref() == Some(INDEXED) {
            failure::successes(errors, &place, policy, spec.completions.unwrap_or(0));
        } else {
            let shown = serde_json::to_value(policy).unwrap_or_default();
            errors.push(FieldError::invalid(place, shown, "requires indexed completion mode"));
        }
    }
    replacement(errors, path, spec);
    let place = at(path, "template");
    pod_spec::validate_any_template(errors, Path::from(place.as_str()), &spec.template);
    restarts(errors, at(&place, "spec.restartPolicy"), spec);
}

fn completion(errors: &mut Errors, path: &str, spec: &JobSpec) {
    let Some(mode) = spec.completion_mode.as_deref() else { return };
    let modes = ["NonIndexed", INDEXED];
    if !modes.contains(&mode) {
        errors.push(FieldError::not_supported(at(path, "completionMode"), mode, &modes));
    }
    if mode != INDEXED {
        let detail = "requires indexed completion mode";
        for (field, count) in
            [("backoffLimitPerIndex", spec.backoff_limit_per_index), ("maxFailedIndexes", spec.max_failed_indexes)]
        {
            errors.extend(count.map(|count| FieldError::invalid(at(path, field), count, detail)));
        }
        return;
    }
    if spec.completions.is_none() {
        let detail = format!("when completion mode is {INDEXED}");
        errors.push(FieldError::required(at(path, "completions"), detail));
    }
    if let Some(parallel) = spec.parallelism.filter(|parallel| *parallel > INDEXED_PARALLELISM_MAX) {
        let most = INDEXED_PARALLELISM_MAX;
        let detail = format!("must be less than or equal to {most} when completion mode is {INDEXED}");
        errors.push(FieldError::invalid(at(path, "parallelism"), parallel, detail));
    }
    if let Some(failed) = spec.max_failed_indexes {
        if spec.completions.is_some_and(|completions| failed > completions) {
            let detail = "must be less than or equal to completions";
            errors.push(FieldError::invalid(at(path, "maxFailedIndexes"), failed, detail));
        }
        if failed > FAILED_INDEXES_MAX {
            let detail = format!("must be less than or equal to {FAILED_INDEXES_MAX}");
            errors.push(FieldError::invalid(at(path, "maxFailedIndexes"), failed, detail));
        }
    }
}

fn replacement(errors: &mut Errors, path: &str, spec: &JobSpec) {
    let Some(policy) = spec.pod_replacement_policy.as_deref() else { return };
    let policies = if spec.pod_failure_policy.is_some() { &["Failed"][..] } else { &["Failed", "TerminatingOrFailed"] };
    one_of(errors, at(path, "podReplacementPolicy"), Some(policy), policies);
}

/// Pods of a Job come to an end.
fn restarts(errors: &mut Errors, path: String, spec: &JobSpec) {
    let policy = spec.template.spec.as_ref().and_then(|pod| pod.restart_policy.as_deref()).unwrap_or_default();
    match policy {
        "" | "Always" => errors.push(FieldError::required(path, "valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if spec.pod_failure_policy.is_some() => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(path, policy, detail));
        }
        "OnFailure" | "Never" => {}
        other => errors.push(FieldError::not_supported(path, other, &["OnFailure", "Never"])),
    }
}
