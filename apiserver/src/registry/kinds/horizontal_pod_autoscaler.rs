//! HorizontalPodAutoscaler: how many replicas a workload may have, and what they are to follow. Kept as
//! `autoscaling/v2`; `v1` is another view of the same objects.

mod cells;
mod metrics;
pub(super) mod v1;
mod validate;

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler, MetricSpec, MetricTarget, ResourceMetricSource,
};
use serde_json::{Value, json};

use super::ALL_VERBS;
use crate::registry::cells::{AGE, NAME, text};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Reference", "The object that it scales."),
    text("Targets", "What it follows: the value now and the one aimed at."),
    text("MinPods", "How few replicas there may be."),
    text("MaxPods", "How many replicas there may be."),
    text("Replicas", "How many replicas there are."),
    AGE,
];

pub(super) fn row() -> Row {
    Row {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        singular: "horizontalpodautoscaler",
        short_names: &["hpa"],
        categories: &["all"],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[Subresource::Status],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::Never,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

/// How much of what they ask for the replicas use together, where nothing else is aimed at.
const CPU_UTILIZATION: i32 = 80;
/// How long a change of the number of replicas counts against a policy.
const PERIOD_SECONDS: i32 = 15;

impl Kind for Strategy {
    type Object = HorizontalPodAutoscaler;

    const SCHEMA: &'static str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler";

    const NULLS: &'static [&'static str] = &["status.currentMetrics"];

    fn default(object: &mut HorizontalPodAutoscaler) {
        let spec = &mut object.spec;
        spec.min_replicas.get_or_insert(1);
        if spec.metrics.as_ref().is_none_or(Vec::is_empty) {
            spec.metrics = Some(vec![cpu(CPU_UTILIZATION)]);
        }
        if let Some(behavior) = &mut spec.behavior {
            let up = behavior.scale_up.get_or_insert_default();
            up.stabilization_window_seconds.get_or_insert(0);
            fill(up, &[policy("Pods", 4), policy("Percent", 100)]);
            fill(behavior.scale_down.get_or_insert_default(), &[policy("Percent", 100)]);
        }
        let status = object.status.get_or_insert_default();
        status.current_replicas = status.current_replicas.filter(|replicas| *replicas != 0);
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), json!({"currentMetrics": null, "desiredReplicas": 0}));
        }
    }

    fn validate(object: &HorizontalPodAutoscaler) -> Vec<FieldError> {
        validate::spec(&object.spec)
    }

    fn validate_status_update(new: &HorizontalPodAutoscaler, _old: &HorizontalPodAutoscaler) -> Vec<FieldError> {
        validate::status(new.status.as_ref())
    }

    fn cells(object: &HorizontalPodAutoscaler, now: Timestamp) -> Vec<Value> {
        cells::cells(object, now)
    }
}

/// The metric that follows the use of CPU.
fn cpu(utilization: i32) -> MetricSpec {
    let target = MetricTarget {
        type_: "Utilization".to_owned(),
        average_utilization: Some(utilization),
        ..MetricTarget::default()
    };
    let resource = Some(ResourceMetricSource { name: "cpu".to_owned(), target });
    MetricSpec { type_: "Resource".to_owned(), resource, ..MetricSpec::default() }
}

fn policy(kind: &str, value: i32) -> HPAScalingPolicy {
    HPAScalingPolicy { type_: kind.to_owned(), value, period_seconds: PERIOD_SECONDS }
}

fn fill(rules: &mut HPAScalingRules, policies: &[HPAScalingPolicy]) {
    rules.select_policy.get_or_insert_with(|| "Max".to_owned());
    rules.policies.get_or_insert_with(|| policies.to_vec());
}
