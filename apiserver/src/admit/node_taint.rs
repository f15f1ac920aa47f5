//! `TaintNodesByCondition`: a new node takes no pods until the node lifecycle controller has seen that it is ready.

use coracle_api::wellknown::TAINT_NOT_READY;
use serde_json::{Value, json};

use super::attributes::Attributes;
use super::plugins::Plugin;
use crate::answer::Refused;
use crate::object::map_mut;

const NO_SCHEDULE: &str = "NoSchedule";

pub(super) const PLUGIN: Plugin = Plugin { mutate: Some(mutate), ..Plugin::on("TaintNodesByCondition") };

fn mutate(attributes: &Attributes<'_>, node: &mut Value) -> Result<(), Refused> {
    if attributes.creates() && attributes.is_of("", "nodes") {
        taint(node);
    }
    Ok(())
}

fn taint(node: &mut Value) {
    let spec = map_mut(map_mut(node).entry("spec").or_insert(Value::Null));
    let taints = spec.entry("taints").or_insert_with(|| json!([]));
    if taints.is_null() {
        *taints = json!([]);
    }
    let Some(taints) = taints.as_array_mut() else { return };
    let is = |taint: &Value| {
        let text = |field| taint.get(field).and_then(Value::as_str);
        (text("key"), text("effect")) == (Some(TAINT_NOT_READY), Some(NO_SCHEDULE))
    };
    if !taints.iter().any(is) {
        taints.push(json!({"key": TAINT_NOT_READY, "effect": NO_SCHEDULE}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_tainted_once_and_keeps_its_own_taints() {
        let ours = json!({"key": TAINT_NOT_READY, "effect": "NoSchedule"});
        let own = json!({"key": "a", "effect": "NoExecute"});
        for (given, expected) in [
            (json!({}), json!([ours])),
            (json!({"spec": {"taints": [own]}}), json!([own, ours])),
            (json!({"spec": {"taints": [ours, own]}}), json!([ours, own])),
        ] {
            let mut node = given;
            taint(&mut node);
            assert_eq!(node.pointer("/spec/taints"), Some(&expected));
        }
    }
}
