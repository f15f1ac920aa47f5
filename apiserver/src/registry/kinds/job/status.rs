//! The rules for how a Job is told to be: its numbers, times and conditions must agree.

use coracle_api::field::FieldError;
use k8s_openapi::api::batch::v1::{Job, JobStatus};

use crate::registry::check::Errors;
use crate::registry::kinds::workload;

/// Whether a condition holds.
pub(super) fn is(status: &JobStatus, kind: &str) -> bool {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// The rules for a change of the status.
pub(super) fn validate(new: &Job, old: &Job) -> Errors {
    let mut errors = Vec::new();
    let (status, before) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
    let count = |count: Option<i32>| i64::from(count.unwrap_or(0));
    workload::counted(
        &mut errors,
        &[
            ("active", count(status.active)),
            ("succeeded", count(status.succeeded)),
            ("failed", count(status.failed)),
            ("ready", count(status.ready)),
            ("terminating", count(status.terminating)),
        ],
    );
    let (complete, failed) = (is(&status, "Complete"), is(&status, "Failed"));
    times(&mut errors, &status, complete, complete || failed);
    conditions(&mut errors, &status, complete, failed);
    if let Some(active) = status.active.filter(|active| *active > 0 && (complete || failed)) {
        errors.push(FieldError::invalid("status.active", active, "active>0 is invalid for finished job"));
    }
    let suspended = |job: &Job| job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    if before.start_time.is_some() && status.start_time != before.start_time && !suspended(new) {
        let detail = "startTime cannot be removed for unsuspended job";
        errors.push(FieldError::required("status.startTime", detail));
    }
    stays(&mut errors, &status, &before);
    errors
}

fn times(errors: &mut Errors, status: &JobStatus, complete: bool, finished: bool) {
    const END: &str = "status.completionTime";
    if finished && status.start_time.is_none() {
        errors.push(FieldError::required("status.startTime", "startTime is required for finished job"));
    }
    match (&status.completion_time, complete) {
        (None, true) => errors.push(FieldError::required(END, "completionTime is required for Complete jobs")),
        (Some(end), complete) => {
            let shown = serde_json::to_value(end).unwrap_or_default();
            if !complete {
                let detail = "cannot set completionTime when there is no Complete=True condition";
                errors.push(FieldError::invalid(END, shown.clone(), detail));
            }
            if status.start_time.as_ref().is_some_and(|start| end.0 < start.0) {
                let detail = "completionTime cannot be set before startTime";
                errors.push(FieldError::invalid(END, shown, detail));
            }
        }
        (None, false) => {}
    }
}

fn conditions(errors: &mut Errors, status: &JobStatus, complete: bool, failed: bool) {
    let mut refuse = |detail: &str| errors.push(FieldError::invalid_as("status.conditions", detail, ""));
    if complete && failed {
        refuse("cannot set Complete=True and Failed=true conditions");
    }
    if complete && is(status, "FailureTarget") {
        refuse("cannot set Complete=True and FailureTarget=true conditions");
    }
    if failed && !is(status, "FailureTarget") {
        refuse("cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if complete && !is(status, "SuccessCriteriaMet") {
        refuse("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
}

/// An end that was told stays told.
fn stays(errors: &mut Errors, status: &JobStatus, before: &JobStatus) {
    for kind in ["Failed", "Complete", "FailureTarget", "SuccessCriteriaMet"] {
        if is(before, kind) && !is(status, kind) {
            let detail = format!("cannot disable the terminal {kind}=True condition");
            errors.push(FieldError::invalid_as("status.conditions", detail, ""));
        }
    }
}
