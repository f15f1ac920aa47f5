//! What a node's silence and conditions mean: which conditions become unknown, and which taints follow.
//!
//! Source: upstream's `node_lifecycle_controller.go`. Taints of others are left as they are.

use std::time::Duration;

use coracle_api::clock::whole_seconds;
use coracle_api::limits::NODE_LEASE_DURATION;
use coracle_api::wellknown::{TAINT_NOT_READY, TAINT_UNREACHABLE, TAINT_UNSCHEDULABLE};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The conditions that a kubelet keeps up to date.
const KUBELET_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Conditions that keep new pods away, and by which taint.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

/// What a silence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing yet; look again after so long.
    Until(Duration),
    /// The node is lost.
    TooLong,
}

/// Judges a silence of this length.
pub(super) fn silence(length: Duration) -> Silence {
    match NODE_LEASE_DURATION.checked_sub(length) {
        Some(left) if !left.is_zero() => Silence::Until(left),
        Some(_) | None => Silence::TooLong,
    }
}

/// The status of the node's `Ready` condition; `Unknown` if it has none.
pub(super) fn readiness(node: &Node) -> &str {
    condition(node, "Ready").map_or("Unknown", |c| c.status.as_str())
}

/// When the node's agent last wrote its status.
pub(super) fn last_word(node: &Node) -> Option<Timestamp> {
    condition(node, "Ready")?.last_heartbeat_time.as_ref().map(|t| t.0)
}

fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == type_)
}

/// The node with what nobody knows any more marked as unknown; nothing if it says so already.
pub(super) fn conditions(node: &Node, now: Timestamp) -> Option<Node> {
    let mut changed = node.clone();
    let all = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    let now = Some(Time(whole_seconds(now)));
    for type_ in KUBELET_CONDITIONS {
        match all.iter_mut().find(|c| c.type_ == type_) {
            Some(known) if known.status == "Unknown" => {}
            Some(known) => {
                "Unknown".clone_into(&mut known.status);
                known.reason = Some("NodeStatusUnknown".to_owned());
                known.message = Some("Kubelet stopped posting node status.".to_owned());
                known.last_transition_time.clone_from(&now);
            }
            None => all.push(NodeCondition {
                type_: type_.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: now.clone(),
            }),
        }
    }
    (changed.status != node.status).then_some(changed)
}

/// The taints that the node should have, if it has others.
pub(super) fn taints(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let mut wanted: Vec<(&str, &str)> = match readiness(node) {
        "True" => Vec::new(),
        "False" => vec![(TAINT_NOT_READY, NO_SCHEDULE), (TAINT_NOT_READY, NO_EXECUTE)],
        _ if condition(node, "Ready").is_none() => vec![(TAINT_NOT_READY, NO_SCHEDULE)],
        _ => vec![(TAINT_UNREACHABLE, NO_SCHEDULE), (TAINT_UNREACHABLE, NO_EXECUTE)],
    };
    if node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false) {
        wanted.push((TAINT_UNSCHEDULABLE, NO_SCHEDULE));
    }
    let pressed = |type_: &str| condition(node, type_).is_some_and(|c| c.status == "True");
    wanted.extend(PRESSURES.iter().filter(|(type_, _)| pressed(type_)).map(|(_, taint)| (*taint, NO_SCHEDULE)));

    let ours = |key: &str| {
        [TAINT_NOT_READY, TAINT_UNREACHABLE, TAINT_UNSCHEDULABLE].contains(&key)
            || PRESSURES.iter().any(|(_, taint)| *taint == key)
    };
    let has: Vec<Taint> = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let is = |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let mut next: Vec<Taint> =
        has.iter().filter(|taint| !ours(&taint.key) || wanted.iter().any(|w| is(taint, *w))).cloned().collect();
    for (key, effect) in wanted {
        if !next.iter().any(|taint| is(taint, (key, effect))) {
            next.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: Some(Time(whole_seconds(now))),
                value: None,
            });
        }
    }
    (next != has).then_some(next)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(ready: &Value, spec: &Value) -> Node {
        let conditions: Vec<_> =
            ready.as_str().iter().map(|status| json!({"type": "Ready", "status": status})).collect();
        serde_json::from_value(json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}}))
            .unwrap()
    }

    fn shown(node: &Node) -> Option<String> {
        let list = taints(node, Timestamp::UNIX_EPOCH)?;
        let key = |key: &str| key.trim_start_matches("node.kubernetes.io/").to_owned();
        Some(list.iter().map(|t| format!("{}:{}", key(&t.key), t.effect)).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn taints_follow_the_conditions_and_leave_others_alone() {
        let own = json!({"taints": [{"key": "mine", "effect": "NoSchedule"}]});
        let stale = json!({"taints": [{"key": TAINT_UNREACHABLE, "effect": "NoExecute"}]});
        for (ready, spec, expected) in [
            (json!("True"), json!({}), None),
            (json!("True"), own.clone(), None),
            (json!("True"), stale, Some("")),
            (json!("False"), own, Some("mine:NoSchedule not-ready:NoSchedule not-ready:NoExecute")),
            (json!("Unknown"), json!({}), Some("unreachable:NoSchedule unreachable:NoExecute")),
            (json!(null), json!({}), Some("not-ready:NoSchedule")),
            (json!("True"), json!({"unschedulable": true}), Some("unschedulable:NoSchedule")),
        ] {
            assert_eq!(shown(&node(&ready, &spec)).as_deref(), expected, "{ready} {spec}");
        }
    }

    #[test]
    fn a_lost_node_knows_nothing_of_itself() {
        let lost = conditions(&node(&json!("True"), &json!({})), Timestamp::UNIX_EPOCH).unwrap();
        let all = lost.status.clone().unwrap().conditions.unwrap();
        assert!(all.iter().all(|c| c.status == "Unknown") && all.len() == KUBELET_CONDITIONS.len());
        assert_eq!(all[0].message.as_deref(), Some("Kubelet stopped posting node status."));
        assert_eq!(all[1].message.as_deref(), Some("Kubelet never posted node status."));
        assert_eq!(conditions(&lost, Timestamp::UNIX_EPOCH), None, "it is said once");
    }

    #[test]
    fn a_node_is_lost_after_the_grace_period() {
        assert_eq!(silence(Duration::from_secs(10)), Silence::Until(NODE_LEASE_DURATION - Duration::from_secs(10)));
        assert_eq!(silence(NODE_LEASE_DURATION), Silence::TooLong);
    }
}
