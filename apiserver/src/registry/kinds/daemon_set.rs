//! DaemonSet: a pod on every node.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetUpdateStrategy, RollingUpdateDaemonSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::ALL_VERBS;
use super::workload::{self, SELECTOR};
use crate::object;
use crate::registry::cells::{self, AGE, NAME, integer, label_list, text, wide};
use crate::registry::check::numbers::{self, at_most_all, count_or_percent, not_negative};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, immutable};
use crate::registry::meta::NameRule;
use crate::registry::pod_spec;
use crate::registry::typed::{Kind, Typed, is_stated, keep};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    integer("Desired", "How many nodes should have a pod."),
    integer("Current", "How many nodes have a pod."),
    integer("Ready", "How many nodes have a pod that is ready."),
    integer("Up-to-date", "How many nodes have a pod of the newest template."),
    integer("Available", "How many nodes have a pod that has been ready long enough."),
    text("Node Selector", "Which nodes it is for."),
    AGE,
    wide("Containers", "Names of the template's containers."),
    wide("Images", "Images of the template's containers."),
    wide("Selector", "Which pods belong to it."),
];

pub(super) fn row() -> Row {
    Row {
        group: "apps",
        version: "v1",
        kind: "DaemonSet",
        plural: "daemonsets",
        singular: "daemonset",
        short_names: &["ds"],
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

const ROLLING: &str = "RollingUpdate";
const ON_DELETE: &str = "OnDelete";

/// How many revisions are kept to go back to.
const REVISION_HISTORY_LIMIT: i32 = 10;

/// The annotation that counts templates: what is left of a field of long ago.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

impl Kind for Strategy {
    type Object = DaemonSet;

    const SCHEMA: &'static str = "io.k8s.api.apps.v1.DaemonSet";

    const STATED: &'static [&'static str] = &[SELECTOR];

    fn default(object: &mut DaemonSet) {
        let spec = &mut object.spec;
        spec.revision_history_limit.get_or_insert(REVISION_HISTORY_LIMIT);
        let strategy = spec.update_strategy.get_or_insert_default();
        if strategy.type_.as_deref().is_none_or(str::is_empty) {
            strategy.type_ = Some(ROLLING.to_owned());
        }
        if strategy.type_.as_deref() == Some(ROLLING) {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
        pod_spec::default_template(&mut spec.template);
        object.status.get_or_insert_default();
    }

    fn prepare_for_create(object: &mut Value) {
        count_template(object, 1);
        if let Some(object) = object.as_object_mut() {
            let status = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0,
                "numberReady": 0});
            object.insert("status".to_owned(), status);
        }
    }

    fn prepare_for_update(new: &mut Value, old: &Value) {
        keep(new, old, "status");
        let template = |object: &Value| object.pointer("/spec/template").cloned();
        let changed = template(new) != template(old);
        count_template(new, template_generation(old) + i64::from(changed));
    }

    fn validate(object: &DaemonSet) -> Vec<FieldError> {
        validate(object, Some(&object.spec.selector))
    }

    fn validate_stated(object: &DaemonSet, stated: &Value) -> Vec<FieldError> {
        validate(object, is_stated(stated, SELECTOR).then_some(&object.spec.selector))
    }

    fn validate_update_stated(new: &DaemonSet, old: &DaemonSet, stated: &Value) -> Vec<FieldError> {
        let mut errors = Self::validate_stated(new, stated);
        immutable(&mut errors, SELECTOR, &new.spec.selector, &old.spec.selector);
        errors
    }

    fn validate_status_update(new: &DaemonSet, old: &DaemonSet) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (status, old) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
        let count = |count: Option<i32>| i64::from(count.unwrap_or(0));
        workload::counted(
            &mut errors,
            &[
                ("currentNumberScheduled", status.current_number_scheduled.into()),
                ("numberMisscheduled", status.number_misscheduled.into()),
                ("desiredNumberScheduled", status.desired_number_scheduled.into()),
                ("numberReady", status.number_ready.into()),
                ("observedGeneration", status.observed_generation.unwrap_or(0)),
                ("updatedNumberScheduled", count(status.updated_number_scheduled)),
                ("numberAvailable", count(status.number_available)),
                ("numberUnavailable", count(status.number_unavailable)),
                ("collisionCount", count(status.collision_count)),
            ],
        );
        workload::collisions(&mut errors, status.collision_count, old.collision_count);
        errors
    }

    fn warnings(object: &DaemonSet) -> Vec<String> {
        pod_spec::template_warnings("spec.template", &object.spec.template)
    }

    fn cells(object: &DaemonSet, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (&object.spec, object.status.clone().unwrap_or_default());
        let [containers, images, selector] = cells::workload(Some(&spec.template), &spec.selector);
        let nodes = spec.template.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
        vec![
            cells::name(&object.metadata),
            status.desired_number_scheduled.into(),
            status.current_number_scheduled.into(),
            status.number_ready.into(),
            status.updated_number_scheduled.unwrap_or(0).into(),
            status.number_available.unwrap_or(0).into(),
            label_list(nodes).into(),
            cells::age(&object.metadata, now),
            containers,
            images,
            selector,
        ]
    }
}

