//! Deployment: so many pods of one template, and how a new template takes over.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, text, wide};
use crate::registry::check::numbers::{self, at_most, at_most_all, count_or_percent, not_negative};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, immutable};
use crate::registry::meta::NameRule;
use crate::registry::pod_spec;
use crate::registry::typed::{Kind, Typed, is_stated, keep_all_but_status};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Ready", "How many pods are ready, of how many."),
    text("Up-to-date", "How many pods have the newest template."),
    text("Available", "How many pods have been ready long enough."),
    AGE,
    wide("Containers", "Names of the template's containers."),
    wide("Images", "Images of the template's containers."),
    wide("Selector", "Which pods belong to it."),
];

pub(super) fn row() -> Row {
    Row {
        group: "apps",
        version: "v1",
        kind: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short_names: &["deploy"],
        categories: &["all"],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[Subresource::Scale, Subresource::Status],
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

const SELECTOR: &str = "spec.selector";
const ROLLING: &str = "RollingUpdate";
const RECREATE: &str = "Recreate";

/// How many revisions are kept to go back to.
const REVISION_HISTORY_LIMIT: i32 = 10;
/// How long a rollout may make no progress.
const PROGRESS_DEADLINE_SECONDS: i32 = 600;

impl Kind for Strategy {
    type Object = Deployment;

    const SCHEMA: &'static str = "io.k8s.api.apps.v1.Deployment";

    const NULLS: &'static [&'static str] =
        &["status.conditions[].lastUpdateTime", "status.conditions[].lastTransitionTime"];

    const STATED: &'static [&'static str] = &[SELECTOR];

    fn default(object: &mut Deployment) {
        let spec = &mut object.spec;
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(REVISION_HISTORY_LIMIT);
        spec.progress_deadline_seconds.get_or_insert(PROGRESS_DEADLINE_SECONDS);
        let strategy = spec.strategy.get_or_insert_default();
        if strategy.type_.as_deref().is_none_or(str::is_empty) {
            strategy.type_ = Some(ROLLING.to_owned());
        }
        if strategy.type_.as_deref() == Some(ROLLING) {
            let quarter = || IntOrString::String("25%".to_owned());
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_surge.get_or_insert_with(quarter);
            rolling.max_unavailable.get_or_insert_with(quarter);
        }
        pod_spec::default_template(&mut spec.template);
        object.status.get_or_insert_default();
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), Value::Object(serde_json::Map::new()));
        }
    }

    fn prepare_for_status_update(new: &mut Value, old: &Value) {
        keep_all_but_status(new, old);
        let labels = old.pointer("/metadata/labels").cloned();
        if let Some(meta) = new.get_mut("metadata").and_then(Value::as_object_mut) {
            match labels {
                Some(labels) => meta.insert("labels".to_owned(), labels),
                None => meta.remove("labels"),
            };
        }
    }

    fn validate(object: &Deployment) -> Vec<FieldError> {
        validate(object, Some(&object.spec.selector))
    }

    fn validate_stated(object: &Deployment, stated: &Value) -> Vec<FieldError> {
        validate(object, is_stated(stated, SELECTOR).then_some(&object.spec.selector))
    }

    fn validate_update_stated(new: &Deployment, old: &Deployment, stated: &Value) -> Vec<FieldError> {
        let mut errors = Self::validate_stated(new, stated);
        immutable(&mut errors, SELECTOR, &new.spec.selector, &old.spec.selector);
        errors
    }

    fn validate_status_update(new: &Deployment, old: &Deployment) -> Vec<FieldError> {
        let empty = DeploymentStatus::default();
        validate_status(new.status.as_ref().unwrap_or(&empty), old.status.as_ref().unwrap_or(&empty))
    }

    fn warnings(object: &Deployment) -> Vec<String> {
        let mut found: Vec<String> =
            pod_spec::name_warning(&object.metadata, "Pod names and hostnames").into_iter().collect();
        found.extend(pod_spec::template_warnings("spec.template", &object.spec.template));
        found
    }

    fn update_warnings(new: &Deployment, old: &Deployment) -> Vec<String> {
        if new.spec == old.spec {
            return Vec::new();
        }
        pod_spec::template_warnings("spec.template", &new.spec.template)
    }

    fn cells(object: &Deployment, now: Timestamp) -> Vec<Value> {
        let status = object.status.clone().unwrap_or_default();
        let ready = format!("{}/{}", status.ready_replicas.unwrap_or(0), object.spec.replicas.unwrap_or(0));
        let [containers, images, selector] = cells::workload(Some(&object.spec.template), &object.spec.selector);
        vec![
            cells::name(&object.metadata),
            ready.into(),
            status.updated_replicas.unwrap_or(0).into(),
            status.available_replicas.unwrap_or(0).into(),
            cells::age(&object.metadata, now),
            containers,
            images,
            selector,
        ]
    }
}

