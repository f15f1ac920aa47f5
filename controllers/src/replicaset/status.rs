//! A ReplicaSet's status, counted from its pods.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::whole_seconds;
use coracle_api::selector::Selector;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::plan::{Plan, plan};
use crate::pod_facts::{self, Availability, availability};

/// The condition that says that pods could not be created or deleted.
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The status for these pods, and when to look again because a ready pod will have become available.
pub(super) fn calculate(
    set: &ReplicaSet,
    claimed: &[Arc<Pod>],
    failure: Option<&str>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let spec = &set.spec;
    let template = spec.template.as_ref().and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.clone());
    let template = Selector::from_map(template.iter().flatten());
    let (mut replicas, mut labelled, mut ready, mut available, mut terminating) = (0, 0, 0, 0, 0);
    let mut next: Option<Duration> = None;
    for pod in claimed {
        if pod_facts::is_terminal(pod) {
            continue;
        }
        if pod_facts::is_terminating(pod) {
            terminating += 1;
            continue;
        }
        replicas += 1;
        labelled += i32::from(template.matches(pod.labels()));
        match availability(pod, spec.min_ready_seconds.unwrap_or(0), now) {
            Availability::NotReady => {}
            Availability::Available => (ready, available) = (ready + 1, available + 1),
            Availability::In(left) => {
                ready += 1;
                let left = left.unsigned_abs();
                next = Some(next.map_or(left, |n| n.min(left)));
            }
        }
    }
    let old = set.status.clone().unwrap_or_default();
    let some = |n: i32| (n > 0).then_some(n);
    let status = ReplicaSetStatus {
        replicas,
        fully_labeled_replicas: some(labelled),
        ready_replicas: some(ready),
        available_replicas: some(available),
        terminating_replicas: Some(terminating),
        observed_generation: set.metadata.generation,
        conditions: conditions(old.conditions, failure, plan(count(replicas), super::wanted(set)), now),
    };
    (status, next)
}

fn count(n: i32) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn conditions(
    old: Option<Vec<ReplicaSetCondition>>,
    failure: Option<&str>,
    plan: Plan,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut all = old.unwrap_or_default();
    let is_failure = |c: &ReplicaSetCondition| c.type_.as_deref() == Some(REPLICA_FAILURE);
    let stands = all.iter().any(is_failure);
    match failure {
        None => all.retain(|c| !is_failure(c)),
        Some(message) if !stands => all.push(ReplicaSetCondition {
            type_: Some(REPLICA_FAILURE.to_owned()),
            status: Some("True".to_owned()),
            reason: match plan {
                Plan::Create(_) => Some("FailedCreate".to_owned()),
                Plan::Delete(_) => Some("FailedDelete".to_owned()),
                Plan::Keep => None,
            },
            message: Some(message.to_owned()),
            last_transition_time: Some(Time(whole_seconds(now))),
        }),
        Some(_) => {}
    }
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(min_ready: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 4},
            "spec": {"replicas": 3, "minReadySeconds": min_ready, "selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web", "x": "1"}}}},
        }))
        .unwrap()
    }

    fn pod(extra: &Value, ready: &str, since: &str) -> Arc<Pod> {
        let mut value = json!({"metadata": {"labels": {"app": "web", "x": "1"}}, "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]}});
        json_patch_merge(&mut value, extra);
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn json_patch_merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    json_patch_merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }

    #[test]
    fn pods_are_counted_by_what_they_are() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let pods = [
            pod(&json!({}), "True", "2026-01-01T00:00:00Z"),
            pod(&json!({"metadata": {"labels": {"x": "2"}}}), "True", "2026-01-01T00:00:50Z"),
            pod(&json!({}), "False", "2026-01-01T00:00:00Z"),
            pod(&json!({"status": {"phase": "Failed"}}), "False", "2026-01-01T00:00:00Z"),
            pod(&json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), "True", "2026-01-01T00:00:00Z"),
        ];
        let (status, next) = calculate(&set(30), &pods, None, now);
        assert_eq!((status.replicas, status.fully_labeled_replicas), (3, Some(2)));
        assert_eq!((status.ready_replicas, status.available_replicas), (Some(2), Some(1)));
        assert_eq!((status.terminating_replicas, status.observed_generation), (Some(1), Some(4)));
        assert_eq!(next, Some(Duration::from_secs(20)));
    }

    #[test]
    fn a_failure_is_a_condition_until_it_ends() {
        let mut set = set(0);
        let (status, _) = calculate(&set, &[], Some("quota"), Timestamp::UNIX_EPOCH);
        let condition = status.conditions.clone().unwrap().remove(0);
        assert_eq!((condition.reason.as_deref(), condition.message.as_deref()), (Some("FailedCreate"), Some("quota")));
        set.status = Some(status);
        assert_eq!(calculate(&set, &[], None, Timestamp::UNIX_EPOCH).0.conditions, None);
    }
}
