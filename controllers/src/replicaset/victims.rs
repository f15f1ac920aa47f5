//! Which pods go when there are too many: those that would be missed least.
//!
//! Source: `ActivePodsWithRanks` in upstream's `controller_utils.go`. Ages are compared by their logarithm,
//! so that among pods of about the same age chance decides (here: the UID) and not the second of creation.
//! Upstream asks chance at once where two pods are about as old but not quite, and goes on to what follows where they
//! are just as old; three pods can then each go before the next. Here what follows is asked in both cases.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use kube::ResourceExt;

use crate::pod_facts;

/// How dear a pod is to its owner; cheaper ones go first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods of `active` to delete; `related` are the active pods of the same workload.
pub(super) fn choose(active: &[Arc<Pod>], related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    if count >= active.len() {
        return active.to_vec();
    }
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    for pod in related {
        *crowd.entry(pod_facts::node_name(pod)).or_default() += 1;
    }
    let rank = |pod: &Pod| crowd.get(pod_facts::node_name(pod)).copied().unwrap_or(0);
    let mut pods = active.to_vec();
    pods.sort_by(|a, b| compare(a, b, rank(a), rank(b), now));
    pods.truncate(count);
    pods
}

/// `Less` if `a` goes before `b`.
fn compare(a: &Pod, b: &Pod, rank_a: usize, rank_b: usize, now: Timestamp) -> Ordering {
    let unbound = |pod: &Pod| pod_facts::node_name(pod).is_empty();
    unbound(b)
        .cmp(&unbound(a))
        .then_with(|| phase_order(a).cmp(&phase_order(b)))
        .then_with(|| pod_facts::is_ready(a).cmp(&pod_facts::is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| rank_b.cmp(&rank_a))
        .then_with(|| by_age(pod_facts::ready_since(a), pod_facts::ready_since(b), now))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| by_age(created(a), created(b), now))
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn phase_order(pod: &Pod) -> u8 {
    match pod_facts::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn cost(pod: &Pod) -> i32 {
    pod.annotations().get(DELETION_COST).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|t| t.0)
}

/// Unknown times first, then the shorter ages, in powers of two.
fn by_age(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    a.map(|since| magnitude(since, now)).cmp(&b.map(|since| magnitude(since, now)))
}

fn magnitude(since: Timestamp, now: Timestamp) -> Option<u32> {
    u128::try_from(now.duration_since(since).as_nanos()).ok().and_then(u128::checked_ilog2)
}

/// The most restarts of a container, and of a sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let status = pod.status.as_ref();
    let most = |list: &mut dyn Iterator<Item = &ContainerStatus>| list.map(|s| s.restart_count).max().unwrap_or(0);
    let init = pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let is_sidecar = |c: &Container| c.restart_policy.as_deref() == Some("Always");
    let sidecars: Vec<&str> = init.iter().filter(|c| is_sidecar(c)).map(|c| c.name.as_str()).collect();
    let regular = most(&mut status.into_iter().flat_map(|s| s.container_statuses.iter().flatten()));
    let side = most(
        &mut status
            .into_iter()
            .flat_map(|s| s.init_container_statuses.iter().flatten())
            .filter(|s| sidecars.contains(&s.name.as_str())),
    );
    (regular, side)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, parts: &Value) -> Arc<Pod> {
        let ready = if parts["ready"] == json!(true) { "True" } else { "False" };
        let condition = json!({"type": "Ready", "status": ready, "lastTransitionTime": parts["since"]});
        let created = if parts["created"].is_null() { json!("2026-01-01T00:00:00Z") } else { parts["created"].clone() };
        let value = json!({
            "metadata": {"name": name, "uid": name, "annotations": parts["annotations"], "creationTimestamp": created},
            "spec": {"nodeName": parts["node"], "containers": []},
            "status": {"phase": parts["phase"], "conditions": [condition],
                "containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true,
                    "restartCount": parts["restarts"].as_i64().unwrap_or(0)}]},
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn order(pods: &[Arc<Pod>]) -> Vec<String> {
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        let mut names = Vec::new();
        for count in 1..pods.len() {
            let chosen = choose(pods, pods, count, now);
            names.push(chosen.last().unwrap().name_any());
        }
        names
    }

    #[test]
    fn those_missed_least_go_first() {
        let old = "2026-01-01T00:00:00Z";
        let new = "2026-01-01T23:59:00Z";
        let up = |extra: Value| {
            let mut base = json!({"node": "n1", "phase": "Running", "ready": true, "since": old});
            base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            base
        };
        let pods = [
            pod("best", &up(json!({}))),
            pod("young", &up(json!({"created": new}))),
            pod("restarted", &up(json!({"restarts": 3}))),
            pod("ready-lately", &up(json!({"since": new}))),
            pod("cheap", &up(json!({"annotations": {DELETION_COST: "-1"}}))),
            pod("not-ready", &up(json!({"ready": false}))),
            pod("pending", &json!({"node": "n1", "phase": "Pending", "since": old})),
            pod("unbound", &json!({"phase": "Pending", "since": old})),
        ];
        let expected = ["unbound", "pending", "not-ready", "cheap", "ready-lately", "restarted", "young"];
        assert_eq!(order(&pods), expected);
    }

    #[test]
    fn a_crowded_node_is_thinned_first() {
        let at = |name: &str, node: &str| pod(name, &json!({"node": node, "phase": "Running", "ready": true}));
        let pods = [at("a", "n1"), at("b", "n2"), at("c", "n2")];
        let chosen = choose(&pods, &pods, 1, Timestamp::UNIX_EPOCH);
        assert_ne!(pod_facts::node_name(&chosen[0]), "n1");
    }

    proptest! {
        #[test]
        fn of_three_pods_the_first_goes_before_the_last(
            states in proptest::array::uniform3((0..2_i32, 0..3_usize, 0..3_usize, 0..9_u8)),
        ) {
            // The first two are about as old, the last is far younger.
            let at = |when: usize| ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "2026-01-01T01:30:00Z"][when];
            let [a, b, c] = states.map(|(restarts, ready, created, name)| {
                pod(&format!("p{name}"), &json!({"node": "n1", "phase": "Running", "ready": true,
                    "restarts": restarts, "since": at(ready), "created": at(created)}))
            });
            let now = "2026-01-01T02:00:00Z".parse().unwrap();
            let goes = |a: &Pod, b: &Pod| compare(a, b, 1, 1, now) != Ordering::Greater;
            prop_assert!(!(goes(&a, &b) && goes(&b, &c)) || goes(&a, &c));
        }

        #[test]
        fn the_order_is_total(states in proptest::collection::vec((0..3_u8, any::<bool>(), 0..4_i32, 0..90_000_i64), 2..12)) {
            let pods: Vec<_> = states.iter().enumerate().map(|(i, (node, ready, restarts, age))| {
                let since = Timestamp::from_second(1_767_225_600 + age).unwrap().to_string();
                pod(&format!("p{i}"), &json!({"node": (*node > 0).then(|| format!("n{node}")), "phase": "Running",
                    "ready": ready, "restarts": restarts, "since": since, "created": since}))
            }).collect();
            let mut reversed = pods.clone();
            reversed.reverse();
            let names = |p: &[Arc<Pod>]| choose(p, &pods, 1, "2026-01-03T00:00:00Z".parse().unwrap())[0].name_any();
            // Equal in every respect but the name only where time and node are equal too.
            let times: std::collections::HashSet<_> = states.iter().map(|s| s.3).collect();
            if times.len() == states.len() {
                prop_assert_eq!(names(&pods), names(&reversed));
            }
        }
    }
}
