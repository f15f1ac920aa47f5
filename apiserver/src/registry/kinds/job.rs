//! Job: pods that run to their end, so many times.

mod failure;
mod selector;
mod status;
pub(super) mod validate;

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::{ALL_VERBS, workload};
use crate::registry::cells::{self, AGE, NAME, text, wide};
use crate::registry::meta::NameRule;
use crate::registry::pod_spec;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "Status of the job."),
    text("Completions", "How many pods have succeeded, of how many."),
    text("Duration", "How long it took, or has taken so far."),
    AGE,
    wide("Containers", "Names of the template's containers."),
    wide("Images", "Images of the template's containers."),
    wide("Selector", "Which pods belong to it."),
];

pub(super) fn row() -> Row {
    Row {
        group: "batch",
        version: "v1",
        kind: "Job",
        plural: "jobs",
        singular: "job",
        short_names: &[],
        categories: &["all"],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[Subresource::Status],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &["status.successful"],
        name_rule: NameRule::Subdomain,
        generation: Generation::OfSpec,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

/// How often a pod may fail before the Job has.
const BACKOFF_LIMIT: i32 = 6;

impl Kind for Strategy {
    type Object = Job;

    const SCHEMA: &'static str = "io.k8s.api.batch.v1.Job";

    fn default(object: &mut Job) {
        let spec = object.spec.get_or_insert_default();
        default(spec);
        pod_spec::default_template(&mut spec.template);
        let labels = workload::own_labels(&spec.template);
        if !labels.is_empty() && object.metadata.labels.as_ref().is_none_or(|own| own.is_empty()) {
            object.metadata.labels = Some(labels);
        }
        object.status.get_or_insert_default();
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            fields.insert("status".to_owned(), Value::Object(serde_json::Map::new()));
        }
        selector::generate(object);
    }

    fn validate(object: &Job) -> Vec<FieldError> {
        validate::job(object)
    }

    fn validate_update(new: &Job, old: &Job) -> Vec<FieldError> {
        validate::change(new, old)
    }

    fn validate_status_update(new: &Job, old: &Job) -> Vec<FieldError> {
        status::validate(new, old)
    }

    fn warnings(object: &Job) -> Vec<String> {
        let Some(spec) = &object.spec else { return Vec::new() };
        pod_spec::template_warnings("spec.template", &spec.template)
    }

    fn cells(object: &Job, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
        let nothing = LabelSelector::default();
        let [containers, images, selector] =
            cells::workload(Some(&spec.template), spec.selector.as_ref().unwrap_or(&nothing));
        vec![
            cells::name(&object.metadata),
            state(object, &status).into(),
            completions(&spec, &status).into(),
            duration(&status, now).into(),
            cells::age(&object.metadata, now),
            containers,
            images,
            selector,
        ]
    }
}

/// Fills in what a Job is, its pods aside.
fn default(spec: &mut JobSpec) {
    if spec.parallelism.is_none() && spec.completions.is_none() {
        spec.completions = Some(1);
    }
    spec.parallelism.get_or_insert(1);
    let limit = if spec.backoff_limit_per_index.is_some() { i32::MAX } else { BACKOFF_LIMIT };
    spec.backoff_limit.get_or_insert(limit);
    spec.completion_mode.get_or_insert_with(|| "NonIndexed".to_owned());
    spec.suspend.get_or_insert(false);
    spec.manual_selector.get_or_insert(false);
    let replacement = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
    spec.pod_replacement_policy.get_or_insert_with(|| replacement.to_owned());
    let rules = spec.pod_failure_policy.iter_mut().flat_map(|policy| &mut policy.rules);
    for pattern in rules.flat_map(|rule| rule.on_pod_conditions.iter_mut().flatten()) {
        pattern.status.get_or_insert_with(|| "True".to_owned());
    }
}

fn state(job: &Job, status: &JobStatus) -> &'static str {
    let is = |kind: &str| status::is(status, kind);
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if job.metadata.deletion_timestamp.is_some() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(spec: &JobSpec, status: &JobStatus) -> String {
    let done = status.succeeded.unwrap_or(0);
    match (spec.completions, spec.parallelism.unwrap_or(0)) {
        (Some(all), _) => format!("{done}/{all}"),
        (None, parallel) if parallel > 1 => format!("{done}/1 of {parallel}"),
        (None, _) => format!("{done}/1"),
    }
}

fn duration(status: &JobStatus, now: Timestamp) -> String {
    let Some(start) = &status.start_time else { return String::new() };
    let end = status.completion_time.as_ref().map_or(now, |end| end.0);
    cells::duration(end.as_second() - start.0.as_second())
}
