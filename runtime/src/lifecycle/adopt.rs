//! Taking up a pod that a former process of this node ran: what its status says is all that is left of it.
//!
//! Its containers ended with that process. Directories of the pod are made anew, so init containers run again; what
//! ran only once, an ephemeral container, does not.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, PodStatus};

use super::container::{Container, End, State, Termination};
use super::{Lifecycle, Plan, Role, Stage, Verdict};

impl Lifecycle {
    /// A pod that this node may have run before, as its status tells.
    #[must_use]
    pub fn adopt(plan: Plan, status: &PodStatus, now: Timestamp) -> Self {
        let statuses = || {
            let all =
                [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
            all.into_iter().flatten().flatten()
        };
        let mut life = Self::new(plan, now);
        if let Some(started) = &status.start_time {
            life.started_at = started.0;
        }
        for (i, (plan, container)) in life.plan.containers.iter().zip(&mut life.containers).enumerate() {
            if let Some(before) = statuses().find(|s| s.name == plan.name) {
                let restarts = |code| life.plan.restarts(super::Slot(i), code);
                *container = adopted(before, &restarts, now);
            }
        }
        // The words of a failure, and the condition that goes with it, are in the status and stay there.
        let verdict = match status.phase.as_deref() {
            Some("Succeeded") => Some(Verdict::Succeeded),
            Some("Failed") => Some(Verdict::Failed),
            _ => None,
        };
        let initialized = life.main().any(Container::has_run);
        life.initialized = initialized;
        let completed = life.main().all(|c| matches!(c.state, State::Ended(_)));
        match verdict {
            Some(verdict) => life.finish(verdict, now),
            // The process died while the sidecars of a pod that had done its work were stopping.
            None if completed => life.finish(life.verdict(), now),
            None => life.renew_inits(),
        }
        life
    }

    fn finish(&mut self, verdict: Verdict, now: Timestamp) {
        self.stage = Stage::Finished { verdict };
        for c in &mut self.containers {
            if !matches!(c.state, State::Ended(_) | State::Idle) {
                c.abandon();
            }
            if let State::Ended(t) = &mut c.state {
                t.finished_at = t.finished_at.min(now);
            }
        }
    }

    /// The init containers prepare the directories of the pod anew.
    fn renew_inits(&mut self) {
        for (c, plan) in self.containers.iter_mut().zip(&self.plan.containers) {
            match &c.state {
                State::Ended(t) if plan.role == Role::Init && t.end.code == 0 => {
                    c.last = Some(t.clone());
                    c.state = State::BackingOff { until: Timestamp::MIN };
                }
                _ => {}
            }
        }
    }
}

fn adopted(before: &ContainerStatus, restarts: &dyn Fn(i32) -> bool, now: Timestamp) -> Container {
    let terminated = |s: &Option<ContainerState>| s.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| ended(t, now));
    let mut container = Container {
        restarts: u32::try_from(before.restart_count).unwrap_or(0),
        last: terminated(&before.last_state),
        id: before.container_id.clone().map(|id| bare_id(&id)),
        image_id: Some(before.image_id.clone()).filter(|i| !i.is_empty()),
        ..Container::default()
    };
    let running = before.state.as_ref().and_then(|s| s.running.as_ref());
    let termination = match running {
        Some(running) => Some(Termination {
            started_at: running.started_at.as_ref().map(|t| t.0),
            id: container.id.clone(),
            ..Termination::lost("restarted", now)
        }),
        None => terminated(&before.state),
    };
    match termination {
        Some(t) if restarts(t.end.code) => {
            container.last = Some(t);
            container.state = State::BackingOff { until: Timestamp::MIN };
        }
        Some(t) => container.state = State::Ended(t),
        None if container.last.is_some() => container.state = State::BackingOff { until: Timestamp::MIN },
        None => {}
    }
    container
}

fn ended(t: &ContainerStateTerminated, now: Timestamp) -> Termination {
    Termination {
        end: End {
            code: t.exit_code,
            reason: t.reason.clone().unwrap_or_else(|| "Error".to_owned()),
            message: t.message.clone(),
        },
        started_at: t.started_at.as_ref().map(|t| t.0),
        finished_at: t.finished_at.as_ref().map_or(now, |t| t.0),
        id: t.container_id.as_deref().map(bare_id),
    }
}

/// The part of `wasmtime://id` that is ours.
fn bare_id(id: &str) -> String {
    id.split_once("://").map_or(id, |(_, id)| id).to_owned()
}
