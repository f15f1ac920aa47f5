//! What a disruption budget says to the eviction of one of its pods. Pure.
//!
//! Source: `checkAndDecrement` in upstream's `eviction.go`.

use coracle_api::clock::whole_seconds;
use coracle_api::disruption::{condition, set_condition};
use jiff::Timestamp;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use crate::object::text;

/// So many evictions may be under way that the controller has not seen (upstream's `MaxDisruptedPodSize`).
const DISRUPTED_MAX: usize = 2000;

/// Whether the eviction counted against the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It did.
    Counted,
    /// It did not: the pod is not healthy and nobody counts on it.
    NotCounted,
}

/// What an eviction does to a budget.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Spent {
    /// Nothing: the pod is not healthy, so that nothing is lost with it.
    Nothing,
    /// One disruption; the status afterwards.
    One(Box<PodDisruptionBudgetStatus>),
    /// It may not happen.
    Refused(Refusal),
}

/// Why a budget does not allow an eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The controller has not looked into it in its present form.
    NotObserved,
    /// Nothing is left of it.
    Exhausted {
        /// How many pods must be healthy.
        desired: i32,
        /// How many are.
        current: i32,
    },
    /// Its status cannot be.
    Broken(&'static str),
}

/// Decides on the eviction of `pod`, which runs.
pub(super) fn spend(budget: &PodDisruptionBudget, pod: &Value, now: Timestamp) -> Spent {
    let status = budget.status.clone().unwrap_or_default();
    let (current, desired) = (status.current_healthy.unwrap_or(0), status.desired_healthy.unwrap_or(0));
    if !is_ready(pod) {
        let policy = budget.spec.as_ref().and_then(|s| s.unhealthy_pod_eviction_policy.as_deref());
        if policy == Some("AlwaysAllow") || current >= desired && desired > 0 {
            return Spent::Nothing;
        }
    }
    if status.observed_generation.unwrap_or(0) < budget.metadata.generation.unwrap_or(0) {
        return Spent::Refused(Refusal::NotObserved);
    }
    let allowed = status.disruptions_allowed.unwrap_or(0);
    if allowed < 0 {
        return Spent::Refused(Refusal::Broken("pdb disruptions allowed is negative"));
    }
    if status.disrupted_pods.as_ref().is_some_and(|pods| pods.len() > DISRUPTED_MAX) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Spent::Refused(Refusal::Broken(why));
    }
    if allowed == 0 {
        return Spent::Refused(Refusal::Exhausted { desired, current });
    }
    let mut status = status;
    status.disruptions_allowed = Some(allowed - 1);
    if allowed == 1 {
        let said = condition(0, status.observed_generation, now);
        set_condition(status.conditions.get_or_insert_default(), said);
    }
    let name = text(pod, "name").to_owned();
    status.disrupted_pods.get_or_insert_default().insert(name, Time(whole_seconds(now)));
    Spent::One(Box::new(status))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    let says = |c: &Value, field: &str, value: &str| c.get(field).is_some_and(|v| v == value);
    conditions.into_iter().flatten().any(|c| says(c, "type", "Ready") && says(c, "status", "True"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(budget: Value, ready: &str) -> String {
        let whole = json!({"metadata": {"name": "b", "generation": 1}, "spec": {},
            "status": {"observedGeneration": 1, "currentHealthy": 3, "desiredHealthy": 2, "disruptionsAllowed": 1}});
        let patch = crate::patch::Patch::merge(budget.to_string().as_bytes()).unwrap();
        let whole = patch.apply(&whole, "").unwrap();
        let budget: PodDisruptionBudget = serde_json::from_value(whole).unwrap();
        let pod = json!({"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        match spend(&budget, &pod, Timestamp::UNIX_EPOCH) {
            Spent::Nothing => "nothing".to_owned(),
            Spent::One(status) => {
                let conditions: Vec<_> = status.conditions.iter().flatten().map(|c| c.reason.as_str()).collect();
                let pods: Vec<_> = status.disrupted_pods.iter().flatten().map(|(name, _)| name.as_str()).collect();
                format!("{:?} left, {pods:?} {conditions:?}", status.disruptions_allowed.unwrap())
            }
            Spent::Refused(why) => format!("{why:?}"),
        }
    }

    #[test]
    fn a_budget_is_spent_until_nothing_is_left() {
        let status = |status: Value| json!({"status": status});
        for (budget, ready, expected) in [
            (json!({}), "True", r#"0 left, ["p"] ["InsufficientPods"]"#),
            (status(json!({"disruptionsAllowed": 2})), "True", r#"1 left, ["p"] []"#),
            (status(json!({"disruptionsAllowed": 0})), "True", "Exhausted { desired: 2, current: 3 }"),
            (json!({"metadata": {"generation": 2}}), "True", "NotObserved"),
            (status(json!({"disruptionsAllowed": -1})), "True", r#"Broken("pdb disruptions allowed is negative")"#),
            (status(json!({"disruptionsAllowed": 0})), "False", "nothing"),
            (
                status(json!({"disruptionsAllowed": 0, "currentHealthy": 1})),
                "False",
                "Exhausted { desired: 2, current: 1 }",
            ),
            (
                json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}, "status": {"currentHealthy": 0}}),
                "False",
                "nothing",
            ),
        ] {
            assert_eq!(told(budget.clone(), ready), expected, "{budget} {ready}");
        }
    }
}
