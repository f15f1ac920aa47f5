//! How a pod is made to stop before its time: deleted, evicted, or over its deadline.
//!
//! Invariant: stopping never becomes slower; a later order can only bring the end nearer.

use std::time::Duration;

use coracle_api::event::Kind;
use jiff::Timestamp;

use super::backoff::after;
use super::container::{Container, Halt, Slot, State, Termination};
use super::{Effect, Lifecycle, Rejection, Role, Stage, Verdict};

/// What a sidecar has to stop in at least, also if the others took all the time of the pod (the kubelet's).
const WINDOW_MIN: Duration = Duration::from_secs(2);

/// Why a pod stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// Its own containers have ended for good, or an init container has failed for good.
    Completed,
    Deleted,
    Aborted(Abort),
}

/// A pod that the node ended: it counts as failed, and its status says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Abort {
    /// One word, as in `status.reason`.
    pub(super) reason: &'static str,
    /// A sentence, as in `status.message`.
    pub(super) message: String,
    /// Whether it ended for the sake of the node, as the condition `DisruptionTarget` says.
    pub(super) disrupted: bool,
}

impl Abort {
    pub(super) fn rejected(rejection: &Rejection) -> Self {
        let message = format!("Pod was rejected: {}", rejection.message);
        Self { reason: rejection.reason, message, disrupted: false }
    }
}

impl Lifecycle {
    pub(super) fn delete(&mut self, kill_at: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        match self.stage {
            Stage::Gone => {}
            Stage::Finished { .. } => {
                self.stage = Stage::Gone;
                effects.push(Effect::Remove);
            }
            Stage::Preparing { .. } | Stage::Initializing { .. } | Stage::Running | Stage::Stopping { .. } => {
                self.stop(Why::Deleted, kill_at, now, effects);
            }
        }
    }

    /// The node takes the pod's place from it. A pod that is already on its way out only hurries.
    pub(super) fn evict(&mut self, abort: Abort, kill_at: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        match &self.stage {
            Stage::Preparing { .. } | Stage::Initializing { .. } | Stage::Running => {
                let (reason, message) = (abort.reason, abort.message.clone());
                effects.push(Effect::Say { slot: None, kind: Kind::Warning, reason, message });
                self.stop(Why::Aborted(abort), kill_at, now, effects);
            }
            Stage::Stopping { why, .. } => self.stop(why.clone(), kill_at, now, effects),
            Stage::Finished { .. } | Stage::Gone => {}
        }
    }

    /// The pod was active for as long as it may be.
    pub(super) fn exceed_deadline(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let reason = "DeadlineExceeded";
        let message = "Pod was active on the node longer than the specified deadline".to_owned();
        effects.push(Effect::Say { slot: None, kind: Kind::Normal, reason, message: message.clone() });
        let kill_at = after(now, self.plan.grace);
        self.stop(Why::Aborted(Abort { reason, message, disrupted: false }), kill_at, now, effects);
    }

    /// Every container is asked to stop, and killed at `kill_at` if it still runs; sidecars wait for their turn.
    pub(super) fn stop(&mut self, why: Why, kill_at: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        let kill_at = match &self.stage {
            Stage::Stopping { kill_at: before, .. } => kill_at.min(*before),
            Stage::Preparing { .. }
            | Stage::Initializing { .. }
            | Stage::Running
            | Stage::Finished { .. }
            | Stage::Gone => kill_at,
        };
        self.stage = Stage::Stopping { why, kill_at };
        for (i, (c, plan)) in self.containers.iter_mut().zip(&self.plan.containers).enumerate() {
            let slot = Slot(i);
            match &mut c.state {
                State::Idle | State::Ended(_) => {}
                State::Starting { run, .. } => {
                    effects.push(Effect::Kill { slot, run: *run });
                    c.abandon();
                }
                State::Held { .. } | State::BackingOff { .. } => c.abandon(),
                State::Running { halt: Halt::No, .. } if plan.role == Role::Sidecar && kill_at > now => {}
                State::Running { halt: Halt::No, .. } => halt(slot, c, &plan.name, kill_at, now, effects),
                State::Running { halt: Halt::Draining { kill_at: before }, .. } => *before = kill_at.min(*before),
                State::Running { halt: Halt::Killed, .. } => {}
            }
        }
    }

    /// Sidecars stop after all others, the last one first; when the pod's time is over, all at once.
    pub(super) fn stop_sidecars(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Stage::Stopping { kill_at, .. } = self.stage else { return };
        let runs = |c: &Container| matches!(c.state, State::Running { .. });
        let mut blocked = kill_at > now && self.of_role(|role| matches!(role, Role::Init | Role::Main)).any(runs);
        for (i, (c, plan)) in self.containers.iter_mut().zip(&self.plan.containers).enumerate().rev() {
            if plan.role != Role::Sidecar || !runs(c) {
                continue;
            }
            if !blocked && matches!(c.state, State::Running { halt: Halt::No, .. }) {
                halt(Slot(i), c, &plan.name, kill_at.max(after(now, WINDOW_MIN)), now, effects);
            }
            blocked |= kill_at > now;
        }
    }

    /// Whether a sidecar waits for its turn to stop.
    pub(super) fn sidecars_wait(&self) -> bool {
        self.of_role(|role| role == Role::Sidecar).any(|c| matches!(c.state, State::Running { halt: Halt::No, .. }))
    }

    /// Once nothing runs any more, the pod is what it was stopped to become.
    pub(super) fn settle(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Stage::Stopping { why, .. } = &self.stage else { return };
        if self.containers.iter().any(|c| matches!(c.state, State::Running { .. })) {
            return;
        }
        let why = why.clone();
        self.give_up_for_lost(now);
        self.stage = match why {
            Why::Completed => Stage::Finished { verdict: self.verdict() },
            Why::Aborted(abort) => Stage::Finished { verdict: Verdict::Aborted(abort) },
            Why::Deleted => {
                effects.push(Effect::Remove);
                Stage::Gone
            }
        };
    }

    /// A pod that ends says of each of its own containers that it ended, also of those that never began, once their
    /// turn had come.
    fn give_up_for_lost(&mut self, now: Timestamp) {
        if self.plan.has_inits() && !self.initialized {
            return;
        }
        for (c, plan) in self.containers.iter_mut().zip(&self.plan.containers) {
            if plan.role == Role::Main && c.state == State::Idle {
                c.state = State::Ended(Termination::lost("terminated", now));
            }
        }
    }
}

fn halt(slot: Slot, c: &mut Container, name: &str, kill_at: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
    let State::Running { run, halt, .. } = &mut c.state else { return };
    *halt = Halt::Draining { kill_at };
    let message = format!("Stopping container {name}");
    effects.push(Effect::Say { slot: Some(slot), kind: Kind::Normal, reason: "Killing", message });
    if kill_at > now {
        effects.push(Effect::Stop { slot, run: *run });
    }
}
