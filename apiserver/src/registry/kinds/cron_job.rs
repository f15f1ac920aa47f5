//! CronJob: Jobs at set times.

mod schedule;

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec};
use serde_json::Value;

use super::{ALL_VERBS, job};
use crate::registry::cells::{self, AGE, NAME, NONE, UNSET, boolean, integer, or, text, wide};
use crate::registry::check::numbers::not_negative;
use crate::registry::check::{Errors, labels, one_of};
use crate::registry::meta::NameRule;
use crate::registry::pod_spec;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Schedule", "The times at which it makes Jobs."),
    text("Timezone", "The time zone of the schedule."),
    boolean("Suspend", "Whether it makes none for now."),
    integer("Active", "How many of its Jobs are running."),
    text("Last Schedule", "How long ago it made the last one."),
    AGE,
    wide("Containers", "Names of the template's containers."),
    wide("Images", "Images of the template's containers."),
    wide("Selector", "Which pods belong to its Jobs."),
];

/// The longest name: the Jobs that it makes add eleven characters to it.
const NAME_MAX: usize = 52;

pub(super) fn row() -> Row {
    Row {
        group: "batch",
        version: "v1",
        kind: "CronJob",
        plural: "cronjobs",
        singular: "cronjob",
        short_names: &["cj"],
        categories: &["all"],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[Subresource::Status],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::OfSpec,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = CronJob;

    const SCHEMA: &'static str = "io.k8s.api.batch.v1.CronJob";

    fn default(object: &mut CronJob) {
        let spec = &mut object.spec;
        if spec.concurrency_policy.as_deref().is_none_or(str::is_empty) {
            spec.concurrency_policy = Some("Allow".to_owned());
        }
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
        spec.job_template.metadata.get_or_insert_default();
        pod_spec::default_template(&mut spec.job_template.spec.get_or_insert_default().template);
        object.status.get_or_insert_default();
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), Value::Object(serde_json::Map::new()));
        }
    }

    fn validate(object: &CronJob) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if name.len() > NAME_MAX {
            let detail = format!("must be no more than {NAME_MAX} characters");
            errors.push(FieldError::invalid("metadata.name", name, detail));
        }
        validate(&mut errors, &object.spec);
        errors
    }

    fn validate_update(new: &CronJob, _old: &CronJob) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate(&mut errors, &new.spec);
        errors
    }

    fn warnings(object: &CronJob) -> Vec<String> {
        let template = object.spec.job_template.spec.as_ref();
        template
            .map_or_else(Vec::new, |job| pod_spec::template_warnings("spec.jobTemplate.spec.template", &job.template))
    }

    fn cells(object: &CronJob, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (&object.spec, object.status.clone().unwrap_or_default());
        let job = spec.job_template.spec.clone().unwrap_or_default();
        let [containers, images] = cells::containers(Some(&job.template));
        let last = status.last_schedule_time.as_ref();
        let selector = job.selector.as_ref().map_or_else(|| NONE.to_owned(), cells::selector_text);
        let suspended = spec.suspend.map_or(UNSET, |suspend| if suspend { "True" } else { "False" });
        vec![
            cells::name(&object.metadata),
            spec.schedule.as_str().into(),
            or(spec.time_zone.as_deref(), NONE).into(),
            suspended.into(),
            status.active.as_ref().map_or(0, Vec::len).into(),
            last.map_or_else(|| NONE.to_owned(), |last| cells::since(Some(last), now)).into(),
            cells::age(&object.metadata, now),
            containers,
            images,
            selector.into(),
        ]
    }
}

fn validate(errors: &mut Errors, spec: &CronJobSpec) {
    schedule::validate(errors, &spec.schedule, spec.time_zone.as_deref());
    if let Some(seconds) = spec.starting_deadline_seconds {
        not_negative(errors, "spec.startingDeadlineSeconds".to_owned(), seconds);
    }
    let policies = ["Allow", "Forbid", "Replace"];
    one_of(errors, "spec.concurrencyPolicy".to_owned(), spec.concurrency_policy.as_deref(), &policies);
    let of_job = spec.job_template.spec.clone().unwrap_or_default();
    job::validate::spec(errors, "spec.jobTemplate.spec", &of_job);
    if let Some(selector) = &of_job.selector {
        let detail = "`selector` will be auto-generated";
        errors.push(FieldError::invalid("spec.jobTemplate.spec.selector", labels::shown(selector), detail));
    }
    if of_job.manual_selector == Some(true) {
        let path = "spec.jobTemplate.spec.manualSelector";
        errors.push(FieldError::not_supported(path, true, &["nil", "false"]));
    }
    for (field, limit) in [
        ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
        ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
    ] {
        if let Some(limit) = limit {
            not_negative(errors, format!("spec.{field}"), limit);
        }
    }
}
