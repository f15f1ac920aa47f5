//! The life of a pod, as a pure state machine: events in, effects out, no I/O and no clock.
//!
//! ```text
//!  a pod                                                               a container, once its turn has come
//!
//!  Preparing ──Prepared──► Initializing ──all done──► Running          Idle ──► Starting ──Started──► Running
//!      │                        │ a failure for good     │                       │  ▲  ▲               │ Ended
//!      │                        ├────────────────────────┤ all ended   StartFailed  │  └── BackingOff ◄─┤ to be restarted
//!      │                        ▼                        ▼                       ▼  │                  ▼
//!      └──Delete / deadline──► Stopping ──all ended──► Finished                 Held              Ended for good
//!                                  │                     │ Delete
//!                                  └──── deleted ──────► Gone
//! ```
//!
//! Completed pods stop, too: their sidecars and ephemeral containers may still run.
//!
//! Invariants: a pod that is Finished or Gone starts nothing; a container that ended for good never runs again;
//! what the shell reports late (`Started` of a run that is no longer wanted) is answered by `Kill`.

mod adopt;
mod backoff;
mod change;
mod container;
mod message;
mod plan;
mod qos;
mod runs;
mod status;
mod stop;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use coracle_api::event::Kind;
use jiff::Timestamp;

pub use container::{End, Probe, Problem, Run, Slot};
pub use message::{Effect, Event};
pub use plan::{ContainerPlan, Plan, Probes, Rejection, RestartPolicy, Restarts, Role, Rule};
pub use qos::qos_class;
pub use status::{Surroundings, is_own_condition, status};

use backoff::after;
use container::{Container, State};
use stop::{Abort, Why};

/// How a finished pod counts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Succeeded,
    Failed,
    Aborted(Abort),
}

/// Where a pod is on its way.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Preparing {
        problem: Option<String>,
        tries: u32,
        retry_at: Option<Timestamp>,
    },
    /// The init containers before `turn` are done, or are sidecars that have started.
    Initializing {
        turn: usize,
    },
    Running,
    Stopping {
        why: Why,
        kill_at: Timestamp,
    },
    Finished {
        verdict: Verdict,
    },
    Gone,
}

/// The life of one pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Lifecycle {
    plan: Plan,
    stage: Stage,
    containers: Vec<Container>,
    started_at: Timestamp,
    ip: Option<IpAddr>,
    /// Whether the turn of the pod's own containers has come.
    initialized: bool,
}

impl Lifecycle {
    /// A pod that is new to this node.
    #[must_use]
    pub fn new(plan: Plan, now: Timestamp) -> Self {
        let containers = plan.containers.iter().map(|_| Container::default()).collect();
        let stage = match &plan.rejection {
            Some(rejection) => Stage::Finished { verdict: Verdict::Aborted(Abort::rejected(rejection)) },
            None => Stage::Preparing { problem: None, tries: 0, retry_at: Some(now) },
        };
        Self { plan, stage, containers, started_at: now, ip: None, initialized: false }
    }

    /// What happens next, and what is to be done for it.
    #[must_use]
    pub fn step(mut self, event: Event, now: Timestamp) -> (Self, Vec<Effect>) {
        let mut effects = Vec::new();
        self.take(event, now, &mut effects);
        self.advance(now, &mut effects);
        (self, effects)
    }

    /// When to send a `Tick`, if nothing happens before.
    #[must_use]
    pub fn wake(&self) -> Option<Timestamp> {
        let stage = match &self.stage {
            Stage::Preparing { retry_at, .. } => *retry_at,
            Stage::Stopping { kill_at, .. } if self.sidecars_wait() => Some(*kill_at),
            Stage::Initializing { .. }
            | Stage::Running
            | Stage::Stopping { .. }
            | Stage::Finished { .. }
            | Stage::Gone => None,
        };
        let timers = self.containers.iter().filter_map(Container::timer);
        let deadline = if self.is_active() { self.deadline() } else { None };
        timers.chain(stage).chain(deadline).min()
    }

