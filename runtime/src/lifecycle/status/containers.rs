//! The statuses of a pod's containers.

use coracle_api::clock::whole_seconds;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::backoff::in_words;
use super::super::container::{Container, State, Termination};
use super::super::{ContainerPlan, Lifecycle, Role};

/// What the messages of all containers of a pod may take in its status (the kubelet's): each has its share.
const MESSAGES_BYTES_MAX: usize = 12 * 1024;

/// The statuses of the containers that have such a role, in order.
pub(super) fn statuses(life: &Lifecycle, wanted: fn(Role) -> bool) -> Vec<ContainerStatus> {
    let pairs = life.plan.containers.iter().zip(&life.containers);
    let mut all: Vec<_> = pairs.filter(|(plan, _)| wanted(plan.role)).map(|(plan, c)| status(life, plan, c)).collect();
    let share = MESSAGES_BYTES_MAX / life.containers.len().max(1);
    for state in all.iter_mut().flat_map(|c| [&mut c.state, &mut c.last_state]).flatten() {
        if let Some(message) = state.terminated.as_mut().and_then(|t| t.message.as_mut()) {
            message.truncate(message.floor_char_boundary(share));
        }
    }
    all
}

/// Whether a container that serves counts as ready.
pub(super) fn is_ready(c: &Container) -> bool {
    matches!(c.state, State::Running { ready: true, .. })
}

fn status(life: &Lifecycle, plan: &ContainerPlan, c: &Container) -> ContainerStatus {
    let (ready, started) = match (&c.state, plan.role) {
        // Nobody asks an ephemeral container how it is.
        (_, Role::Ephemeral) => (false, None),
        (State::Running { ready, started, .. }, Role::Main | Role::Sidecar) => (*ready, Some(*started)),
        (State::Running { started, .. }, Role::Init) => (false, Some(*started)),
        (State::Ended(t), Role::Init) => (t.end.code == 0, Some(false)),
        _ => (false, Some(false)),
    };
    ContainerStatus {
        name: plan.name.clone(),
        image: plan.image.clone(),
        image_id: c.image_id.clone().unwrap_or_default(),
        container_id: c.id.as_deref().map(full_id),
        ready,
        started,
        restart_count: i32::try_from(c.restarts).unwrap_or(i32::MAX),
        state: Some(state(life, plan, c)),
        last_state: Some(c.last.as_ref().map(terminated).unwrap_or_default()),
        ..ContainerStatus::default()
    }
}

fn state(life: &Lifecycle, plan: &ContainerPlan, c: &Container) -> ContainerState {
    match &c.state {
        State::Idle | State::Starting { .. } => not_yet(life),
        State::Held { problem, wait, .. } => waiting(problem.reason(*wait), Some(problem.message(&plan.image, *wait))),
        State::BackingOff { .. } if !c.is_backing_off() => not_yet(life),
        State::BackingOff { .. } => waiting(
            "CrashLoopBackOff",
            Some(format!(
                "back-off {} restarting failed container={} pod={}",
                in_words(c.present_wait()),
                plan.name,
                life.plan.full_name()
            )),
        ),
        State::Running { hooked: false, .. } => not_yet(life),
        State::Running { since, .. } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(time(*since)) }),
            ..ContainerState::default()
        },
        State::Ended(t) => terminated(t),
    }
}

/// Why a container has not started when nothing is wrong with itself.
fn not_yet(life: &Lifecycle) -> ContainerState {
    waiting(if life.plan.has_inits() { "PodInitializing" } else { "ContainerCreating" }, None)
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..ContainerState::default()
    }
}

fn terminated(t: &Termination) -> ContainerState {
    let terminated = ContainerStateTerminated {
        container_id: t.id.as_deref().map(full_id),
        exit_code: t.end.code,
        reason: Some(t.end.reason.clone()),
        message: t.end.message.clone(),
        started_at: t.started_at.map(time),
        finished_at: Some(time(t.finished_at)),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

fn full_id(id: &str) -> String {
    format!("wasmtime://{id}")
}

fn time(t: Timestamp) -> Time {
    Time(whole_seconds(t))
}
