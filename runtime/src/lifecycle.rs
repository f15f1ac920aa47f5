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
//! Invariants: a pod that is Finished or Gone starts nothing; a container that ended for good never runs again;
//! what the shell reports late (`Started` of a run that is no longer wanted) is answered by `Kill`.

mod adopt;
mod backoff;
mod container;
mod message;
mod plan;
mod qos;
mod status;
mod stop;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use coracle_api::event::Kind;
use jiff::Timestamp;

pub use container::{End, Probe, Problem, Run, Slot};
pub use message::{Effect, Event};
pub use plan::{ContainerPlan, Plan, Probes, RestartPolicy};
pub use qos::qos_class;
pub use status::{Surroundings, is_own_condition, status};

use backoff::after;
use container::{Container, Halt, State};
use stop::{Abort, Why};

/// Stands for the exit code of a container that was stopped because it failed a probe: any that is not zero.
const FAILED: i32 = 1;

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
    Refused,
    Preparing { problem: Option<String>, tries: u32, retry_at: Option<Timestamp> },
    Initializing,
    Running,
    Stopping { why: Why },
    Finished { verdict: Verdict },
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
}

impl Lifecycle {
    /// A pod that is new to this node.
    #[must_use]
    pub fn new(plan: Plan, now: Timestamp) -> Self {
        let containers = plan.containers.iter().map(|_| Container::default()).collect();
        let stage = match plan.refusal {
            Some(_) => Stage::Refused,
            None => Stage::Preparing { problem: None, tries: 0, retry_at: Some(now) },
        };
        Self { plan, stage, containers, started_at: now, ip: None }
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
        let preparing = match &self.stage {
            Stage::Preparing { retry_at, .. } => *retry_at,
            _ => None,
        };
        let timers = self.containers.iter().filter_map(Container::timer);
        let deadline = if self.is_active() { self.deadline() } else { None };
        timers.chain(preparing).chain(deadline).min()
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
            Stage::Preparing { .. } | Stage::Initializing | Stage::Running => true,
            Stage::Refused | Stage::Stopping { .. } | Stage::Finished { .. } | Stage::Gone => false,
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
                    self.stage = Stage::Initializing;
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
            Event::ImageChanged { slot, image } => self.image_changed(slot, image, now, effects),
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

    fn started(
        &mut self,
        slot: Slot,
        run: Run,
        (id, image_id): (String, String),
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let active = self.is_active();
        let (probes, hook) = self.plan.containers.get(slot.0).map(|p| (p.probes, p.post_start)).unwrap_or_default();
        match self.container(slot) {
            Some(c) if active && c.is_starting(run) => {
                c.state = State::Running {
                    run,
                    since: now,
                    hooked: !hook,
                    failed: false,
                    started: !hook && !probes.startup,
                    ready: !hook && !probes.startup && !probes.readiness,
                    halt: Halt::No,
                };
                c.id = Some(id);
                c.image_id = Some(image_id);
            }
            Some(c) if c.is_running(run) => {}
            _ => effects.push(Effect::Kill { slot, run }),
        }
    }

    /// The postStart hook is done: the container counts as running from now on, or is restarted.
    fn hooked(&mut self, slot: Slot, run: Run, succeeded: bool, now: Timestamp, effects: &mut Vec<Effect>) {
        let probes = self.plan.containers.get(slot.0).map(|p| p.probes).unwrap_or_default();
        let kill_at = after(now, self.plan.grace);
        let Some(c) = self.container(slot).filter(|c| c.is_running(run)) else { return };
        let State::Running { hooked, failed, started, ready, halt, .. } = &mut c.state else { return };
        if *halt != Halt::No {
            return;
        }
        if succeeded {
            *hooked = true;
            *started = !probes.startup;
            *ready = *started && !probes.readiness;
            return;
        }
        *failed = true;
        *halt = Halt::Draining { kill_at };
        let message = "FailedPostStartHook".to_owned();
        effects.push(Effect::Say { slot: Some(slot), kind: Kind::Normal, reason: "Killing", message });
        effects.push(Effect::Stop { slot, run });
    }

    fn start_failed(&mut self, slot: Slot, run: Run, problem: Problem, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(c) = self.containers.get_mut(slot.0).filter(|c| c.is_starting(run)) else { return };
        let State::Starting { tries, .. } = c.state else { return };
        let image = self.plan.containers.get(slot.0).map(|p| p.image.as_str()).unwrap_or_default();
        for (kind, reason, message) in problem.words(image, tries) {
            effects.push(Effect::Say { slot: Some(slot), kind, reason, message });
        }
        let until = problem.may_pass().then(|| after(now, backoff::of_holds(tries)));
        c.state = State::Held { problem, until, tries: tries.saturating_add(1) };
    }

    fn ended(&mut self, slot: Slot, run: Run, end: End, now: Timestamp, effects: &mut Vec<Effect>) {
        let stopping = !self.is_active();
        let failed = self.containers.get(slot.0).is_some_and(Container::has_failed);
        let restart = !stopping && self.plan.restarts(slot, if failed { FAILED } else { end.code });
        let name = self.plan.containers.get(slot.0).map(|p| p.name.as_str()).unwrap_or_default();
        let Some(c) = self.containers.get_mut(slot.0).filter(|c| c.is_starting(run) || c.is_running(run)) else {
            return;
        };
        let termination = c.terminate(end, now);
        if !restart {
            c.state = State::Ended(termination);
            return;
        }
        let until = c.crash_loop(&termination, now);
        if until > now {
            effects.push(Effect::Say {
                slot: Some(slot),
                kind: Kind::Warning,
                reason: "BackOff",
                message: format!("Back-off restarting failed container {name} in pod {}", self.plan.full_name()),
            });
        }
        c.last = Some(termination);
        c.state = State::BackingOff { until };
    }

    fn probed(
        &mut self,
        (slot, wanted): (Slot, Run),
        probe: Probe,
        healthy: bool,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let plan = self.plan.containers.get(slot.0);
        let (name, probes) = plan.map(|p| (p.name.clone(), p.probes)).unwrap_or_default();
        let grace = match probe {
            Probe::Startup => probes.startup_grace,
            Probe::Liveness => probes.liveness_grace,
            Probe::Readiness => None,
        };
        let kill_at = after(now, grace.unwrap_or(self.plan.grace));
        let again = if self.plan.restarts(slot, FAILED) { ", will be restarted" } else { "" };
        let state = self.container(slot).map(|c| &mut c.state);
        let Some(State::Running { run, failed, started, ready, halt, .. }) = state else { return };
        // A container that drains may still become unready, as one does that answers no longer.
        if *run != wanted || (*halt != Halt::No && probe != Probe::Readiness) {
            return;
        }
        match (probe, healthy) {
            (Probe::Startup, true) => {
                *started = true;
                *ready = !probes.readiness;
            }
            (Probe::Readiness, healthy) => *ready = healthy && *started,
            (Probe::Liveness, true) => {}
            (Probe::Startup | Probe::Liveness, false) => {
                *failed = true;
                *halt = Halt::Draining { kill_at };
                let message = format!("Container {name} failed {} probe{again}", probe.as_str());
                effects.push(Effect::Say { slot: Some(slot), kind: Kind::Normal, reason: "Killing", message });
                effects.push(Effect::Stop { slot, run: wanted });
            }
        }
    }

    /// A running container is restarted with its new image, one that could not start is tried again.
    fn image_changed(&mut self, slot: Slot, image: String, now: Timestamp, effects: &mut Vec<Effect>) {
        let kill_at = after(now, self.plan.grace);
        let Some(plan) = self.plan.containers.get_mut(slot.0).filter(|p| p.image != image) else { return };
        plan.image = image;
        let name = plan.name.clone();
        match self.container(slot).map(|c| &mut c.state) {
            Some(State::Held { until, tries, .. }) => {
                *until = Some(now);
                *tries = 0;
            }
            Some(State::Running { run, halt: halt @ Halt::No, .. }) => {
                *halt = Halt::Draining { kill_at };
                let run = *run;
                let message = format!("Container {name} definition changed, will be restarted");
                effects.push(Effect::Say { slot: Some(slot), kind: Kind::Normal, reason: "Killing", message });
                effects.push(Effect::Stop { slot, run });
            }
            // Whatever starts next reads the spec as it is then.
            _ => {}
        }
    }

    /// What follows from the state and the time alone.
    fn advance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.is_active() && self.deadline().is_some_and(|d| d <= now) {
            self.exceed_deadline(now, effects);
        }
        for (i, c) in self.containers.iter_mut().enumerate() {
            if let Some(run) = c.kill_if_due(now) {
                effects.push(Effect::Kill { slot: Slot(i), run });
            }
        }
        if let Stage::Initializing = self.stage {
            self.initialize(now, effects);
        }
        match &mut self.stage {
            Stage::Preparing { retry_at, .. } => {
                if retry_at.is_some_and(|at| at <= now) {
                    *retry_at = None;
                    effects.push(Effect::Prepare);
                }
            }
            Stage::Running => self.run(now, effects),
            Stage::Stopping { why } => {
                let why = why.clone();
                self.settle(why, effects);
            }
            Stage::Refused | Stage::Initializing | Stage::Finished { .. } | Stage::Gone => {}
        }
    }

