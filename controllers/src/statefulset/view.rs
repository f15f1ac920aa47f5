//! How a StatefulSet stands: its pods and claims, put in the terms of a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::identity::{self, claim_name, is_labelled, is_wanted, missing_volumes, ordinal, pod_name, start, wanted};
use super::plan::{Member, Order, Slot, Stage, Update, View};
use super::retention;
use super::status::{is_rolling, min_ready};
use crate::pod_facts::{self, Availability, availability};

/// The pods of a set, by ordinal.
pub(super) type Pods = BTreeMap<i32, Arc<Pod>>;

/// Puts the pods in order. Those whose name has no ordinal are left out; two of one name there cannot be.
pub(super) fn by_ordinal(set: &StatefulSet, pods: &[Arc<Pod>]) -> Pods {
    pods.iter().filter_map(|pod| Some((ordinal(set, pod)?, Arc::clone(pod)))).collect()
}

/// The set as a plan sees it; `claim` finds a claim by its name, `update` is the wanted revision.
pub(super) fn view(
    set: &StatefulSet,
    pods: &Pods,
    claim: impl Fn(&str) -> Option<Arc<PersistentVolumeClaim>>,
    update: &str,
    now: Timestamp,
) -> View {
    let claims = |ordinal| {
        let templates = set.spec.volume_claim_templates.iter().flatten();
        let names = templates.map(move |template| claim_name(set, template, ordinal));
        names.filter_map(|name| claim(&name)).collect::<Vec<_>>()
    };
    let member = |(ordinal, pod): (&i32, &Arc<Pod>)| {
        let claims_differ = claims(*ordinal).iter().any(|claim| retention::owners(set, pod, claim).is_some());
        let pod_differs = !is_labelled(pod) || missing_volumes(set, pod, *ordinal).is_some();
        Member {
            ordinal: *ordinal,
            stage: stage(set, pod, now),
            is_updated: identity::revision(pod) == update,
            is_terminating: pod_facts::is_terminating(pod),
            needs_mending: claims_differ || (is_wanted(set, *ordinal) && pod_differs),
        }
    };
    let slot = |ordinal: i32| match pods.get_key_value(&ordinal) {
        Some(held) => Slot::Held(member(held)),
        None => {
            let name = pod_name(set, ordinal);
            let is_blocked = claims(ordinal).iter().any(|c| retention::goes_with_former_pod(set, &name, c));
            Slot::Empty { ordinal, is_blocked }
        }
    };
    let end = start(set).saturating_add(wanted(set));
    View {
        order: order(set),
        update: strategy(set),
        slots: (start(set)..end).map(slot).collect(),
        condemned: pods.iter().rev().filter(|(ordinal, _)| !is_wanted(set, **ordinal)).map(member).collect(),
    }
}

/// How the set's pods come and go.
pub(super) fn order(set: &StatefulSet) -> Order {
    match set.spec.pod_management_policy.as_deref() {
        Some("Parallel") => Order::Parallel,
        _ => Order::OrderedReady,
    }
}

fn stage(set: &StatefulSet, pod: &Pod, now: Timestamp) -> Stage {
    if pod_facts::is_terminal(pod) {
        return Stage::Ended;
    }
    match (pod_facts::phase(pod), availability(pod, min_ready(set), now)) {
        ("Pending", _) => Stage::Pending,
        ("Running", Availability::Available) => Stage::Available,
        _ => Stage::Started,
    }
}

fn strategy(set: &StatefulSet) -> Update {
    if !is_rolling(set) {
        return Update::OnDelete;
    }
    let rolling = set.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
    let most = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    Update::Rolling {
        partition: usize::try_from(partition).unwrap_or(0),
        max_unavailable: most.map_or(1, |most| share(most, wanted(set))),
    }
}

