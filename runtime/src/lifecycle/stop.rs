//! How a pod is made to stop before its time: deleted, evicted, or over its deadline.
//!
//! Invariant: stopping never becomes slower; a later order can only bring the end nearer.

use coracle_api::event::Kind;
use jiff::Timestamp;

use super::backoff::after;
use super::container::{Halt, Slot, State};
use super::{Effect, Lifecycle, Stage, Verdict};

/// Why a pod stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
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

impl Lifecycle {
    pub(super) fn delete(&mut self, kill_at: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        match self.stage {
            Stage::Gone => {}
            Stage::Finished { .. } => {
                self.stage = Stage::Gone;
                effects.push(Effect::Remove);
            }
            Stage::Refused
            | Stage::Preparing { .. }
            | Stage::Initializing
            | Stage::Running
            | Stage::Stopping { .. } => self.stop(Why::Deleted, kill_at, now, effects),
        }
    }

    /// The node takes the pod's place from it. A pod that is already on its way out only hurries.
    pub(super) fn evict(&mut self, abort: Abort, kill_at: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        match &self.stage {
            Stage::Refused | Stage::Preparing { .. } | Stage::Initializing | Stage::Running => {
                let (reason, message) = (abort.reason, abort.message.clone());
                effects.push(Effect::Say { slot: None, kind: Kind::Warning, reason, message });
                self.stop(Why::Aborted(abort), kill_at, now, effects);
            }
            Stage::Stopping { why } => self.stop(why.clone(), kill_at, now, effects),
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

    /// Every container is asked to stop, and killed at `kill_at` if it still runs.
    fn stop(&mut self, why: Why, kill_at: Timestamp, now: Timestamp, effects: &mut Vec<Effect>) {
        self.stage = Stage::Stopping { why };
        for (i, (c, plan)) in self.containers.iter_mut().zip(&self.plan.containers).enumerate() {
            let slot = Slot(i);
            match &mut c.state {
                State::Idle | State::Ended(_) => {}
                State::Starting { run, .. } => {
                    effects.push(Effect::Kill { slot, run: *run });
                    c.abandon();
                }
                State::Held { .. } | State::BackingOff { .. } => c.abandon(),
                State::Running { run, halt, .. } => match halt {
                    Halt::No => {
                        *halt = Halt::Draining { kill_at };
                        let message = format!("Stopping container {}", plan.name);
                        effects.push(Effect::Say { slot: Some(slot), kind: Kind::Normal, reason: "Killing", message });
                        if kill_at > now {
                            effects.push(Effect::Stop { slot, run: *run });
                        }
                    }
                    Halt::Draining { kill_at: before } => *before = kill_at.min(*before),
                    Halt::Killed => {}
                },
            }
        }
    }

    /// Once nothing runs any more, the pod is what it was stopped to become.
    pub(super) fn settle(&mut self, why: Why, effects: &mut Vec<Effect>) {
        if self.containers.iter().any(|c| matches!(c.state, State::Running { .. })) {
            return;
        }
        match why {
            Why::Aborted(abort) => self.stage = Stage::Finished { verdict: Verdict::Aborted(abort) },
            Why::Deleted => {
                self.stage = Stage::Gone;
                effects.push(Effect::Remove);
            }
        }
    }
}
