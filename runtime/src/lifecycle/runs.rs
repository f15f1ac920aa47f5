//! News of runs: that one started, could not, ended, or was found well or unwell.
//!
//! Invariant: news of a run that is not the present one changes nothing; if that run still lives, it is killed.

use coracle_api::event::Kind;
use jiff::Timestamp;

use super::backoff::{self, after};
use super::container::{Container, End, Halt, Probe, Problem, Run, Slot, State};
use super::{Effect, Lifecycle};

/// Stands for the exit code of a container that was stopped because it failed a probe: any that is not zero.
const FAILED: i32 = 1;

impl Lifecycle {
    pub(super) fn started(
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
    pub(super) fn hooked(&mut self, slot: Slot, run: Run, succeeded: bool, now: Timestamp, effects: &mut Vec<Effect>) {
        let probes = self.plan.containers.get(slot.0).map(|p| p.probes).unwrap_or_default();
        let kill_at = after(now, self.plan.grace);
        let active = self.is_active();
        let Some(c) = self.container(slot).filter(|c| c.is_running(run)) else { return };
        let State::Running { hooked, failed, started, ready, halt, .. } = &mut c.state else { return };
        // While the pod stops, a sidecar is stopped when its turn comes, and no sooner.
        if *halt != Halt::No || !active {
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

    pub(super) fn start_failed(
        &mut self,
        slot: Slot,
        run: Run,
        problem: Problem,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(c) = self.containers.get_mut(slot.0).filter(|c| c.is_starting(run)) else { return };
        let State::Starting { tries, .. } = c.state else { return };
        let image = self.plan.containers.get(slot.0).map(|p| p.image.as_str()).unwrap_or_default();
        for (kind, reason, message) in problem.words(image) {
            effects.push(Effect::Say { slot: Some(slot), kind, reason, message });
        }
        let until = problem.may_pass().then(|| after(now, backoff::of_holds(tries)));
        let wait = problem.wait_from(now);
        c.state = State::Held { problem, until, wait, tries: tries.saturating_add(1) };
    }

    pub(super) fn ended(&mut self, slot: Slot, run: Run, end: End, now: Timestamp, effects: &mut Vec<Effect>) {
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

    pub(super) fn probed(
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
        let active = self.is_active();
        let again = if self.plan.restarts(slot, FAILED) { ", will be restarted" } else { "" };
        let state = self.container(slot).map(|c| &mut c.state);
        let Some(State::Running { run, failed, started, ready, halt, .. }) = state else { return };
        // A container that drains may still become unready, as one does that answers no longer.
        if *run != wanted || ((*halt != Halt::No || !active) && probe != Probe::Readiness) {
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
}
