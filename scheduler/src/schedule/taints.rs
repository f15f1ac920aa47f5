//! Taints and tolerations: which pods a node does not want.

use coracle_api::wellknown::TAINT_UNSCHEDULABLE;
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";
const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";

/// The taints that keep new pods away and are not tolerated.
pub(super) fn untolerated<'a>(node: &'a Node, tolerations: &'a [Toleration]) -> impl Iterator<Item = &'a Taint> {
    let hard = taints(node).filter(|taint| matches!(taint.effect.as_str(), NO_SCHEDULE | NO_EXECUTE));
    hard.filter(|taint| !tolerations.iter().any(|t| tolerates(t, taint)))
}

/// How many taints would rather have the pod elsewhere.
pub(super) fn reluctance(node: &Node, tolerations: &[Toleration]) -> usize {
    let soft = taints(node).filter(|taint| taint.effect == PREFER_NO_SCHEDULE);
    soft.filter(|taint| !tolerations.iter().any(|t| tolerates(t, taint))).count()
}

/// Whether the node is cordoned and the pod does not tolerate that.
pub(super) fn is_cordoned_for(node: &Node, tolerations: &[Toleration]) -> bool {
    let cordon = Taint { key: TAINT_UNSCHEDULABLE.to_owned(), effect: NO_SCHEDULE.to_owned(), ..Taint::default() };
    let cordoned = node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
    cordoned && !tolerations.iter().any(|t| tolerates(t, &cordon))
}

fn taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten())
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    let (asked, has) = (text(&toleration.value), text(&taint.value));
    let numbers = || Some((has.parse::<i64>().ok()?, asked.parse::<i64>().ok()?));
    match toleration.operator.as_deref() {
        None | Some("" | "Equal") => asked == has,
        Some("Exists") => true,
        Some("Gt") => numbers().is_some_and(|(has, asked)| has > asked),
        Some("Lt") => numbers().is_some_and(|(has, asked)| has < asked),
        Some(_) => false,
    }
}
