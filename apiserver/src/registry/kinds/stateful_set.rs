//! StatefulSet: pods with names, an order and volumes of their own.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::workload::{self, SELECTOR};
use super::{ALL_VERBS, persistent_volume_claim};
use crate::registry::cells::{self, AGE, NAME, text, wide};
use crate::registry::check::Errors;
use crate::registry::check::labels::labels;
use crate::registry::check::numbers::{self, at_most_all, count_or_percent, not_negative};
use crate::registry::meta::NameRule;
use crate::registry::pod_spec;
use crate::registry::typed::{Kind, Typed, is_stated};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Ready", "How many pods are ready, of how many."),
    AGE,
    wide("Containers", "Names of the template's containers."),
    wide("Images", "Images of the template's containers."),
];

pub(super) fn row() -> Row {
    Row {
        group: "apps",
        version: "v1",
        kind: "StatefulSet",
        plural: "statefulsets",
        singular: "statefulset",
        short_names: &["sts"],
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

const ORDERED: &str = "OrderedReady";
const PARALLEL: &str = "Parallel";
const ROLLING: &str = "RollingUpdate";
const ON_DELETE: &str = "OnDelete";
const RETAIN: &str = "Retain";
const DELETE: &str = "Delete";

/// How many revisions are kept to go back to.
const REVISION_HISTORY_LIMIT: i32 = 10;

impl Kind for Strategy {
    type Object = StatefulSet;

    const SCHEMA: &'static str = "io.k8s.api.apps.v1.StatefulSet";

    const STATED: &'static [&'static str] = &[SELECTOR];

    fn default(object: &mut StatefulSet) {
        let spec = &mut object.spec;
        spec.replicas.get_or_insert(1);
        spec.service_name.get_or_insert_default();
        spec.revision_history_limit.get_or_insert(REVISION_HISTORY_LIMIT);
        fill(&mut spec.pod_management_policy, ORDERED);
        let strategy = spec.update_strategy.get_or_insert_default();
        fill(&mut strategy.type_, ROLLING);
        if strategy.type_.as_deref() == Some(ROLLING) {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.partition.get_or_insert(0);
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
        }
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        fill(&mut retention.when_deleted, RETAIN);
        fill(&mut retention.when_scaled, RETAIN);
        pod_spec::default_template(&mut spec.template);
        for claim in spec.volume_claim_templates.iter_mut().flatten() {
            persistent_volume_claim::default(claim);
        }
        object.status.get_or_insert_default().available_replicas.get_or_insert(0);
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), json!({"replicas": 0, "availableReplicas": 0}));
        }
    }

    fn validate(object: &StatefulSet) -> Vec<FieldError> {
        validate(&object.spec, Some(&object.spec.selector))
    }

    fn validate_stated(object: &StatefulSet, stated: &Value) -> Vec<FieldError> {
        validate(&object.spec, is_stated(stated, SELECTOR).then_some(&object.spec.selector))
    }

    fn validate_update_stated(new: &StatefulSet, old: &StatefulSet, stated: &Value) -> Vec<FieldError> {
        let mut errors = Self::validate_stated(new, stated);
        may_change(&mut errors, new, old);
        errors
    }

    fn validate_status_update(new: &StatefulSet, old: &StatefulSet) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (status, old) = (new.status.clone().unwrap_or_default(), old.status.clone().unwrap_or_default());
        let parts = [
            ("readyReplicas", status.ready_replicas),
            ("currentReplicas", status.current_replicas),
            ("updatedReplicas", status.updated_replicas),
            ("availableReplicas", status.available_replicas),
        ];
        workload::counted(&mut errors, &[("replicas", status.replicas.into())]);
        workload::counted(&mut errors, &parts.map(|(field, count)| (field, count.unwrap_or(0).into())));
        let generation = status.observed_generation.unwrap_or(0);
        let collisions = status.collision_count.unwrap_or(0).into();
        workload::counted(&mut errors, &[("observedGeneration", generation), ("collisionCount", collisions)]);
        workload::parts(&mut errors, status.replicas, &parts);
        if status.available_replicas.unwrap_or(0) > status.ready_replicas.unwrap_or(0) {
            let count = status.available_replicas.unwrap_or(0);
            let detail = "cannot be greater than status.readyReplicas";
            errors.push(FieldError::invalid("status.availableReplicas", count, detail));
        }
        workload::collisions(&mut errors, status.collision_count, old.collision_count);
        errors
    }

    fn warnings(object: &StatefulSet) -> Vec<String> {
        pod_spec::template_warnings("spec.template", &object.spec.template)
    }

    fn cells(object: &StatefulSet, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (&object.spec, object.status.clone().unwrap_or_default());
        let [containers, images] = cells::containers(Some(&spec.template));
        vec![
            cells::name(&object.metadata),
            format!("{}/{}", status.ready_replicas.unwrap_or(0), spec.replicas.unwrap_or(0)).into(),
            cells::age(&object.metadata, now),
            containers,
            images,
        ]
    }
}