    /// Init containers run one after the other; when the last has succeeded, the pod's own begin.
    fn initialize(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for (i, c) in self.containers.iter_mut().enumerate().take(self.plan.inits) {
            match &c.state {
                State::Ended(t) if t.end.code == 0 => {}
                State::Ended(_) => {
                    self.stage = Stage::Finished { verdict: Verdict::Failed };
                    return;
                }
                _ => {
                    effects.extend(c.start_if_due(now).map(|run| Effect::Start { slot: Slot(i), run }));
                    return;
                }
            }
        }
        self.stage = Stage::Running;
    }

    fn run(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for (i, c) in self.containers.iter_mut().enumerate().skip(self.plan.inits) {
            effects.extend(c.start_if_due(now).map(|run| Effect::Start { slot: Slot(i), run }));
        }
        let mut main = self.containers.iter().skip(self.plan.inits);
        if main.all(|c| matches!(c.state, State::Ended(_))) {
            self.stage = Stage::Finished { verdict: self.verdict() };
        }
    }

    fn verdict(&self) -> Verdict {
        let succeeded = |c: &Container| matches!(&c.state, State::Ended(t) if t.end.code == 0);
        if self.containers.iter().all(succeeded) { Verdict::Succeeded } else { Verdict::Failed }
    }
}