fn validate(object: &DaemonSet, selector: Option<&LabelSelector>) -> Errors {
    let mut errors = Vec::new();
    let spec = &object.spec;
    if let Some(selector) = workload::selector(&mut errors, selector, "daemonset") {
        workload::finds(&mut errors, &selector, &spec.template);
    }
    pod_spec::validate_any_template(&mut errors, Path::from("spec.template"), &spec.template);
    workload::always(&mut errors, &spec.template, "DaemonSet");
    not_negative(&mut errors, "spec.minReadySeconds".to_owned(), spec.min_ready_seconds.unwrap_or(0));
    validate_strategy(&mut errors, spec.update_strategy.as_ref());
    let limit = spec.revision_history_limit.unwrap_or(0);
    not_negative(&mut errors, "spec.revisionHistoryLimit".to_owned(), limit);
    errors
}

fn template_generation(object: &Value) -> i64 {
    let annotations = object::metadata(object).and_then(|meta| meta.get("annotations"));
    let text = annotations.and_then(|all| all.get(TEMPLATE_GENERATION)).and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn count_template(object: &mut Value, generation: i64) {
    let annotations = object::metadata_mut(object).entry("annotations").or_insert(Value::Null);
    object::map_mut(annotations).insert(TEMPLATE_GENERATION.to_owned(), generation.to_string().into());
}

fn validate_strategy(errors: &mut Errors, strategy: Option<&DaemonSetUpdateStrategy>) {
    const PATH: &str = "spec.updateStrategy";
    let Some(strategy) = strategy else { return };
    match (strategy.type_.as_deref(), &strategy.rolling_update) {
        (Some(ON_DELETE), _) => {}
        (Some(ROLLING), Some(rolling)) => validate_rolling(errors, rolling),
        (Some(ROLLING), None) => errors.push(FieldError::required(format!("{PATH}.rollingUpdate"), "")),
        _ => {
            let shown = serde_json::to_value(strategy).unwrap_or_default();
            errors.push(FieldError::not_supported(PATH, shown, &[ROLLING, ON_DELETE]));
        }
    }
}

fn validate_rolling(errors: &mut Errors, rolling: &RollingUpdateDaemonSet) {
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    let path = |field: &str| format!("spec.updateStrategy.rollingUpdate.{field}");
    for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        count_or_percent(errors, path(field), value);
    }
    for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        at_most_all(errors, path(field), value);
    }
    match (numbers::is_zero(unavailable), numbers::is_zero(surge)) {
        (false, false) => {
            let detail = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(path("maxSurge"), numbers::shown(surge), detail));
        }
        (true, true) => errors.push(FieldError::required(path("maxUnavailable"), "cannot be 0 when maxSurge is 0")),
        _ => {}
    }
}
