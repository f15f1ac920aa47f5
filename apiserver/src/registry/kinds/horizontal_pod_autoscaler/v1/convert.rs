//! From `autoscaling/v1` to `v2` and back: pure functions over JSON.

use serde_json::{Map, Value, json};

use super::annotations::{self, BEHAVIOR, CONDITIONS, CURRENT_METRICS, METRICS};
use crate::object::map_mut;

/// The use of CPU that is aimed at where nothing is.
const CPU_UTILIZATION: i64 = 80;
const CPU: (&str, &str) = ("spec", "targetCPUUtilizationPercentage");
const CPU_NOW: (&str, &str) = ("status", "currentCPUUtilizationPercentage");

/// The autoscaler as `v2` shows it.
pub(super) fn to_v2(mut object: Value) -> Value {
    map_mut(&mut object).insert("apiVersion".to_owned(), "autoscaling/v2".into());
    let mut notes = annotations::take(&mut object);
    let cpu = remove(&mut object, CPU);
    let cpu_now = remove(&mut object, CPU_NOW);
    let mut metrics = listed(notes.remove(METRICS), Side::Target);
    metrics.extend(
        cpu.map(|percent| cpu_metric("target", &json!({"type": "Utilization", "averageUtilization": percent}))),
    );
    if metrics.is_empty() {
        metrics.push(cpu_metric("target", &json!({"type": "Utilization", "averageUtilization": CPU_UTILIZATION})));
    }
    set(&mut object, "spec", "metrics", Value::Array(metrics));
    if let Some(behavior) = notes.remove(BEHAVIOR).map(|behavior| renamed(&behavior)) {
        set(&mut object, "spec", "behavior", behavior);
    }
    let mut current = listed(notes.remove(CURRENT_METRICS), Side::Current);
    if current.is_empty() {
        current.extend(cpu_now.map(|percent| cpu_metric("current", &json!({"averageUtilization": percent}))));
    }
    set(&mut object, "status", "currentMetrics", Value::Array(current));
    if let Some(conditions) = notes.remove(CONDITIONS) {
        set(&mut object, "status", "conditions", conditions);
    }
    object
}

/// The autoscaler as `v1` shows it.
pub(super) fn to_v1(mut object: Value) -> Value {
    map_mut(&mut object).insert("apiVersion".to_owned(), "autoscaling/v1".into());
    annotations::take(&mut object);
    let list = |value: Option<Value>| value.and_then(|v| v.as_array().cloned()).unwrap_or_default();
    let metrics = list(remove(&mut object, ("spec", "metrics")));
    let behavior = remove(&mut object, ("spec", "behavior"));
    let current = list(remove(&mut object, ("status", "currentMetrics")));
    let conditions = list(remove(&mut object, ("status", "conditions")));
    let (cpu, others): (Vec<Value>, Vec<Value>) = metrics.into_iter().partition(|m| utilization(m, "target").is_some());
    if let Some(percent) = cpu.first().and_then(|metric| utilization(metric, "target")) {
        set(&mut object, CPU.0, CPU.1, percent);
    }
    if let Some(percent) = current.iter().find_map(|metric| utilization(metric, "current")) {
        set(&mut object, CPU_NOW.0, CPU_NOW.1, percent);
    }
    if !others.is_empty() {
        annotations::put(&mut object, METRICS, all(&others, |metric| written(metric, Side::Target)));
    }
    if !current.is_empty() {
        annotations::put(&mut object, CURRENT_METRICS, all(&current, |metric| written(metric, Side::Current)));
    }
    if !conditions.is_empty() {
        let fields = ["type", "status", "lastTransitionTime", "reason", "message"];
        let one = |condition: &Value| in_order(&fields.map(|field| (field.to_owned(), text(condition.get(field)))));
        annotations::put(&mut object, CONDITIONS, all(&conditions, one));
    }
    if let Some(behavior) = behavior {
        annotations::put(&mut object, BEHAVIOR, written_behavior(&behavior));
    }
    object
}

fn remove(object: &mut Value, (part, field): (&str, &str)) -> Option<Value> {
    object.get_mut(part)?.as_object_mut()?.remove(field).filter(|value| !value.is_null())
}

fn set(object: &mut Value, part: &str, field: &str, value: Value) {
    map_mut(map_mut(object).entry(part).or_insert(Value::Null)).insert(field.to_owned(), value);
}

fn cpu_metric(side: &str, values: &Value) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", side: values}})
}

/// The use of CPU that a metric aims at or tells, if it is about that.
fn utilization(metric: &Value, side: &str) -> Option<Value> {
    let resource = metric.get("resource").filter(|r| r.get("name").is_some_and(|name| name == "cpu"))?;
    resource.get(side)?.get("averageUtilization").cloned()
}

/// Whether a metric says what is aimed at or what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Target,
    Current,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Current => "current",
        }
    }
}

/// The field that holds the source of a metric: its type with a small first letter.
fn field(metric: &Value) -> String {
    small(metric.get("type").and_then(Value::as_str).unwrap_or_default())
}

fn small(name: &str) -> String {
    let mut name = name.to_owned();
    if let Some(head) = name.get_mut(..1) {
        head.make_ascii_lowercase();
    }
    name
}

