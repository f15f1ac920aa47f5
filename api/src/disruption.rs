//! Disruption budgets as those who spend them and those who refill them must agree on: the condition that says whether
//! anything is left, and how long an eviction may take.
//!
//! Source of the words: upstream's `component-helpers/apps/poddisruptionbudget` and `disruption.go`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::clock::whole_seconds;

/// The type of the condition.
pub const CONDITION: &str = "DisruptionAllowed";
/// Why it is true.
pub const SUFFICIENT_PODS: &str = "SufficientPods";
/// Why it is false.
pub const INSUFFICIENT_PODS: &str = "InsufficientPods";
/// Why nobody knows, which counts as false.
pub const SYNC_FAILED: &str = "SyncFailed";

/// An evicted pod that is not on its way out by then counts as healthy again (upstream's `DeletionTimeout`).
pub const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// What the condition says when so many disruptions are allowed: its status and its reason.
#[must_use]
pub fn said(allowed: i32) -> (&'static str, &'static str) {
    if allowed > 0 { ("True", SUFFICIENT_PODS) } else { ("False", INSUFFICIENT_PODS) }
}

/// The condition for so many allowed disruptions, seen at this generation of the budget.
#[must_use]
pub fn condition(allowed: i32, generation: Option<i64>, now: Timestamp) -> Condition {
    let (status, reason) = said(allowed);
    Condition {
        type_: CONDITION.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        observed_generation: generation.filter(|g| *g != 0),
        last_transition_time: Time(whole_seconds(now)),
    }
}

/// Puts a condition in the place of the one of its type; the time of transition stays while the status does.
pub fn set_condition(all: &mut Vec<Condition>, mut new: Condition) {
    match all.iter_mut().find(|c| c.type_ == new.type_) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time.clone_from(&old.last_transition_time);
            }
            *old = new;
        }
        None => all.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut all = Vec::new();
        set_condition(&mut all, condition(1, Some(1), at(1)));
        set_condition(&mut all, condition(2, Some(2), at(2)));
        assert_eq!((all[0].reason.as_str(), all[0].observed_generation), (SUFFICIENT_PODS, Some(2)));
        assert_eq!(all[0].last_transition_time.0, at(1));
        set_condition(&mut all, condition(0, Some(2), at(3)));
        assert_eq!((all[0].status.as_str(), all[0].last_transition_time.0), ("False", at(3)));
        assert_eq!(all.len(), 1);
    }
}
