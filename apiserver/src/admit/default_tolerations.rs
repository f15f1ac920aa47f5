//! `DefaultTolerationSeconds`: a pod that does not say otherwise stays five minutes on a node that was lost.

use coracle_api::wellknown::{TAINT_NOT_READY, TAINT_UNREACHABLE};
use serde_json::{Map, Value, json};

use super::attributes::Attributes;
use super::plugins::Plugin;
use crate::answer::Refused;

/// How long a pod stays on a node that is not ready or not heard of: upstream's default.
const STAYS_SECONDS: u32 = 300;

pub(super) const PLUGIN: Plugin = Plugin { mutate: Some(mutate), ..Plugin::on("DefaultTolerationSeconds") };

fn mutate(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Refused> {
    if attributes.is_of("", "pods")
        && let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut)
    {
        tolerate(spec);
    }
    Ok(())
}

fn tolerate(spec: &mut Map<String, Value>) {
    let tolerations = spec.get("tolerations").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let missing: Vec<Value> = [TAINT_NOT_READY, TAINT_UNREACHABLE]
        .into_iter()
        .filter(|taint| !tolerations.iter().any(|toleration| covers(toleration, taint)))
        .map(|taint| {
            json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": STAYS_SECONDS})
        })
        .collect();
    if missing.is_empty() {
        return;
    }
    match spec.get_mut("tolerations") {
        Some(Value::Array(tolerations)) => tolerations.extend(missing),
        Some(_) | None => {
            spec.insert("tolerations".to_owned(), missing.into());
        }
    }
}

/// Whether a toleration says something about this taint: an absent key or effect stands for all.
fn covers(toleration: &Value, taint: &str) -> bool {
    let text = |field| toleration.get(field).and_then(Value::as_str).unwrap_or("");
    matches!(text("effect"), "" | "NoExecute") && (text("key").is_empty() || text("key") == taint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_says_itself_is_left_as_it_is() {
        for (own, expected) in [
            (json!(null), vec![TAINT_NOT_READY, TAINT_UNREACHABLE]),
            (json!([{"key": "a", "operator": "Exists"}]), vec!["a", TAINT_NOT_READY, TAINT_UNREACHABLE]),
            (json!([{"key": TAINT_NOT_READY, "effect": "NoExecute"}]), vec![TAINT_NOT_READY, TAINT_UNREACHABLE]),
            (
                json!([{"key": TAINT_UNREACHABLE, "effect": "NoSchedule"}]),
                vec![TAINT_UNREACHABLE, TAINT_NOT_READY, TAINT_UNREACHABLE],
            ),
            (json!([{"operator": "Exists"}]), vec![""]),
        ] {
            let mut pod = json!({"spec": {}});
            let spec = pod["spec"].as_object_mut().unwrap();
            if !own.is_null() {
                spec.insert("tolerations".to_owned(), own.clone());
            }
            tolerate(spec);
            let keys: Vec<&str> =
                spec["tolerations"].as_array().unwrap().iter().map(|t| t["key"].as_str().unwrap_or("")).collect();
            assert_eq!(keys, expected, "{own}");
        }
    }
}
