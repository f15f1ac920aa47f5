//! A Deployment's status: counts summed up from its ReplicaSets, and the three conditions that follow from them.
//!
//! Source: upstream's `progress.go` and `sync.go`. `Progressing` looks at the change from the status before,
//! so the deadline runs from the last step forward.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock::whole_seconds;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::rollout::Bounds;
use super::sets::{Sets, actual, available, ready};

/// The condition that says whether the rollout moves.
pub(super) const PROGRESSING: &str = "Progressing";
/// The condition that says whether enough pods are available.
const AVAILABLE: &str = "Available";
/// The condition that says that pods could not be created or deleted.
const REPLICA_FAILURE: &str = "ReplicaFailure";
/// The rollout is complete.
const NEW_REPLICASET_AVAILABLE: &str = "NewReplicaSetAvailable";
/// The rollout has not moved for too long.
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
/// The rollout stands still because it was told to.
const PAUSED: &str = "DeploymentPaused";

/// Whether a rollout is under way, or the Deployment is only counted (paused, scaled or being deleted).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Rollout,
    Count,
}

/// A condition that begins now.
pub(super) fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    let now = Some(Time(whole_seconds(now)));
    DeploymentCondition {
        type_: Some(type_.to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: now.clone(),
        last_transition_time: now,
    }
}

/// The condition of this type.
pub(super) fn find<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|c| c.type_.as_deref() == Some(type_))
}

/// Puts a condition in its place, unless it says what already stands there.
pub(super) fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    let conditions = status.conditions.get_or_insert_default();
    let old = conditions.iter().find(|c| c.type_ == condition.type_);
    if let Some(old) = old.filter(|old| old.status == condition.status) {
        if old.reason == condition.reason {
            return;
        }
        condition.last_transition_time.clone_from(&old.last_transition_time);
    }
    conditions.retain(|c| c.type_ != condition.type_);
    conditions.push(condition);
}

fn remove(status: &mut DeploymentStatus, type_: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|c| c.type_.as_deref() != Some(type_));
    }
}

/// After how many seconds without a step a rollout counts as stuck; nothing if it never does.
pub(super) fn progress_deadline(deployment: &Deployment) -> Option<i32> {
    deployment.spec.progress_deadline_seconds.filter(|s| *s != i32::MAX)
}