    /// The containers that wait for something, and for what.
    pub fn held(&self) -> impl Iterator<Item = (Slot, &Problem)> {
        self.containers.iter().enumerate().filter_map(|(i, c)| match &c.state {
            State::Held { problem, .. } => Some((Slot(i), problem)),
            _ => None,
        })
    }

    /// Whether the volumes or the address could not be made so far.
    #[must_use]
    pub fn waits_for_volumes(&self) -> bool {
        matches!(self.stage, Stage::Preparing { problem: Some(_), .. })
    }

    /// What is known of a container.
    #[must_use]
    pub fn plan_of(&self, slot: Slot) -> Option<&ContainerPlan> {
        self.plan.containers.get(slot.0)
    }

    /// How often the container has been started again.
    #[must_use]
    pub fn restarts(&self, slot: Slot) -> u32 {
        self.containers.get(slot.0).map_or(0, |c| c.restarts)
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    /// Whether the pod has run to its end.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(self.stage, Stage::Finished { .. } | Stage::Gone)
    }

    fn is_active(&self) -> bool {
        match self.stage {
            Stage::Preparing { .. } | Stage::Initializing { .. } | Stage::Running => true,
            Stage::Stopping { .. } | Stage::Finished { .. } | Stage::Gone => false,
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.plan.deadline.map(|d| after(self.started_at, d))
    }

    fn container(&mut self, slot: Slot) -> Option<&mut Container> {
        self.containers.get_mut(slot.0)
    }

    fn take(&mut self, event: Event, now: Timestamp, effects: &mut Vec<Effect>) {
        match event {
            Event::Prepared { ip } => {
                if let Stage::Preparing { .. } = self.stage {
                    self.ip = Some(ip);
                    self.stage = Stage::Initializing { turn: 0 };
                }
            }
            Event::PrepareFailed { message } => self.prepare_failed(message, now, effects),
            Event::Started { slot, run, id, image_id } => self.started(slot, run, (id, image_id), now, effects),
            Event::Hooked { slot, run, succeeded } => self.hooked(slot, run, succeeded, now, effects),
            Event::StartFailed { slot, run, problem } => self.start_failed(slot, run, problem, now, effects),
            Event::Ended { slot, run, end } => self.ended(slot, run, end, now, effects),
            Event::Probed { slot, run, probe, healthy } => self.probed((slot, run), probe, healthy, now, effects),
            Event::Retry { slot } => {
                if let Some(State::Held { until, .. }) = self.container(slot).map(|c| &mut c.state) {
                    *until = Some(now);
                }
            }
            Event::SpecChanged { plan } => self.change(*plan, now, effects),
            Event::RetryPrepare => {
                if let Stage::Preparing { problem: Some(_), retry_at: Some(at), .. } = &mut self.stage {
                    *at = now;
                }
            }
            Event::Tick => {}
            Event::Delete { grace } => self.delete(after(now, grace), now, effects),
            Event::Evict { reason, message, grace } => {
                self.evict(Abort { reason, message, disrupted: true }, after(now, grace), now, effects);
            }
            Event::Vanished => self.delete(now, now, effects),
        }
    }

    fn prepare_failed(&mut self, message: String, now: Timestamp, effects: &mut Vec<Effect>) {
        if let Stage::Preparing { problem, tries, retry_at } = &mut self.stage {
            *retry_at = Some(after(now, backoff::of_volumes(*tries)));
            *tries = tries.saturating_add(1);
            effects.push(Effect::Say {
                slot: None,
                kind: Kind::Warning,
                reason: "FailedMount",
                message: message.clone(),
            });
            *problem = Some(message);
        }
    }

    /// What follows from the state and the time alone.
    fn advance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.is_active() && self.deadline().is_some_and(|d| d <= now) {
            self.exceed_deadline(now, effects);
        }
        match &mut self.stage {
            Stage::Preparing { retry_at, .. } => {
                if retry_at.is_some_and(|at| at <= now) {
                    *retry_at = None;
                    effects.push(Effect::Prepare);
                }
            }
            Stage::Initializing { turn } => {
                let turn = *turn;
                self.initialize(turn, now, effects);
            }
            Stage::Running => {}
            Stage::Stopping { .. } | Stage::Finished { .. } | Stage::Gone => {}
        }
        if let Stage::Running = self.stage
            && self.main().all(|c| matches!(c.state, State::Ended(_)))
        {
            self.stop(Why::Completed, after(now, self.plan.grace), now, effects);
        }
        self.start_due(now, effects);
        self.stop_sidecars(now, effects);
        for (i, c) in self.containers.iter_mut().enumerate() {
            if let Some(run) = c.kill_if_due(now) {
                effects.push(Effect::Kill { slot: Slot(i), run });
            }
            let image = self.plan.containers.get(i).map(|p| p.image.as_str()).unwrap_or_default();
            let said = c.words_of_waiting_if_due(image, now).into_iter();
            effects.extend(said.map(|(kind, reason, message)| Effect::Say {
                slot: Some(Slot(i)),
                kind,
                reason,
                message,
            }));
        }
        self.settle(now, effects);
    }

