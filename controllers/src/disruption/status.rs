//! The status of a budget, from the pods that it counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::whole_seconds;
use coracle_api::disruption::{CONDITION, DELETION_TIMEOUT, SYNC_FAILED, condition, said, set_condition};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;

use super::expected::Wanted;
use crate::pod_facts::{is_ready, is_terminating};

/// Evictions that were allowed and have not been seen to happen.
#[derive(Debug, Clone, Default)]
pub(super) struct Disrupted {
    /// By pod: when it was allowed.
    pub(super) pods: BTreeMap<String, Time>,
    /// Pods that should have been gone by now.
    pub(super) overdue: Vec<Arc<Pod>>,
    /// When to look again.
    pub(super) recheck: Option<Duration>,
}

/// Which of the evictions that the budget remembers are still to come.
pub(super) fn disrupted(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], now: Timestamp) -> Disrupted {
    let mut all = Disrupted::default();
    let Some(remembered) = budget.status.as_ref().and_then(|s| s.disrupted_pods.as_ref()) else { return all };
    for pod in pods.iter().filter(|pod| !is_terminating(pod)) {
        let Some(at) = remembered.get(&pod.name_any()) else { continue };
        let until = at.0.checked_add(DELETION_TIMEOUT).unwrap_or(at.0);
        if until < now {
            all.overdue.push(Arc::clone(pod));
            continue;
        }
        let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
        all.recheck = Some(all.recheck.map_or(left, |sooner| sooner.min(left)));
        all.pods.insert(pod.name_any(), at.clone());
    }
    all
}

/// The new status; nothing if the present one says it all.
pub(super) fn calculate(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    wanted: Wanted,
    disrupted: &BTreeMap<String, Time>,
    now: Timestamp,
) -> Option<PodDisruptionBudgetStatus> {
    let counts = |pod: &&Arc<Pod>| !is_terminating(pod) && !disrupted.contains_key(&pod.name_any()) && is_ready(pod);
    let healthy = i32::try_from(pods.iter().filter(counts).count()).unwrap_or(i32::MAX);
    // A budget that expects no pods allows nothing: its first pods may appear before it is looked into again.
    let allowed = if wanted.expected <= 0 { 0 } else { healthy.saturating_sub(wanted.healthy).max(0) };
    let old = budget.status.clone().unwrap_or_default();
    let generation = budget.metadata.generation;
    let mut new = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(wanted.healthy),
        expected_pods: Some(wanted.expected),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then(|| disrupted.clone()),
        observed_generation: generation,
        conditions: old.conditions.clone(),
    };
    let is_said = |c: &Condition| {
        c.type_ == CONDITION && c.status == said(allowed).0 && c.observed_generation == generation.filter(|g| *g != 0)
    };
    if !old.conditions.iter().flatten().any(is_said) {
        set_condition(new.conditions.get_or_insert_default(), condition(allowed, generation, now));
    }
    (new != old).then_some(new)
}

/// The status of a budget that cannot be worked out: it allows nothing.
pub(super) fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> Option<PodDisruptionBudgetStatus> {
    let old = budget.status.clone().unwrap_or_default();
    let mut new = PodDisruptionBudgetStatus { disruptions_allowed: Some(0), ..old.clone() };
    let failed = Condition {
        type_: CONDITION.to_owned(),
        status: "False".to_owned(),
        reason: SYNC_FAILED.to_owned(),
        message: why.to_owned(),
        observed_generation: old.observed_generation,
        last_transition_time: Time(whole_seconds(now)),
    };
    set_condition(new.conditions.get_or_insert_default(), failed);
    (new != old).then_some(new)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, ready: &str, more: Value) -> Arc<Pod> {
        let mut meta = json!({"name": name});
        meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let status = json!({"conditions": [{"type": "Ready", "status": ready}]});
        Arc::new(serde_json::from_value(json!({"metadata": meta, "status": status})).unwrap())
    }

    fn budget(status: Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({"metadata": {"name": "b", "generation": 2}, "status": status})).unwrap()
    }

    const NOW: Timestamp = Timestamp::constant(1_000_000, 0);

    #[test]
    fn only_pods_that_stay_and_are_ready_count() {
        let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let pods = [
            pod("a", "True", json!({})),
            pod("b", "True", json!({})),
            pod("c", "False", json!({})),
            pod("d", "True", going),
        ];
        let recent = Time(NOW - jiff::SignedDuration::from_secs(30));
        let remembered = json!({"disruptedPods": {"b": recent, "d": recent}});
        let found = disrupted(&budget(remembered.clone()), &pods, NOW);
        assert_eq!(found.pods.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(found.recheck, Some(Duration::from_secs(90)));
        let wanted = Wanted { expected: 4, healthy: 0 };
        let status = calculate(&budget(remembered), &pods, wanted, &found.pods, NOW).unwrap();
        assert_eq!((status.current_healthy, status.disruptions_allowed), (Some(1), Some(1)));
        let settled = budget(serde_json::to_value(&status).unwrap());
        assert_eq!(calculate(&settled, &pods, wanted, &found.pods, NOW), None, "nothing new is nothing to write");
    }

    #[test]
    fn an_eviction_that_does_not_happen_is_forgotten() {
        let pods = [pod("a", "True", json!({}))];
        let long_ago = Time(NOW - jiff::SignedDuration::from_secs(121));
        let found = disrupted(&budget(json!({"disruptedPods": {"a": long_ago}})), &pods, NOW);
        assert_eq!((found.pods.len(), found.overdue.len(), found.recheck), (0, 1, None));
    }

    #[test]
    fn a_budget_allows_nothing_that_it_cannot_answer_for() {
        let pods = [pod("a", "True", json!({}))];
        let none = calculate(&budget(json!({})), &pods, Wanted::default(), &BTreeMap::new(), NOW).unwrap();
        assert_eq!(none.disruptions_allowed, Some(0), "no pod is expected");
        let short = calculate(&budget(json!({})), &pods, Wanted { expected: 1, healthy: 3 }, &BTreeMap::new(), NOW);
        assert_eq!(short.unwrap().disruptions_allowed, Some(0));
        let failed = failed(&budget(json!({"disruptionsAllowed": 3})), "found no controllers", NOW).unwrap();
        let condition = &failed.conditions.unwrap()[0];
        assert_eq!((failed.disruptions_allowed, condition.reason.as_str()), (Some(0), "SyncFailed"));
    }
}
