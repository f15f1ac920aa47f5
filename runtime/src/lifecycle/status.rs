//! The status of a pod: every state of the machine maps to exactly one, in the kubelet's words.
//!
//! Pure. What others have written into the status (scheduling, readiness gates) and the times of conditions that
//! did not change are taken over from `before`.

mod conditions;
mod containers;

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{HostIP, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub use conditions::is_own_condition;

use super::container::Container;
use super::{Lifecycle, Role, Stage, Verdict};

/// What the status needs beside the machine's own state.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The status as it is now.
    pub before: &'a PodStatus,
    /// The node's address.
    pub host: IpAddr,
    /// `metadata.generation` of the spec that is being run.
    pub generation: Option<i64>,
    /// The quality-of-service class that follows from the spec.
    pub qos_class: &'static str,
    /// The conditions that the spec's readiness gates ask for.
    pub gates: &'a [String],
}

/// The status of a pod in this state at `now`.
#[must_use]
pub fn status(life: &Lifecycle, around: Surroundings<'_>, now: Timestamp) -> PodStatus {
    let before = around.before;
    let (reason, message) = verdict_words(life, before);
    let statuses = |wanted: fn(Role) -> bool| containers::statuses(life, wanted);
    let (inits, ephemeral) = (statuses(Role::is_init), statuses(|role| role == Role::Ephemeral));
    let rejected = life.plan.rejection.is_some();
    PodStatus {
        phase: Some(phase(life).to_owned()),
        reason,
        message,
        conditions: Some(conditions::conditions(life, around, now)),
        // Of a pod that was turned away nothing ever began.
        init_container_statuses: (!rejected && !inits.is_empty()).then_some(inits),
        container_statuses: (!rejected).then(|| statuses(|role| role == Role::Main)),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        host_ip: Some(around.host.to_string()),
        host_ips: Some(vec![HostIP { ip: around.host.to_string() }]),
        pod_ip: life.ip.map(|ip| ip.to_string()).or_else(|| kept_ip(life, before)),
        pod_ips: life
            .ip
            .map(|ip| vec![PodIP { ip: ip.to_string() }])
            .or_else(|| kept_ip(life, before).map(|ip| vec![PodIP { ip }])),
        start_time: Some(Time(coracle_api::clock::whole_seconds(life.started_at))),
        qos_class: Some(before.qos_class.clone().unwrap_or_else(|| around.qos_class.to_owned())),
        observed_generation: around.generation,
        nominated_node_name: before.nominated_node_name.clone(),
        resource_claim_statuses: before.resource_claim_statuses.clone(),
        ..PodStatus::default()
    }
}

/// A pod that has ended keeps the address that it had.
fn kept_ip(life: &Lifecycle, before: &PodStatus) -> Option<String> {
    before.pod_ip.clone().filter(|_| life.is_finished())
}

fn verdict_words(life: &Lifecycle, before: &PodStatus) -> (Option<String>, Option<String>) {
    match &life.stage {
        Stage::Finished { verdict: Verdict::Aborted(abort) } => {
            (Some(abort.reason.to_owned()), Some(abort.message.clone()))
        }
        Stage::Finished { .. } | Stage::Gone => (before.reason.clone(), before.message.clone()),
        Stage::Preparing { .. } | Stage::Initializing { .. } | Stage::Running | Stage::Stopping { .. } => (None, None),
    }
}

/// The phase, as the kubelet's `getPhase` has it.
fn phase(life: &Lifecycle) -> &'static str {
    match life.stage {
        Stage::Preparing { .. } | Stage::Initializing { .. } => "Pending",
        Stage::Finished { verdict: Verdict::Succeeded } => "Succeeded",
        Stage::Finished { verdict: Verdict::Failed | Verdict::Aborted(_) } => "Failed",
        // No pod has ended while any of its containers runs.
        Stage::Running | Stage::Stopping { .. } => {
            if life.main().all(Container::has_run) {
                "Running"
            } else {
                "Pending"
            }
        }
        Stage::Gone => gone_phase(life),
    }
}

/// A pod that was deleted ends as what its containers came to.
fn gone_phase(life: &Lifecycle) -> &'static str {
    match life.verdict() {
        Verdict::Succeeded => "Succeeded",
        Verdict::Failed | Verdict::Aborted(_) => "Failed",
    }
}
