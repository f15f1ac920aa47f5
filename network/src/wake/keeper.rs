//! Keeps one target: wakes it when somebody waits for one of its Services, and lets it sleep when nobody uses any.
//!
//! Level, not edge: each turn looks at what is (`step`) and does one thing. What it wrote itself counts until the watch
//! shows it, so that a hundred connections at once scale it once.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::event::Said;
use futures::future::select_all;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::say::{self, Subject};
use super::scaler::Scaler;
use super::sleeper::Sleeper;
use super::step::{Seen, Step, step, together};
use super::targets::Known;

/// The first pause after a write that failed: the next try may find the API server well again.
const RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest pause: somebody may be waiting.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What a keeper looks at.
#[derive(Clone)]
pub(super) struct View {
    pub(super) sleepers: Vec<Arc<Sleeper>>,
    /// The target; nothing if it is not there.
    pub(super) known: Option<Known>,
}

/// The keeper of one target.
pub(super) struct Keeper {
    pub(super) scaler: Scaler,
    pub(super) view: watch::Receiver<View>,
    pub(super) say: mpsc::Sender<Said>,
}

/// What a keeper remembers from turn to turn.
struct Memory {
    /// What it has written, or found instead, and the watch does not show yet.
    own: Option<Known>,
    awake_since: Instant,
    is_asleep: bool,
    /// What the Services have been told to wake to, until they are seen to know.
    remembered: Option<i32>,
    late: u64,
    pause: Duration,
}

impl Keeper {
    /// Keeps it until nobody wants that any more.
    pub(super) async fn run(mut self) {
        let now = Instant::now();
        let mut memory =
            Memory { own: None, awake_since: now, is_asleep: false, remembered: None, late: 0, pause: RETRY_FIRST };
        loop {
            let view = self.view.borrow_and_update().clone();
            let mut changes: Vec<_> = view.sleepers.iter().map(|sleeper| sleeper.uses()).collect();
            let Some(uses) = together(changes.iter_mut().map(|uses| *uses.borrow_and_update())) else { return };
            if uses.late > memory.late {
                self.say(&view, say::late(&self.scaler.target, uses.late - memory.late));
            }
            memory.late = uses.late;
            let known = memory.latest(view.known.clone());
            let seen = memory.seen(&view, known.as_ref());
            let rest = match (step(&seen, &uses, Instant::now()), known) {
                (Step::Rest(until), _) => until,
                (Step::Wake(_) | Step::Sleep(_), None) => None,
                (Step::Wake(to), Some(known)) => match self.wake(&view, &mut memory, known, to).await {
                    Ok(()) => continue,
                    Err(()) => Some(Instant::now() + memory.later()),
                },
                (Step::Sleep(from), Some(known)) => {
                    match self.put_to_sleep(&view, &mut memory, known, (from, seen.idle_after)).await {
                        Ok(()) => continue,
                        Err(()) => Some(Instant::now() + memory.later()),
                    }
                }
            };
            let used = select_all(changes.iter_mut().map(|uses| Box::pin(uses.changed())));
            tokio::select! {
                changed = self.view.changed() => if changed.is_err() { return },
                _ = used => {}
                () = sleep_until(rest.unwrap_or_else(Instant::now)), if rest.is_some() => {}
            }
        }
    }

    /// Wakes it, or says that it is worth to try again later: it failed, or somebody else has changed it meanwhile.
    async fn wake(&self, view: &View, memory: &mut Memory, known: Known, to: i32) -> Result<(), ()> {
        match self.scaler.scale(&known, to).await {
            Ok(now) => {
                let is_awake = now.replicas == to;
                memory.own = Some(now);
                if !is_awake {
                    return Err(());
                }
                self.say(view, say::woken(&self.scaler.target, to));
                memory.pause = RETRY_FIRST;
                Ok(())
            }
            Err(error) => {
                self.say(view, say::failed(&self.scaler.target, to, &error));
                Err(())
            }
        }
    }

    async fn put_to_sleep(
        &self,
        view: &View,
        memory: &mut Memory,
        known: Known,
        (from, idle): (i32, Duration),
    ) -> Result<(), ()> {
        // What it had is written first: a server that is killed between the two wakes it to as many as it had.
        let knows = |sleeper: &&Arc<Sleeper>| sleeper.wish().is_none_or(|wish| wish.replicas == from);
        if memory.remembered != Some(from) && !view.sleepers.iter().all(|sleeper| knows(&sleeper)) {
            for sleeper in view.sleepers.iter().filter(|sleeper| !knows(sleeper)) {
                let service = sleeper.sleepy.load().service.clone();
                if let Err(error) = self.scaler.remember(&service, from).await {
                    tracing::debug!(%error, %service, "its replicas cannot be remembered");
                    return Err(());
                }
            }
            memory.remembered = Some(from);
            // Somebody may have come meanwhile.
            return Ok(());
        }
        match self.scaler.scale(&known, 0).await {
            Ok(now) => {
                let is_asleep = now.replicas == 0;
                memory.own = Some(now);
                if !is_asleep {
                    return Err(());
                }
                self.say(view, say::asleep(&self.scaler.target, from, idle));
                memory.pause = RETRY_FIRST;
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, target = %self.scaler.target, "it cannot be scaled to zero");
                Err(())
            }
        }
    }

    /// Says it of the target and of its Services. What does not find room is not worth waiting for.
    fn say(&self, view: &View, what: say::What) {
        let target = view.known.as_ref().map(|known| Subject::target(&self.scaler, &known.uid));
        let services = view.sleepers.iter().map(|sleeper| Subject::service(&sleeper.sleepy.load()));
        for about in target.into_iter().chain(services) {
            let _ = self.say.try_send(what.of(about));
        }
    }
}

impl Memory {
    /// The target as last heard of, by the watch or by our own writes.
    fn latest(&mut self, known: Option<Known>) -> Option<Known> {
        let own = self.own.take_if(|own| known.as_ref().is_none_or(|known| known.is_as_new_as(own)));
        if own.is_some() { known } else { self.own.clone().or(known) }
    }

    fn seen(&mut self, view: &View, known: Option<&Known>) -> Seen {
        let replicas = known.map(|known| known.replicas);
        let is_asleep = replicas.is_none_or(|count| count <= 0);
        if self.is_asleep && !is_asleep {
            self.awake_since = Instant::now();
        }
        self.is_asleep = is_asleep;
        let wishes = || view.sleepers.iter().filter_map(|sleeper| sleeper.wish());
        // Who has just been told may not be seen to know yet.
        if wishes().all(|wish| Some(wish.replicas) == self.remembered) {
            self.remembered = None;
        }
        let wakes_to = self.remembered.or_else(|| wishes().map(|wish| wish.replicas).max()).unwrap_or(1);
        let idle_after = wishes().map(|wish| wish.idle_after).max().unwrap_or(Duration::MAX);
        Seen { replicas, awake_since: self.awake_since, wakes_to, idle_after }
    }

    /// How long to wait after a failure.
    fn later(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(RETRY_MAX);
        pause
    }
}
