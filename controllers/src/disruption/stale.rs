//! Pods that were marked for disruption and are still there: the mark is taken back after a while.
//!
//! Source: `nonTerminatingPodHasStaleDisruptionCondition` in upstream's `disruption.go`.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pod_facts::{is_terminal, is_terminating};

const TARGET: &str = "DisruptionTarget";

/// The mark of a node, which may take as long as it likes.
const BY_NODE: &str = "TerminationByKubelet";

/// How long a pod may be marked without going (upstream's `stalePodDisruptionTimeout`).
const TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// In how much time the mark of the pod is stale; nothing if it has none.
pub(super) fn due(pod: &Pod, now: Timestamp) -> Option<Duration> {
    if is_terminating(pod) || is_terminal(pod) {
        return None;
    }
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let mark = conditions.iter().find(|c| c.type_ == TARGET && c.status == "True")?;
    if mark.reason.as_deref() == Some(BY_NODE) {
        return None;
    }
    let since = mark.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    let left = TIMEOUT - now.duration_since(since);
    Some(Duration::try_from(left).unwrap_or_default())
}

/// The pod without the mark.
pub(super) fn reset(pod: &Pod, now: Time) -> Pod {
    let mut pod = pod.clone();
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    for condition in conditions.iter_mut().filter(|c| c.type_ == TARGET) {
        *condition = PodCondition {
            type_: TARGET.to_owned(),
            status: "False".to_owned(),
            last_transition_time: Some(now.clone()),
            ..PodCondition::default()
        };
    }
    pod
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mark_is_stale_after_two_minutes_unless_the_node_made_it() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let pod = |seconds: i64, reason: &str, phase: &str| -> Pod {
            let at = Time(now - SignedDuration::from_secs(seconds));
            let condition = json!({"type": TARGET, "status": "True", "reason": reason, "lastTransitionTime": at});
            let status = json!({"phase": phase, "conditions": [condition]});
            serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
        };
        assert_eq!(due(&pod(30, "EvictionByEvictionAPI", "Running"), now), Some(Duration::from_secs(90)));
        assert_eq!(due(&pod(300, "EvictionByEvictionAPI", "Running"), now), Some(Duration::ZERO));
        assert_eq!(due(&pod(300, BY_NODE, "Running"), now), None);
        assert_eq!(due(&pod(300, "EvictionByEvictionAPI", "Failed"), now), None);
        let reset = reset(&pod(300, "EvictionByEvictionAPI", "Running"), Time(now));
        assert_eq!(due(&reset, now), None);
    }
}
