//! PodDisruptionBudget: how many pods of an application may be away at once by somebody's will.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, integer, text};
use crate::registry::check::conditions::conditions;
use crate::registry::check::labels::selector;
use crate::registry::check::numbers::{at_most_all, count_or_percent, not_negative, shown};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Min Available", "How many of its pods must stay, as a number or a percentage."),
    text("Max Unavailable", "How many of its pods may be away, as a number or a percentage."),
    integer("Allowed Disruptions", "How many of its pods may be evicted now."),
    AGE,
];

/// What becomes of pods that are not healthy anyway.
const EVICTION_POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

pub(super) fn row() -> Row {
    Row {
        group: "policy",
        version: "v1",
        kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        short_names: &["pdb"],
        categories: &[],
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
    type Object = PodDisruptionBudget;

    const SCHEMA: &'static str = "io.k8s.api.policy.v1.PodDisruptionBudget";

    fn default(object: &mut PodDisruptionBudget) {
        object.spec.get_or_insert_default();
        let status = object.status.get_or_insert_default();
        for count in [
            &mut status.current_healthy,
            &mut status.desired_healthy,
            &mut status.disruptions_allowed,
            &mut status.expected_pods,
        ] {
            count.get_or_insert(0);
        }
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            let counts = json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
            object.insert("status".to_owned(), counts);
        }
    }

    fn validate(object: &PodDisruptionBudget) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let Some(spec) = &object.spec else { return errors };
        if spec.min_available.is_some() && spec.max_unavailable.is_some() {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            errors.push(FieldError::invalid("spec", serde_json::to_value(spec).unwrap_or_default(), detail));
        }
        for (field, value) in [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)] {
            if let Some(value) = value {
                count_or_percent(&mut errors, format!("spec.{field}"), value);
                at_most_all(&mut errors, format!("spec.{field}"), value);
            }
        }
        if let Some(wanted) = &spec.selector {
            selector(&mut errors, "spec.selector", wanted);
        }
        if let Some(policy) = spec.unhealthy_pod_eviction_policy.as_deref().filter(|p| !EVICTION_POLICIES.contains(p)) {
            errors.push(FieldError::not_supported("spec.unhealthyPodEvictionPolicy", policy, &EVICTION_POLICIES));
        }
        errors
    }

    fn validate_status_update(new: &PodDisruptionBudget, _old: &PodDisruptionBudget) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = PodDisruptionBudgetStatus::default();
        let status = new.status.as_ref().unwrap_or(&empty);
        conditions(&mut errors, "status", "conditions", status.conditions.as_deref().unwrap_or_default());
        for (field, value) in [
            ("disruptionsAllowed", status.disruptions_allowed),
            ("currentHealthy", status.current_healthy),
            ("desiredHealthy", status.desired_healthy),
            ("expectedPods", status.expected_pods),
        ] {
            not_negative(&mut errors, format!("status.{field}"), value.unwrap_or(0));
        }
        errors
    }

    fn cells(object: &PodDisruptionBudget, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let stated = |value: &Option<IntOrString>| match value.as_ref().map(shown) {
            None => "N/A".into(),
            Some(Value::Number(number)) => number.to_string().into(),
            Some(other) => other,
        };
        let allowed = object.status.as_ref().and_then(|s| s.disruptions_allowed).unwrap_or(0);
        vec![
            cells::name(&object.metadata),
            stated(&spec.min_available),
            stated(&spec.max_unavailable),
            allowed.into(),
            cells::age(&object.metadata, now),
        ]
    }
}
