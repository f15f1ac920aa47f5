//! What `kubectl get horizontalpodautoscalers` shows.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use crate::registry::cells::{self, NONE, UNKNOWN, UNSET};

/// The cells of an autoscaler.
pub(super) fn cells(object: &HorizontalPodAutoscaler, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object.spec, object.status.clone().unwrap_or_default());
    let target = &spec.scale_target_ref;
    let metrics = spec.metrics.as_deref().unwrap_or_default();
    let current = status.current_metrics.as_deref().unwrap_or_default();
    vec![
        cells::name(&object.metadata),
        format!("{}/{}", target.kind, target.name).into(),
        targets(metrics, current).into(),
        spec.min_replicas.map_or_else(|| UNSET.to_owned(), |least| least.to_string()).into(),
        spec.max_replicas.into(),
        status.current_replicas.unwrap_or(0).into(),
        cells::age(&object.metadata, now),
    ]
}

/// Two metrics, and how many more there are.
fn targets(metrics: &[MetricSpec], current: &[MetricStatus]) -> String {
    const SHOWN_MAX: usize = 2;
    if metrics.is_empty() {
        return NONE.to_owned();
    }
    let shown = metrics.iter().enumerate().take(SHOWN_MAX).map(|(index, metric)| one(metric, current.get(index)));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match metrics.len().saturating_sub(SHOWN_MAX) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn one(metric: &MetricSpec, current: Option<&MetricStatus>) -> String {
    if let Some(source) = &metric.external {
        return value(&source.target, current.and_then(|c| c.external.as_ref()).map(|c| &c.current));
    }
    if let Some(source) = &metric.object {
        return value(&source.target, current.and_then(|c| c.object.as_ref()).map(|c| &c.current));
    }
    if let Some(source) = &metric.pods {
        let now = current.and_then(|c| c.pods.as_ref()).and_then(|c| c.current.average_value.as_ref());
        return format!("{}/{}", quantity(now), quantity(source.target.average_value.as_ref()));
    }
    if let Some(source) = &metric.resource {
        let now = current.and_then(|c| c.resource.as_ref()).map(|c| &c.current);
        return format!("{}: {}", source.name, utilization(&source.target, now));
    }
    if let Some(source) = &metric.container_resource {
        let now = current.and_then(|c| c.container_resource.as_ref()).map(|c| &c.current);
        return format!("{}: {}", source.name, utilization(&source.target, now));
    }
    "<unknown type>".to_owned()
}

fn quantity(quantity: Option<&Quantity>) -> &str {
    quantity.map_or(UNKNOWN, |quantity| quantity.0.as_str())
}

fn value(target: &MetricTarget, now: Option<&MetricValueStatus>) -> String {
    match &target.average_value {
        Some(wanted) => format!("{}/{} (avg)", quantity(now.and_then(|n| n.average_value.as_ref())), wanted.0),
        None => format!("{}/{}", quantity(now.and_then(|n| n.value.as_ref())), quantity(target.value.as_ref())),
    }
}

fn utilization(target: &MetricTarget, now: Option<&MetricValueStatus>) -> String {
    let percent = |number: Option<i32>, none: &str| number.map_or_else(|| none.to_owned(), |n| format!("{n}%"));
    match &target.average_value {
        Some(wanted) => format!("{}/{}", quantity(now.and_then(|n| n.average_value.as_ref())), wanted.0),
        None => {
            let now = percent(now.and_then(|n| n.average_utilization), UNKNOWN);
            format!("{now}/{}", percent(target.average_utilization, "<auto>"))
        }
    }
}
