//! A StatefulSet's status, counted from its pods.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::identity::{self, wanted};
use super::plan::{Plan, Step};
use crate::pod_facts::{self, Availability, availability};

/// The names of a set's two revisions, and how often a name was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Revisions<'a> {
    pub(super) current: &'a str,
    pub(super) update: &'a str,
    pub(super) collisions: i32,
}

/// The status for these pods.
pub(super) fn calculate<'a>(
    set: &StatefulSet,
    pods: impl IntoIterator<Item = &'a Pod>,
    revisions: Revisions<'_>,
    now: Timestamp,
) -> StatefulSetStatus {
    let (mut replicas, mut ready, mut available, mut current, mut updated) = (0, 0, 0, 0, 0);
    for pod in pods {
        replicas += 1;
        if pod_facts::phase(pod) == "Running" && pod_facts::is_ready(pod) {
            ready += 1;
            let is_available = availability(pod, min_ready(set), now) == Availability::Available;
            available += i32::from(is_available);
        }
        if !pod_facts::is_terminating(pod) {
            let revision = identity::revision(pod);
            current += i32::from(revision == revisions.current);
            updated += i32::from(revision == revisions.update);
        }
    }
    let some = |n: i32| (n > 0).then_some(n);
    let mut status = StatefulSetStatus {
        replicas,
        ready_replicas: some(ready),
        available_replicas: Some(available),
        current_replicas: some(current),
        updated_replicas: some(updated),
        current_revision: Some(revisions.current.to_owned()),
        update_revision: Some(revisions.update.to_owned()),
        observed_generation: set.metadata.generation,
        collision_count: Some(revisions.collisions),
        conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
    };
    if is_rolling(set) && [replicas, ready, updated] == [wanted(set); 3] {
        status.current_replicas = status.updated_replicas;
        status.current_revision = status.update_revision.clone();
    }
    status
}

/// Takes from the status what the plan's update has just deleted.
pub(super) fn note_update(status: &mut StatefulSetStatus, plan: &Plan, is_current: impl Fn(i32) -> bool) {
    let deleted = plan.update.iter().filter(|step| matches!(step, Step::Delete(ordinal) if is_current(*ordinal)));
    let deleted = i32::try_from(deleted.count()).unwrap_or(i32::MAX);
    let left = status.current_replicas.unwrap_or(0).saturating_sub(deleted);
    status.current_replicas = (left > 0).then_some(left);
}

/// When a ready pod will have been ready for long enough.
pub(super) fn next_look<'a>(
    set: &StatefulSet,
    pods: impl IntoIterator<Item = &'a Pod>,
    now: Timestamp,
) -> Option<Duration> {
    let left = |pod| match availability(pod, min_ready(set), now) {
        Availability::In(left) => Some(left.unsigned_abs()),
        Availability::Available | Availability::NotReady => None,
    };
    pods.into_iter().filter_map(left).min()
}

/// `spec.minReadySeconds`, zero if absent.
pub(super) fn min_ready(set: &StatefulSet) -> i32 {
    set.spec.min_ready_seconds.unwrap_or(0)
}

/// Whether the controller replaces pods of another revision.
pub(super) fn is_rolling(set: &StatefulSet) -> bool {
    let strategy = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    strategy.is_none_or(|word| word == "RollingUpdate")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(replicas: i32, strategy: &str) -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 4},
            "spec": {"replicas": replicas, "minReadySeconds": 30, "selector": {}, "template": {},
                "updateStrategy": {"type": strategy}},
        }))
        .unwrap()
    }

    fn pod(revision: &str, phase: &str, ready: &str, since: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"labels": {identity::LABEL_REVISION: revision}},
            "status": {"phase": phase,
                "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]},
        }))
        .unwrap()
    }

    const REVISIONS: Revisions<'_> = Revisions { current: "a", update: "b", collisions: 0 };

    #[test]
    fn pods_are_counted_by_what_they_are() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let mut leaving = pod("b", "Running", "True", "2026-01-01T00:00:00Z");
        leaving.metadata.deletion_timestamp =
            serde_json::from_value::<Value>(json!("2026-01-01T00:00:00Z")).and_then(serde_json::from_value).unwrap();
        let pods = [
            pod("a", "Running", "True", "2026-01-01T00:00:00Z"),
            pod("a", "Pending", "False", "2026-01-01T00:00:00Z"),
            pod("b", "Running", "True", "2026-01-01T00:00:50Z"),
            pod("c", "Failed", "False", "2026-01-01T00:00:50Z"),
            leaving,
        ];
        let status = calculate(&set(3, "RollingUpdate"), &pods, REVISIONS, now);
        assert_eq!((status.replicas, status.ready_replicas, status.available_replicas), (5, Some(3), Some(2)));
        assert_eq!((status.current_replicas, status.updated_replicas), (Some(2), Some(1)));
        assert_eq!((status.current_revision.as_deref(), status.update_revision.as_deref()), (Some("a"), Some("b")));
        assert_eq!((status.observed_generation, status.collision_count), (Some(4), Some(0)));
        assert_eq!(next_look(&set(3, "RollingUpdate"), &pods, now), Some(Duration::from_secs(20)));
    }

    #[test]
    fn an_update_is_complete_when_all_pods_are_new_and_ready() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let new = pod("b", "Running", "True", "2026-01-01T00:00:00Z");
        let status = calculate(&set(1, "RollingUpdate"), [&new], REVISIONS, now);
        assert_eq!((status.current_revision.as_deref(), status.current_replicas), (Some("b"), Some(1)));
        let status = calculate(&set(1, "OnDelete"), [&new], REVISIONS, now);
        assert_eq!((status.current_revision.as_deref(), status.current_replicas), (Some("a"), None));
        let status = calculate(&set(2, "RollingUpdate"), [&new], REVISIONS, now);
        assert_eq!(status.current_revision.as_deref(), Some("a"));
    }

    #[test]
    fn what_the_update_deletes_is_no_longer_counted() {
        let plan = Plan { update: vec![Step::Delete(2), Step::Delete(1)], ..Plan::default() };
        let mut status = StatefulSetStatus { current_replicas: Some(3), ..StatefulSetStatus::default() };
        note_update(&mut status, &plan, |ordinal| ordinal == 2);
        assert_eq!(status.current_replicas, Some(2));
    }
}