/// The same value, the names of its fields with small first letters; what is null is left out.
fn renamed(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (small(name), renamed(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(renamed).collect(),
        other => other.clone(),
    }
}

/// An object with its fields in this order; what is absent is left out.
fn in_order(fields: &[(String, Option<String>)]) -> String {
    let present = fields.iter().filter_map(|(name, value)| Some(format!("{}:{}", json!(name), value.as_ref()?)));
    format!("{{{}}}", present.collect::<Vec<_>>().join(","))
}

fn all(items: &[Value], one: impl Fn(&Value) -> String) -> String {
    format!("[{}]", items.iter().map(one).collect::<Vec<_>>().join(","))
}

fn text(value: Option<&Value>) -> Option<String> {
    value.map(Value::to_string)
}

/// A metric as `v1` writes it in an annotation.
fn written(metric: &Value, side: Side) -> String {
    let field = field(metric);
    let source = metric.get(&field).unwrap_or(&Value::Null);
    let values = source.get(side.name()).unwrap_or(&Value::Null);
    let get = |of: &Value, name: &str| text(of.get(name));
    let zero = || Some("\"0\"".to_owned());
    let name = || get(source.get("metric").unwrap_or(&Value::Null), "name");
    let selector = || get(source.get("metric").unwrap_or(&Value::Null), "selector");
    let of_side = |name: &str| format!("{}{name}", side.name());
    let (value, average) = (get(values, "value"), get(values, "averageValue"));
    let always = |quantity: Option<String>| if side == Side::Current { quantity.or_else(zero) } else { quantity };
    let key = |name: &str| name.to_owned();
    let percent = (of_side("AverageUtilization"), get(values, "averageUtilization"));
    let fields = match field.as_str() {
        "object" => vec![
            (key("target"), Some(reference(source.get("describedObject").unwrap_or(&Value::Null)))),
            (key("metricName"), name()),
            (of_side("Value"), value.or_else(zero)),
            (key("selector"), selector()),
            (key("averageValue"), average),
        ],
        "pods" => vec![
            (key("metricName"), name()),
            (of_side("AverageValue"), average.or_else(zero)),
            (key("selector"), selector()),
        ],
        "external" => vec![
            (key("metricName"), name()),
            (key("metricSelector"), selector()),
            (of_side("Value"), always(value)),
            (of_side("AverageValue"), average),
        ],
        _ => vec![
            (key("name"), get(source, "name")),
            percent,
            (of_side("AverageValue"), always(average)),
            (key("container"), get(source, "container")),
        ],
    };
    in_order(&[(key("type"), get(metric, "type")), (field, Some(in_order(&fields)))])
}

fn reference(object: &Value) -> String {
    in_order(&["kind", "name", "apiVersion"].map(|field| (field.to_owned(), text(object.get(field)))))
}

fn written_behavior(behavior: &Value) -> String {
    let null = || Some("null".to_owned());
    let policy = |policy: &Value| {
        let fields = [("Type", "type"), ("Value", "value"), ("PeriodSeconds", "periodSeconds")];
        in_order(&fields.map(|(name, field)| (name.to_owned(), text(policy.get(field)))))
    };
    let rules = |field: &str| {
        let Some(rules) = behavior.get(field) else { return null() };
        let policies = rules.get("policies").and_then(Value::as_array).map(|list| all(list, policy));
        Some(in_order(&[
            ("StabilizationWindowSeconds".to_owned(), text(rules.get("stabilizationWindowSeconds")).or_else(null)),
            ("SelectPolicy".to_owned(), text(rules.get("selectPolicy")).or_else(null)),
            ("Policies".to_owned(), policies.or_else(null)),
            ("Tolerance".to_owned(), text(rules.get("tolerance"))),
        ]))
    };
    in_order(&[("ScaleUp".to_owned(), rules("scaleUp")), ("ScaleDown".to_owned(), rules("scaleDown"))])
}

/// The metrics of an annotation as `v2` writes them.
fn listed(note: Option<Value>, side: Side) -> Vec<Value> {
    let Some(Value::Array(metrics)) = note else { return Vec::new() };
    metrics.iter().map(|metric| read(metric, side)).collect()
}

fn read(metric: &Value, side: Side) -> Value {
    let field = field(metric);
    let source = metric.get(&field).unwrap_or(&Value::Null);
    let of_side = |name: &str| source.get(format!("{}{name}", side.name())).cloned();
    let mut values = Map::new();
    let mut put = |name: &str, value: Option<Value>| values.extend(value.map(|value| (name.to_owned(), value)));
    let average = of_side("AverageValue").or_else(|| source.get("averageValue").cloned());
    let (value, percent) = (of_side("Value"), of_side("AverageUtilization"));
    let kind = match field.as_str() {
        "object" if average.is_none() => "Value",
        "external" if value.is_some() => "Value",
        "resource" | "containerResource" if percent.is_some() => "Utilization",
        _ => "AverageValue",
    };
    put("value", value);
    put("averageValue", average);
    put("averageUtilization", percent);
    if side == Side::Target {
        put("type", Some(kind.into()));
    }
    let mut out = Map::new();
    out.insert(side.name().to_owned(), Value::Object(values));
    if let Some(name) = source.get("metricName") {
        let mut identifier = json!({"name": name});
        if let Some(selector) = source.get("selector").or_else(|| source.get("metricSelector")) {
            map_mut(&mut identifier).insert("selector".to_owned(), selector.clone());
        }
        out.insert("metric".to_owned(), identifier);
    }
    for (from, to) in [("target", "describedObject"), ("name", "name"), ("container", "container")] {
        out.extend(source.get(from).map(|value| (to.to_owned(), value.clone())));
    }
    json!({"type": metric.get("type"), field: out})
}