fn validate(object: &Deployment, selector: Option<&LabelSelector>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (spec, path) = (&object.spec, Path::from("spec"));
    let replicas = spec.replicas.unwrap_or(1);
    not_negative(&mut errors, path.field("replicas"), replicas);
    let selector = pod_spec::validate_selector(&mut errors, path.field("selector"), selector, "deployment");
    pod_spec::validate_template(&mut errors, path.field("template"), &spec.template, selector.as_ref(), replicas);
    if let Some(strategy) = &spec.strategy {
        validate_strategy(&mut errors, strategy);
    }
    let ready = spec.min_ready_seconds.unwrap_or(0);
    not_negative(&mut errors, path.field("minReadySeconds"), ready);
    if let Some(limit) = spec.revision_history_limit {
        not_negative(&mut errors, path.field("revisionHistoryLimit"), limit);
    }
    if let Some(deadline) = spec.progress_deadline_seconds {
        let place = path.field("progressDeadlineSeconds");
        not_negative(&mut errors, place, deadline);
        if deadline <= ready {
            errors.push(FieldError::invalid(place, deadline, "must be greater than minReadySeconds"));
        }
    }
    errors
}

fn validate_status(status: &DeploymentStatus, old: &DeploymentStatus) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::from("status");
    let count = |value: Option<i32>| value.unwrap_or(0);
    let (replicas, ready, available) =
        (count(status.replicas), count(status.ready_replicas), count(status.available_replicas));
    not_negative(&mut errors, path.field("observedGeneration"), status.observed_generation.unwrap_or(0));
    for (field, value) in [
        ("replicas", replicas),
        ("updatedReplicas", count(status.updated_replicas)),
        ("readyReplicas", ready),
        ("availableReplicas", available),
        ("unavailableReplicas", count(status.unavailable_replicas)),
        ("terminatingReplicas", count(status.terminating_replicas)),
        ("collisionCount", count(status.collision_count)),
    ] {
        not_negative(&mut errors, path.field(field), value);
    }
    for (field, value) in [
        ("updatedReplicas", count(status.updated_replicas)),
        ("readyReplicas", ready),
        ("availableReplicas", available),
    ] {
        at_most(&mut errors, path.field(field), value, replicas, "cannot be greater than status.replicas");
    }
    at_most(&mut errors, path.field("availableReplicas"), available, ready, "cannot be greater than readyReplicas");
    if old.collision_count.is_some_and(|before| status.collision_count.is_none_or(|now| now < before)) {
        let now = count(status.collision_count);
        errors.push(FieldError::invalid(path.field("collisionCount"), now, "cannot be decremented"));
    }
    errors
}

fn validate_strategy(errors: &mut Errors, strategy: &DeploymentStrategy) {
    match strategy.type_.as_deref() {
        Some(RECREATE) if strategy.rolling_update.is_some() => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden("spec.strategy.rollingUpdate", detail));
        }
        Some(RECREATE) => {}
        Some(ROLLING) => match &strategy.rolling_update {
            Some(rolling) => validate_rolling(errors, rolling),
            None => errors
                .push(FieldError::required("spec.strategy.rollingUpdate", "this should be defaulted and never be nil")),
        },
        _ => {
            let shown = serde_json::to_value(strategy).unwrap_or_default();
            errors.push(FieldError::not_supported("spec.strategy", shown, &[RECREATE, ROLLING]));
        }
    }
}

fn validate_rolling(errors: &mut Errors, rolling: &RollingUpdateDeployment) {
    let zero = IntOrString::Int(0);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let path = |field: &str| format!("spec.strategy.rollingUpdate.{field}");
    count_or_percent(errors, path("maxUnavailable"), unavailable);
    count_or_percent(errors, path("maxSurge"), surge);
    if numbers::is_zero(unavailable) && numbers::is_zero(surge) {
        let shown = numbers::shown(unavailable);
        errors.push(FieldError::invalid(path("maxUnavailable"), shown, "may not be 0 when `maxSurge` is 0"));
    }
    at_most_all(errors, path("maxUnavailable"), unavailable);
}