fn fill(field: &mut Option<String>, value: &str) {
    if field.as_deref().is_none_or(str::is_empty) {
        *field = Some(value.to_owned());
    }
}

/// Of what is wanted little may change.
fn may_change(errors: &mut Errors, new: &StatefulSet, old: &StatefulSet) {
    let (new, old) = (new.spec.clone(), old.spec.clone());
    let allowed = StatefulSetSpec {
        replicas: old.replicas,
        template: old.template.clone(),
        update_strategy: old.update_strategy.clone(),
        min_ready_seconds: old.min_ready_seconds,
        ordinals: old.ordinals.clone(),
        revision_history_limit: old.revision_history_limit,
        persistent_volume_claim_retention_policy: old.persistent_volume_claim_retention_policy.clone(),
        ..new
    };
    if allowed != old {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                      'updateStrategy', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.push(FieldError::forbidden("spec", detail));
    }
}

fn validate(spec: &StatefulSetSpec, selector: Option<&LabelSelector>) -> Errors {
    let mut errors = Vec::new();
    let policy = spec.pod_management_policy.as_deref().unwrap_or_default();
    if policy.is_empty() {
        errors.push(FieldError::required("spec.podManagementPolicy".to_owned(), ""));
    } else if ![ORDERED, PARALLEL].contains(&policy) {
        let detail = format!("must be '{ORDERED}' or '{PARALLEL}'");
        errors.push(FieldError::invalid("spec.podManagementPolicy".to_owned(), policy, detail));
    }
    if let Some(strategy) = &spec.update_strategy {
        validate_strategy(&mut errors, strategy);
    }
    if let Some(policy) = &spec.persistent_volume_claim_retention_policy {
        for (field, policy) in [("whenDeleted", &policy.when_deleted), ("whenScaled", &policy.when_scaled)] {
            let policy = policy.as_deref().unwrap_or_default();
            if ![RETAIN, DELETE].contains(&policy) {
                let path = format!("spec.persistentVolumeClaimRetentionPolicy.{field}");
                errors.push(FieldError::not_supported(path, policy, &[RETAIN, DELETE]));
            }
        }
    }
    not_negative(&mut errors, "spec.replicas".to_owned(), spec.replicas.unwrap_or(1));
    not_negative(&mut errors, "spec.minReadySeconds".to_owned(), spec.min_ready_seconds.unwrap_or(0));
    if let Some(start) = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start) {
        not_negative(&mut errors, "spec.ordinals.start".to_owned(), start);
    }
    if selector.is_none() {
        errors.push(FieldError::required(SELECTOR, ""));
    }
    let selector = workload::selector(&mut errors, selector, "statefulset");
    // The volumes that its pods mount come from claims, so the spec of a pod is not looked at here.
    if let Some(selector) = selector {
        workload::finds(&mut errors, &selector, &spec.template);
    }
    labels(&mut errors, "spec.template.labels", &workload::own_labels(&spec.template));
    workload::always(&mut errors, &spec.template, "StatefulSet");
    errors
}

fn validate_strategy(errors: &mut Errors, strategy: &StatefulSetUpdateStrategy) {
    const PATH: &str = "spec.updateStrategy";
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        ("", _) => errors.push(FieldError::required(PATH, "")),
        (ON_DELETE, Some(rolling)) => {
            let shown = serde_json::to_value(rolling).unwrap_or_default();
            let detail = format!("only allowed for updateStrategy '{ROLLING}'");
            errors.push(FieldError::invalid(format!("{PATH}.rollingUpdate"), shown, detail));
        }
        (ON_DELETE, None) | (ROLLING, None) => {}
        (ROLLING, Some(rolling)) => {
            let path = |field: &str| format!("{PATH}.rollingUpdate.{field}");
            not_negative(errors, path("partition"), rolling.partition.unwrap_or(0));
            if let Some(unavailable) = &rolling.max_unavailable {
                count_or_percent(errors, path("maxUnavailable"), unavailable);
                if numbers::is_zero(unavailable) {
                    let shown = numbers::shown(unavailable);
                    errors.push(FieldError::invalid(path("maxUnavailable"), shown, "cannot be 0"));
                }
                at_most_all(errors, path("maxUnavailable"), unavailable);
            }
        }
        _ => {
            let shown = serde_json::to_value(strategy).unwrap_or_default();
            let detail = format!("must be '{ROLLING}' or '{ON_DELETE}'");
            errors.push(FieldError::invalid(PATH, shown, detail));
        }
    }
}