/// Says in the status that the Deployment was paused or resumed, so that the deadline does not run meanwhile.
pub(super) fn note_pause(deployment: &mut Deployment, now: Timestamp) {
    let paused = deployment.spec.paused.unwrap_or(false);
    let status = deployment.status.get_or_insert_default();
    let reason = find(status, PROGRESSING).and_then(|c| c.reason.clone());
    if reason.as_deref() == Some(TIMED_OUT) {
        return;
    }
    let was_paused = reason.as_deref() == Some(PAUSED);
    if paused && !was_paused {
        set(status, condition(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".into(), now));
    } else if !paused && was_paused {
        set(status, condition(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed".into(), now));
    }
}

/// The status that follows from the ReplicaSets as they are now.
pub(super) fn calculate(
    deployment: &Deployment,
    sets: &Sets,
    bounds: Bounds,
    mode: Mode,
    now: Timestamp,
) -> DeploymentStatus {
    let before = deployment.status.clone().unwrap_or_default();
    let mut status = counted(deployment, sets, &before, bounds, now);
    if mode == Mode::Rollout {
        progress(deployment, sets, &before, &mut status, now);
        match replica_failure(sets) {
            Some(failure) => set(&mut status, failure),
            None => remove(&mut status, REPLICA_FAILURE),
        }
    }
    status.conditions = status.conditions.filter(|c| !c.is_empty());
    status
}

fn sum(sets: &Sets, count: impl Fn(&ReplicaSet) -> i32) -> i32 {
    sets.all().map(|set| count(set)).sum()
}

fn counted(
    deployment: &Deployment,
    sets: &Sets,
    before: &DeploymentStatus,
    bounds: Bounds,
    now: Timestamp,
) -> DeploymentStatus {
    let some = |n: i32| (n > 0).then_some(n);
    let availables = sum(sets, available);
    let terminating = |set: &ReplicaSet| set.status.as_ref().and_then(|s| s.terminating_replicas).unwrap_or(0);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(sum(sets, actual)),
        updated_replicas: some(sets.new.as_ref().map_or(0, |set| actual(set))),
        ready_replicas: some(sum(sets, ready)),
        available_replicas: some(availables),
        unavailable_replicas: some(sum(sets, super::sets::wanted) - availables),
        terminating_replicas: Some(sum(sets, terminating)),
        collision_count: before.collision_count,
        conditions: before.conditions.clone(),
    };
    let verdict = if availables >= bounds.min_available() {
        let message = "Deployment has minimum availability.".to_owned();
        condition(AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    };
    set(&mut status, verdict);
    status
}

fn progress(
    deployment: &Deployment,
    sets: &Sets,
    before: &DeploymentStatus,
    status: &mut DeploymentStatus,
    now: Timestamp,
) {
    if progress_deadline(deployment).is_none() {
        return remove(status, PROGRESSING);
    }
    let current = find(before, PROGRESSING).cloned();
    let was_complete = current.as_ref().is_some_and(|c| c.reason.as_deref() == Some(NEW_REPLICASET_AVAILABLE));
    if was_complete && status.replicas == status.updated_replicas {
        return;
    }
    let subject = match &sets.new {
        Some(set) => format!("ReplicaSet {:?}", set.name_any()),
        None => format!("Deployment {:?}", deployment.name_any()),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set(status, condition(PROGRESSING, "True", NEW_REPLICASET_AVAILABLE, message, now));
    } else if has_progressed(before, status) {
        let mut next = condition(PROGRESSING, "True", "ReplicaSetUpdated", format!("{subject} is progressing."), now);
        if let Some(current) = current.filter(|c| c.status == next.status) {
            next.last_transition_time = current.last_transition_time;
        }
        // Replaced even when the reason is the same: the time of the last step is what the deadline counts from.
        remove(status, PROGRESSING);
        set(status, next);
    } else if has_timed_out(deployment, status, now) {
        let message = format!("{subject} has timed out progressing.");
        set(status, condition(PROGRESSING, "False", TIMED_OUT, message, now));
    }
}

/// Whether all wanted pods are new and available, and no old ones are left.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let is_wanted = |n: Option<i32>| n.unwrap_or(0) == wanted;
    is_wanted(status.updated_replicas)
        && is_wanted(status.replicas)
        && is_wanted(status.available_replicas)
        && status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let n = |n: Option<i32>| n.unwrap_or(0);
    let old = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(after.updated_replicas) > n(before.updated_replicas)
        || old(after) < old(before)
        || n(after.ready_replicas) > n(before.ready_replicas)
        || n(after.available_replicas) > n(before.available_replicas)
}

/// When the deadline of a rollout that is under way passes.
fn deadline(deployment: &Deployment, status: &DeploymentStatus) -> Option<Timestamp> {
    let seconds = progress_deadline(deployment)?;
    let condition = find(status, PROGRESSING)?;
    if matches!(condition.reason.as_deref(), Some(NEW_REPLICASET_AVAILABLE | TIMED_OUT)) {
        return None;
    }
    let from = condition.last_update_time.as_ref()?.0;
    from.checked_add(SignedDuration::from_secs(i64::from(seconds))).ok()
}

fn has_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    deadline(deployment, status).is_some_and(|at| at < now)
}

/// When to look at an unfinished rollout again, though nothing may change until then.
pub(super) fn next_look(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    if is_complete(deployment, status) {
        return None;
    }
    let left = deadline(deployment, status)?.duration_since(now).max(SignedDuration::ZERO);
    // A second later, because the deadline is in whole seconds.
    Some(left.unsigned_abs() + Duration::from_secs(1))
}

/// The failure to show: the current ReplicaSet's, else an old one's.
fn replica_failure(sets: &Sets) -> Option<DeploymentCondition> {
    let of = |set: &Arc<ReplicaSet>| {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        let failure = conditions.iter().find(|c| c.type_.as_deref() == Some(REPLICA_FAILURE))?;
        Some(DeploymentCondition {
            type_: failure.type_.clone(),
            status: failure.status.clone(),
            reason: failure.reason.clone(),
            message: failure.message.clone(),
            last_transition_time: failure.last_transition_time.clone(),
            last_update_time: failure.last_transition_time.clone(),
        })
    };
    sets.new.iter().chain(&sets.old).find_map(of)
}

#[cfg(test)]
mod tests;