/// A count, or a percentage of the set's size, rounded down; one at least.
fn share(value: &IntOrString, of: i32) -> usize {
    let count = match value {
        IntOrString::Int(count) => i64::from(*count),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            percent.saturating_mul(i64::from(of)) / 100
        }
    };
    usize::try_from(count).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::{Value, json};

    use super::*;

    fn set(spec: &Value) -> StatefulSet {
        let mut whole = json!({"metadata": {"name": "web", "uid": "s"}, "spec": {"selector": {}, "template": {}}});
        whole["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn pod(name: &str, status: &Value) -> Arc<Pod> {
        let labels = json!({identity::LABEL_POD_NAME: name, identity::LABEL_REVISION: "web-b"});
        let meta = json!({"name": name, "uid": name, "labels": labels});
        Arc::new(serde_json::from_value(json!({"metadata": meta, "status": status})).unwrap())
    }

    #[test]
    fn pods_are_sorted_into_wanted_and_unwanted() {
        let set = set(&json!({"replicas": 3, "ordinals": {"start": 1}, "updateStrategy": {"type": "OnDelete"}}));
        let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let pods = [
            pod("web-2", &ready),
            pod("web-1", &json!({"phase": "Pending"})),
            pod("web-4", &json!({"phase": "Failed"})),
            pod("web-0", &json!({"phase": "Running"})),
            pod("web-x", &ready),
        ];
        let now = Timestamp::UNIX_EPOCH;
        let view = view(&set, &by_ordinal(&set, &pods), |_| None, "web-b", now);
        expect![[r#"
            View {
                order: OrderedReady,
                update: OnDelete,
                slots: [
                    Held(
                        Member {
                            ordinal: 1,
                            stage: Pending,
                            is_updated: true,
                            is_terminating: false,
                            needs_mending: false,
                        },
                    ),
                    Held(
                        Member {
                            ordinal: 2,
                            stage: Available,
                            is_updated: true,
                            is_terminating: false,
                            needs_mending: false,
                        },
                    ),
                    Empty {
                        ordinal: 3,
                        is_blocked: false,
                    },
                ],
                condemned: [
                    Member {
                        ordinal: 4,
                        stage: Ended,
                        is_updated: true,
                        is_terminating: false,
                        needs_mending: false,
                    },
                    Member {
                        ordinal: 0,
                        stage: Started,
                        is_updated: true,
                        is_terminating: false,
                        needs_mending: false,
                    },
                ],
            }
        "#]]
        .assert_debug_eq(&view);
    }

    #[test]
    fn the_most_that_may_be_away_is_one_at_least() {
        for (value, of, expected) in [("30%", 10, 3), ("25%", 3, 1), ("50%", 5, 2), ("100%", 4, 4)] {
            assert_eq!(share(&IntOrString::String(value.to_owned()), of), expected, "{value} of {of}");
        }
        assert_eq!(share(&IntOrString::Int(2), 9), 2);
    }

    #[test]
    fn claims_hold_up_and_want_mending() {
        let set = set(&json!({
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Delete"},
        }));
        let claim = |owners: Value| {
            Arc::new(serde_json::from_value(json!({"metadata": {"name": "c", "ownerReferences": owners}})).unwrap())
        };
        let former = claim(json!([{"apiVersion": "v1", "kind": "Pod", "name": "web-0", "uid": "before"}]));
        let found = view(&set, &Pods::new(), |_| Some(Arc::clone(&former)), "r", Timestamp::UNIX_EPOCH);
        assert_eq!(found.slots, [Slot::Empty { ordinal: 0, is_blocked: true }]);
        let free = claim(json!([]));
        let pods = by_ordinal(&set, &[pod("web-3", &json!({}))]);
        let found = view(&set, &pods, |_| Some(Arc::clone(&free)), "r", Timestamp::UNIX_EPOCH);
        assert!(found.condemned[0].needs_mending);
        let found = view(&set, &pods, |_| None, "r", Timestamp::UNIX_EPOCH);
        assert!(!found.condemned[0].needs_mending);
    }
}
