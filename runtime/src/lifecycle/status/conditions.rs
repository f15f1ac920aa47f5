//! The conditions of a pod, with the kubelet's reasons and messages.

use coracle_api::clock::whole_seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::container::{Container, State};
use super::super::{Lifecycle, Role, Stage, Verdict};
use super::Surroundings;
use super::containers::is_ready;

/// The conditions that are ours to set.
const OURS: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];

/// What a pod bears that somebody else than its owner ended. Others set it too, so it is not ours alone.
const DISRUPTION: &str = "DisruptionTarget";

/// Whether the condition of this type is the node's to set; the others belong to whoever wrote them.
#[must_use]
pub fn is_own_condition(type_: &str) -> bool {
    OURS.contains(&type_)
}

/// Why a condition is not true.
struct No {
    reason: &'static str,
    message: Option<String>,
}

/// Ours, then those of others as they were.
pub(super) fn conditions(life: &Lifecycle, around: Surroundings<'_>, now: Timestamp) -> Vec<PodCondition> {
    let containers = containers_ready(life);
    let ready = match &containers {
        Ok(()) => gates_ready(around),
        Err(no) => Err(No { reason: no.reason, message: no.message.clone() }),
    };
    let answers = [sandbox(life), initialized(life), ready, containers];
    let before = around.before.conditions.as_deref().unwrap_or_default();
    let mut all: Vec<PodCondition> = OURS
        .into_iter()
        .zip(answers)
        .map(|(type_, answer)| {
            let old = before.iter().find(|c| c.type_ == type_);
            condition(type_, answer, old, around.generation, now)
        })
        .collect();
    all.extend(before.iter().filter(|c| !is_own_condition(&c.type_)).cloned());
    if let Stage::Finished { verdict: Verdict::Aborted(abort) } = &life.stage
        && abort.disrupted
    {
        let old = before.iter().find(|c| c.type_ == DISRUPTION);
        all.retain(|c| c.type_ != DISRUPTION);
        all.push(disrupted(&abort.message, old, around.generation, now));
    }
    all
}

/// The node's own disruption of a pod: who retries failed pods looks for it.
fn disrupted(message: &str, old: Option<&PodCondition>, generation: Option<i64>, now: Timestamp) -> PodCondition {
    let unchanged = old.filter(|o| o.status == "True").and_then(|o| o.last_transition_time.clone());
    PodCondition {
        type_: DISRUPTION.to_owned(),
        status: "True".to_owned(),
        reason: Some("TerminationByKubelet".to_owned()),
        message: Some(message.to_owned()),
        observed_generation: generation,
        last_transition_time: Some(unchanged.unwrap_or(Time(whole_seconds(now)))),
        last_probe_time: None,
    }
}

fn condition(
    type_: &str,
    answer: Result<(), No>,
    old: Option<&PodCondition>,
    generation: Option<i64>,
    now: Timestamp,
) -> PodCondition {
    let (status, reason, message) = match answer {
        // A pod that completed is initialized and says so.
        Ok(()) => ("True", None, None),
        Err(no) if type_ == "Initialized" && no.reason == "PodCompleted" => ("True", Some(no.reason), None),
        Err(no) => ("False", Some(no.reason), no.message),
    };
    let unchanged = old.filter(|o| o.status == status).and_then(|o| o.last_transition_time.clone());
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.filter(|r| !r.is_empty()).map(str::to_owned),
        message,
        observed_generation: generation,
        last_transition_time: Some(unchanged.unwrap_or(Time(whole_seconds(now)))),
        last_probe_time: None,
    }
}

fn sandbox(life: &Lifecycle) -> Result<(), No> {
    let there = match life.stage {
        Stage::Initializing { .. } | Stage::Running | Stage::Stopping { .. } => life.ip.is_some(),
        Stage::Preparing { .. } | Stage::Finished { .. } | Stage::Gone => false,
    };
    if there { Ok(()) } else { Err(No { reason: "", message: None }) }
}

fn initialized(life: &Lifecycle) -> Result<(), No> {
    if let Stage::Finished { verdict: Verdict::Succeeded } = life.stage {
        return Err(No { reason: "PodCompleted", message: None });
    }
    // A sidecar that crashes later makes no pod uninitialized.
    if life.main().any(Container::has_run) {
        return Ok(());
    }
    let names = unfit(life, |role, c| match role {
        Role::Init => matches!(&c.state, State::Ended(t) if t.end.code == 0),
        Role::Sidecar => matches!(c.state, State::Running { started: true, .. }),
        Role::Main | Role::Ephemeral => true,
    });
    if names.is_empty() {
        return Ok(());
    }
    let message = Some(format!("containers with incomplete status: [{names}]"));
    Err(No { reason: "ContainersNotInitialized", message })
}

fn containers_ready(life: &Lifecycle) -> Result<(), No> {
    match life.stage {
        Stage::Finished { verdict: Verdict::Succeeded } => Err(No { reason: "PodCompleted", message: None }),
        Stage::Finished { verdict: Verdict::Failed | Verdict::Aborted(_) } => {
            Err(No { reason: "PodFailed", message: None })
        }
        Stage::Preparing { .. }
        | Stage::Initializing { .. }
        | Stage::Running
        | Stage::Stopping { .. }
        | Stage::Gone => {
            let names = unfit(life, |role, c| match role {
                Role::Sidecar | Role::Main => is_ready(c),
                Role::Init | Role::Ephemeral => true,
            });
            if names.is_empty() {
                return Ok(());
            }
            let message = Some(format!("containers with unready status: [{names}]"));
            Err(No { reason: "ContainersNotReady", message })
        }
    }
}

fn gates_ready(around: Surroundings<'_>) -> Result<(), No> {
    let conditions = around.before.conditions.as_deref().unwrap_or_default();
    let closed: Vec<String> = around
        .gates
        .iter()
        .filter_map(|gate| match conditions.iter().find(|c| c.type_ == **gate) {
            Some(c) if c.status == "True" => None,
            Some(c) => Some(format!("the status of pod readiness gate {gate:?} is not \"True\", but {}", c.status)),
            None => Some(format!("corresponding condition of pod readiness gate {gate:?} does not exist.")),
        })
        .collect();
    if closed.is_empty() {
        return Ok(());
    }
    Err(No { reason: "ReadinessGatesNotReady", message: Some(closed.join(", ")) })
}

/// The names of the containers that are not fit, separated by spaces.
fn unfit(life: &Lifecycle, fit: impl Fn(Role, &Container) -> bool) -> String {
    let pairs = life.plan.containers.iter().zip(&life.containers);
    let names = pairs.filter(|(p, c)| !fit(p.role, c)).map(|(p, _)| p.name.as_str());
    names.collect::<Vec<_>>().join(" ")
}