    /// Init containers run one after the other: the next one's turn comes when this one succeeded or, if it is a
    /// sidecar, has started. After the last, the pod's own begin.
    fn initialize(&mut self, mut turn: usize, now: Timestamp, effects: &mut Vec<Effect>) {
        while let (Some(plan), Some(c)) = (self.plan.containers.get(turn), self.containers.get(turn)) {
            match (plan.role, &c.state) {
                (Role::Main | Role::Ephemeral, _) => {
                    self.stage = Stage::Running;
                    self.initialized = true;
                    return;
                }
                (Role::Sidecar, State::Running { started: true, .. }) => turn += 1,
                (Role::Init, State::Ended(t)) if t.end.code == 0 => turn += 1,
                (Role::Init, State::Ended(_)) => {
                    self.stop(Why::Completed, after(now, self.plan.grace), now, effects);
                    return;
                }
                (Role::Init | Role::Sidecar, _) => {
                    self.stage = Stage::Initializing { turn };
                    return;
                }
            }
        }
        self.stage = Stage::Running;
    }

    /// Starts what is due: of the init containers those whose turn it is or was, the pod's own once all of them had
    /// theirs, and ephemeral ones at any time, since they are there to see what is wrong.
    fn start_due(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let turn = match self.stage {
            Stage::Initializing { turn } => turn,
            Stage::Running => self.containers.len(),
            Stage::Preparing { .. } | Stage::Stopping { .. } | Stage::Finished { .. } | Stage::Gone => return,
        };
        for (i, (c, plan)) in self.containers.iter_mut().zip(&self.plan.containers).enumerate() {
            if i <= turn || plan.role == Role::Ephemeral {
                effects.extend(c.start_if_due(now).map(|run| Effect::Start { slot: Slot(i), run }));
            }
        }
    }

    /// The pod's own containers.
    fn main(&self) -> impl Iterator<Item = &Container> {
        self.of_role(|role| role == Role::Main)
    }

    fn of_role(&self, wanted: impl Fn(Role) -> bool) -> impl Iterator<Item = &Container> {
        let pairs = self.plan.containers.iter().zip(&self.containers);
        pairs.filter(move |(plan, _)| wanted(plan.role)).map(|(_, c)| c)
    }

    /// What the pod came to: how its sidecars ended does not matter.
    fn verdict(&self) -> Verdict {
        let succeeded = |c: &Container| matches!(&c.state, State::Ended(t) if t.end.code == 0);
        let mut all = self.of_role(|role| matches!(role, Role::Init | Role::Main));
        if all.all(succeeded) { Verdict::Succeeded } else { Verdict::Failed }
    }
}
