//! Probes: asks a container how it is, again and again, and reports when the opinion changes.
//!
//! What follows from an opinion is the lifecycle's to decide. A probe is one timer and no thread; it ends with the
//! container, and those that could restart it end as soon as the container is told to stop.

mod exec;
mod grpc;
mod http;
mod opinion;
mod place;
mod target;
mod tcp;
pub(crate) mod tls;

use std::time::Duration;

use coracle_api::event::Kind;
use coracle_wasm::Sandbox;
use k8s_openapi::api::core::v1::{Container, Probe as Spec};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};

use super::launch::Order;
use crate::lifecycle::{Event, Probe};
use opinion::Opinion;

pub(super) use exec::{Came, run as run_command};
pub(super) use http::{get, target};
pub(super) use place::Refusal;
pub(crate) use place::in_words;

/// A container may take so long to begin to listen before it is held against it.
const BEGINS_TO_LISTEN: Duration = Duration::from_secs(1);

/// The first wait for a container that does not listen yet; it doubles.
const LISTENS_FIRST: Duration = Duration::from_millis(10);

/// A container that was told to stop has, as a rule, ended after so long; then nobody need hear that it no longer
/// answered.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// What a container answers to one question.
enum Answer {
    /// It is well.
    Healthy,
    /// It is well, but something about it should be said.
    Doubtful(String),
    /// It is not, and why.
    Unhealthy(String),
    /// Nobody listens, which is no wonder if it has only begun.
    NobodyListens(String),
    /// The question could not be put. It counts neither way.
    Unknown(String),
}

/// What is asked, and where.
struct Watch<'a> {
    order: &'a Order,
    sandbox: &'a Sandbox,
    probe: Probe,
    spec: &'a Spec,
    /// When the container began.
    since: Instant,
}

/// Whether a container has probes.
pub(super) fn has_any(container: &Container) -> bool {
    container.startup_probe.is_some() || container.readiness_probe.is_some() || container.liveness_probe.is_some()
}

/// Runs the probes of a container that began at `since`, for as long as it is polled. Returns when none goes on.
pub(super) async fn probe(order: &Order, sandbox: &Sandbox, since: Instant) {
    let c = &order.container;
    let watch = |probe, spec| Watch { order, sandbox, probe, spec, since };
    if let Some(spec) = &c.startup_probe
        && order.stop.run_until_cancelled(watch(Probe::Startup, spec).run()).await.is_none()
    {
        return;
    }
    let readiness = async {
        if let Some(spec) = &c.readiness_probe {
            watch(Probe::Readiness, spec).run().await;
        }
    };
    let liveness = async {
        if let Some(spec) = &c.liveness_probe {
            // A container that is told to stop is not to be stopped for its health as well.
            order.stop.run_until_cancelled(watch(Probe::Liveness, spec).run()).await;
        }
    };
    tokio::join!(readiness, liveness);
}

impl Watch<'_> {
    /// Asks again and again; a startup probe only until it has succeeded.
    async fn run(&self) {
        let delay = seconds(self.spec.initial_delay_seconds, 0);
        sleep_until(self.since + delay).await;
        let mut ticks = interval_at(Instant::now(), seconds(self.spec.period_seconds.filter(|s| *s > 0), 10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut opinion = Opinion::new(self.spec);
        loop {
            ticks.tick().await;
            let answer = self.settled().await;
            if self.order.stop.is_cancelled() || self.order.kill.is_cancelled() {
                sleep(LAST_BREATH).await;
            }
            let Some(healthy) = self.say(answer) else { continue };
            let Some(healthy) = opinion.hear(healthy) else { continue };
            let (slot, run, probe) = (self.order.slot, self.order.run, self.probe);
            self.order.report(Event::Probed { slot, run, probe, healthy }).await;
            if probe == Probe::Startup && healthy {
                return;
            }
        }
    }

    /// An answer; of a container that has only begun, not before it listens, for a while.
    async fn settled(&self) -> Answer {
        let mut wait = LISTENS_FIRST;
        loop {
            // On the heap for as long as it takes: between two questions a probe is a timer and little more.
            match Box::pin(self.ask()).await {
                Answer::NobodyListens(_) if self.since.elapsed() + wait < BEGINS_TO_LISTEN => {
                    sleep(wait).await;
                    wait *= 2;
                }
                answer => return answer,
            }
        }
    }

    async fn ask(&self) -> Answer {
        let patience = seconds(self.spec.timeout_seconds.filter(|s| *s > 0), 1);
        if let Some(action) = &self.spec.exec {
            exec::ask(self.order, self.sandbox, action, patience).await
        } else if let Some(action) = &self.spec.http_get {
            http::ask(self.order, action, patience).await
        } else if let Some(action) = &self.spec.tcp_socket {
            tcp::ask(self.order, action, patience).await
        } else if let Some(action) = &self.spec.grpc {
            grpc::ask(self.order, action, patience).await
        } else {
            Answer::Unknown(format!("missing probe handler for {}", self.order.container.name))
        }
    }

    /// Says what is to be said of an answer. Returns whether it is a good one, if it counts.
    fn say(&self, answer: Answer) -> Option<bool> {
        let name = match self.probe {
            Probe::Startup => "Startup",
            Probe::Readiness => "Readiness",
            Probe::Liveness => "Liveness",
        };
        let warn = |reason, message| self.order.say(Kind::Warning, reason, message);
        match answer {
            Answer::Healthy => Some(true),
            Answer::Doubtful(why) => {
                warn("ProbeWarning", format!("{name} probe warning: {why}"));
                Some(true)
            }
            Answer::Unhealthy(why) | Answer::NobodyListens(why) => {
                warn("Unhealthy", format!("{name} probe failed: {why}"));
                Some(false)
            }
            Answer::Unknown(why) => {
                warn("Unhealthy", format!("{name} probe errored and resulted in unknown state: {why}"));
                None
            }
        }
    }
}

fn seconds(given: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(given.and_then(|s| u64::try_from(s).ok()).unwrap_or(default))
}
