//! HorizontalPodAutoscaler as `autoscaling/v1` shows it: CPU alone has a field, what else there is stands in
//! annotations.

mod annotations;
mod convert;

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::{v1, v2};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{cells, validate};
use crate::registry::typed::{Kind, Typed, keep, keep_all_but_status};
use crate::registry::{Row, Strategy as _};
use crate::store::Conversion;

pub(in crate::registry::kinds) fn row() -> Row {
    Row { version: "v1", schema: Strategy::SCHEMA, strategy: Arc::new(Typed::<Strategy>::new()), ..super::row() }
}

struct Strategy;

impl Kind for Strategy {
    type Object = v1::HorizontalPodAutoscaler;

    const SCHEMA: &'static str = "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler";

    const CONVERSION: Option<Conversion> =
        Some(Conversion { group: "autoscaling", version: "v2", to_stored, from_stored });

    fn default(object: &mut v1::HorizontalPodAutoscaler) {
        object.spec.min_replicas.get_or_insert(1);
        object.status.get_or_insert_default();
    }

    fn prepare_for_create(object: &mut Value) {
        annotations::keep(object, &Value::Null, &annotations::OF_STATUS);
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), json!({"currentReplicas": 0, "desiredReplicas": 0}));
        }
    }

    fn prepare_for_update(new: &mut Value, old: &Value) {
        keep(new, old, "status");
        annotations::keep(new, old, &annotations::OF_STATUS);
    }

    fn prepare_for_status_update(new: &mut Value, old: &Value) {
        keep_all_but_status(new, old);
        annotations::keep(new, old, &annotations::OF_SPEC);
    }

    fn validate(object: &v1::HorizontalPodAutoscaler) -> Vec<FieldError> {
        validate::spec(&stored(object).spec)
    }

    fn validate_status_update(
        new: &v1::HorizontalPodAutoscaler,
        _old: &v1::HorizontalPodAutoscaler,
    ) -> Vec<FieldError> {
        validate::status(stored(new).status.as_ref())
    }

    fn cells(object: &v1::HorizontalPodAutoscaler, now: Timestamp) -> Vec<Value> {
        cells::cells(&stored(object), now)
    }
}

fn stored(object: &v1::HorizontalPodAutoscaler) -> v2::HorizontalPodAutoscaler {
    let object = to_stored(serde_json::to_value(object).unwrap_or_default());
    v2::HorizontalPodAutoscaler::deserialize(object).unwrap_or_default()
}

fn to_stored(object: Value) -> Value {
    let converted = convert::to_v2(object);
    Typed::<super::Strategy>::new().default(converted.clone()).unwrap_or(converted)
}

fn from_stored(object: Value) -> Value {
    let converted = convert::to_v1(object);
    Typed::<Strategy>::new().default(converted.clone()).unwrap_or(converted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both_ways(v2: Value) -> (Value, Value) {
        let kept = Typed::<super::super::Strategy>::new().default(v2).unwrap();
        let seen = from_stored(kept.clone());
        assert_eq!(to_stored(seen.clone()), kept);
        assert_eq!(seen["apiVersion"], json!("autoscaling/v1"));
        (kept, seen)
    }

    fn autoscaler(more: &Value) -> Value {
        let mut object = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "annotations": {"own": "x"}},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}});
        for (part, fields) in more.as_object().unwrap() {
            for (name, value) in fields.as_object().unwrap() {
                object[part][name] = value.clone();
            }
        }
        object
    }

    #[test]
    fn cpu_has_a_field_of_its_own() {
        let (_, seen) = both_ways(autoscaler(&json!({})));
        assert_eq!(seen["spec"]["targetCPUUtilizationPercentage"], json!(80));
        assert_eq!(seen["metadata"]["annotations"], json!({"own": "x"}));
    }

    #[test]
    fn what_v1_does_not_have_stands_in_annotations_and_comes_back() {
        let target = |kind: &str, field: &str, value: Value| json!({"type": kind, field: value});
        let metrics = json!([
            {"type": "Resource", "resource": {"name": "memory", "target": target("AverageValue", "averageValue", json!("1Gi"))}},
            {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": target("AverageValue", "averageValue", json!("5"))}},
            {"type": "External", "external": {"metric": {"name": "e", "selector": {"matchLabels": {"a": "b"}}},
                "target": target("Value", "value", json!("7"))}},
            {"type": "Object", "object": {"metric": {"name": "o"}, "describedObject": {"kind": "Service", "name": "s"},
                "target": target("Value", "value", json!("9"))}},
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                "target": target("Utilization", "averageUtilization", json!(50))}},
            {"type": "Resource", "resource": {"name": "cpu", "target": target("Utilization", "averageUtilization", json!(60))}},
        ]);
        let behavior = json!({"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 10}]}});
        let status = json!({"desiredReplicas": 2, "currentReplicas": 1,
            "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                "current": {"averageUtilization": 30, "averageValue": "300m"}}}],
            "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}]});
        let spec = json!({"metrics": metrics, "behavior": behavior});
        let (_, seen) = both_ways(autoscaler(&json!({"spec": spec, "status": status})));
        let notes: Vec<String> =
            seen["metadata"]["annotations"].as_object().unwrap().values().map(Value::to_string).collect();
        expect_test::expect![[r#"
            "{\"ScaleUp\":{\"StabilizationWindowSeconds\":0,\"SelectPolicy\":\"Max\",\"Policies\":[{\"Type\":\"Pods\",\"Value\":4,\"PeriodSeconds\":15},{\"Type\":\"Percent\",\"Value\":100,\"PeriodSeconds\":15}]},\"ScaleDown\":{\"StabilizationWindowSeconds\":null,\"SelectPolicy\":\"Max\",\"Policies\":[{\"Type\":\"Pods\",\"Value\":1,\"PeriodSeconds\":10}]}}"
            "[{\"type\":\"AbleToScale\",\"status\":\"True\",\"lastTransitionTime\":\"2026-01-02T03:04:05Z\"}]"
            "[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"currentAverageUtilization\":30,\"currentAverageValue\":\"300m\"}}]"
            "[{\"type\":\"Resource\",\"resource\":{\"name\":\"memory\",\"targetAverageValue\":\"1Gi\"}},{\"type\":\"Pods\",\"pods\":{\"metricName\":\"m\",\"targetAverageValue\":\"5\"}},{\"type\":\"External\",\"external\":{\"metricName\":\"e\",\"metricSelector\":{\"matchLabels\":{\"a\":\"b\"}},\"targetValue\":\"7\"}},{\"type\":\"Object\",\"object\":{\"target\":{\"kind\":\"Service\",\"name\":\"s\"},\"metricName\":\"o\",\"targetValue\":\"9\"}},{\"type\":\"ContainerResource\",\"containerResource\":{\"name\":\"cpu\",\"targetAverageUtilization\":50,\"container\":\"c\"}}]"
            "x""#]]
        .assert_eq(&notes.join("\n"));
        assert_eq!(seen["spec"]["targetCPUUtilizationPercentage"], json!(60));
        assert_eq!(seen["status"]["currentCPUUtilizationPercentage"], json!(30));
    }

    #[test]
    fn an_annotation_that_makes_no_sense_is_left_out() {
        let strange = json!({"annotations": {"autoscaling.alpha.kubernetes.io/metrics": "{"}});
        let kept = to_stored(autoscaler(&json!({"metadata": strange})));
        assert_eq!(kept["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], json!(80));
        assert_eq!(kept["metadata"].get("annotations"), None);
    }
}
