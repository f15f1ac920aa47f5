//! The annotations by which an autoscaler goes through `autoscaling/v1` without loss.

use serde_json::{Map, Value};

use crate::object::{map_mut, metadata, metadata_mut};

/// Metrics that are aimed at, beside CPU.
pub(super) const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
/// Metrics as they were measured.
pub(super) const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
/// Conditions of the autoscaler.
pub(super) const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
/// How fast it scales.
pub(super) const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Those that say what is wanted.
pub(super) const OF_SPEC: [&str; 2] = [METRICS, BEHAVIOR];
/// Those that say how it is.
pub(super) const OF_STATUS: [&str; 2] = [CURRENT_METRICS, CONDITIONS];

fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    metadata(object)?.get("annotations")?.as_object()
}

/// Takes all of them off the object, and gives what is in them by name.
pub(super) fn take(object: &mut Value) -> Map<String, Value> {
    let mut taken = Map::new();
    let meta = metadata_mut(object);
    if let Some(Value::Object(all)) = meta.get_mut("annotations") {
        for name in OF_SPEC.iter().chain(&OF_STATUS) {
            let text = all.remove(*name);
            let parsed = text.as_ref().and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
            taken.extend(parsed.map(|value| ((*name).to_owned(), value)));
        }
        if all.is_empty() {
            meta.remove("annotations");
        }
    }
    taken
}

/// Writes one on the object.
pub(super) fn put(object: &mut Value, name: &str, text: String) {
    let all = metadata_mut(object).entry("annotations").or_insert(Value::Null);
    map_mut(all).insert(name.to_owned(), text.into());
}

/// Lets some of them be in `new` what they are in `old`.
pub(super) fn keep(new: &mut Value, old: &Value, names: &[&str]) {
    for name in names {
        let before = annotations(old).and_then(|all| all.get(*name)).and_then(Value::as_str);
        match before {
            Some(text) => put(new, name, text.to_owned()),
            None => {
                if let Some(Value::Object(all)) = metadata_mut(new).get_mut("annotations") {
                    all.remove(*name);
                }
            }
        }
    }
}
