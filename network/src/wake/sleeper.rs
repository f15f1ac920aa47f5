//! A Service that may sleep: who uses it, who waits for it, and since when nobody does.
//!
//! Invariant: a use is counted for as long as its guard lives, so that nothing is put to sleep under a connection or a
//! request; and no more wait than have places.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use coracle_api::meet::Protocol;
use coracle_api::names::NamespacedName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::wish::{Sleepy, Wish};
use crate::routes::Route;

/// How many connections and requests may wait for one Service to wake: each is a file or a request kept in memory.
const HELD_MAX: usize = 1024;

/// How soon who was refused by an endpoint tries again: a guest may be about to listen.
const RETRY_FIRST: Duration = Duration::from_millis(1);

/// The longest pause between two tries.
const RETRY_MAX: Duration = Duration::from_millis(100);

/// Who uses a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Uses {
    /// Connections and requests, those that wait among them.
    pub(super) in_use: usize,
    pub(super) waiting: usize,
    /// How many were refused so far: they have waited in vain, or there was no place.
    pub(super) late: u64,
    /// When it was last used, if nobody does.
    pub(super) since: Instant,
}

/// A Service that may sleep.
pub(crate) struct Sleeper {
    pub(super) sleepy: ArcSwap<Sleepy>,
    uses: watch::Sender<Uses>,
    places: Arc<Semaphore>,
}

/// Somebody uses a Service.
pub(crate) struct Using(Arc<Sleeper>);

/// Somebody looks for an endpoint, and waits where there is none.
pub(crate) struct Wait<'a> {
    sleeper: &'a Sleeper,
    changes: watch::Receiver<()>,
    deadline: Instant,
    pause: Duration,
    place: Option<Place<'a>>,
}

/// A place among those who wait.
struct Place<'a> {
    sleeper: &'a Sleeper,
    _permit: OwnedSemaphorePermit,
}

/// What somebody found who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// There is no endpoint.
    Nobody,
    /// There are some, and none takes what is brought.
    Unwilling,
}

impl Sleeper {
    fn new(sleepy: Arc<Sleepy>) -> Arc<Self> {
        let uses = Uses { in_use: 0, waiting: 0, late: 0, since: Instant::now() };
        let places = Arc::new(Semaphore::new(HELD_MAX));
        Arc::new(Self { sleepy: ArcSwap::new(sleepy), uses: watch::Sender::new(uses), places })
    }

    /// A use of it begins, and lasts as long as what is returned.
    pub(crate) fn using(self: &Arc<Self>) -> Using {
        self.change(|uses| uses.in_use += 1);
        Using(Arc::clone(self))
    }

    /// Who uses it. What is told is that somebody does, or nobody: one more or less of many is nothing new.
    pub(super) fn uses(&self) -> watch::Receiver<Uses> {
        self.uses.subscribe()
    }

    /// What it wishes; nothing while that cannot be followed.
    pub(super) fn wish(&self) -> Option<Wish> {
        self.sleepy.load().wish.as_ref().ok().cloned()
    }

    fn change(&self, change: impl FnOnce(&mut Uses)) {
        self.uses.send_if_modified(|uses| {
            let before = *uses;
            change(uses);
            if uses.in_use == 0 {
                uses.since = Instant::now();
            }
            let kind = |uses: &Uses| (uses.in_use > 0, uses.waiting > 0, uses.late);
            kind(&before) != kind(uses)
        });
    }
}

impl Using {
    /// Begins to look for an endpoint. `changes` tells when it is worth to look again.
    pub(crate) fn wait(&self, changes: watch::Receiver<()>) -> Wait<'_> {
        let timeout = self.0.sleepy.load().wish.as_ref().map_or(Duration::ZERO, |wish| wish.wake_timeout);
        Wait { sleeper: &self.0, changes, deadline: Instant::now() + timeout, pause: RETRY_FIRST, place: None }
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        self.0.change(|uses| uses.in_use = uses.in_use.saturating_sub(1));
    }
}

impl Wait<'_> {
    /// Waits until it is worth to look again; `false` if too many wait already, or it took too long.
    pub(crate) async fn again(&mut self, met: Met) -> bool {
        if self.place.is_none() {
            self.place = Place::take(self.sleeper);
        }
        if self.place.is_none() {
            self.sleeper.change(|uses| uses.late += 1);
            return false;
        }
        let retry = async {
            match met {
                Met::Nobody => std::future::pending().await,
                Met::Unwilling => sleep(self.pause).await,
            }
        };
        let is_worth = tokio::select! {
            biased;
            changed = self.changes.changed() => changed.is_ok(),
            () = sleep_until(self.deadline) => false,
            () = retry => true,
        };
        if met == Met::Unwilling {
            self.pause = (self.pause * 2).min(RETRY_MAX);
        }
        if !is_worth {
            self.sleeper.change(|uses| uses.late += 1);
        }
        is_worth
    }
}

impl<'a> Place<'a> {
    fn take(sleeper: &'a Sleeper) -> Option<Self> {
        let permit = Arc::clone(&sleeper.places).try_acquire_owned().ok()?;
        sleeper.change(|uses| uses.waiting += 1);
        Some(Self { sleeper, _permit: permit })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.sleeper.change(|uses| uses.waiting = uses.waiting.saturating_sub(1));
    }
}

/// Under what a door is found: a port of a Service.
pub(super) type Port = (NamespacedName, Protocol, u16);

/// All Services of a node that may sleep.
#[derive(Default)]
pub(crate) struct Sleepers {
    by_name: ArcSwap<HashMap<NamespacedName, Arc<Sleeper>>>,
    doors: ArcSwap<HashMap<Port, SocketAddr>>,
    told: Told,
}

/// All that wish to sleep, for who scales them.
struct Told(watch::Sender<Vec<Arc<Sleepy>>>);

impl Default for Told {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}

impl Sleepers {
    /// The Service of a route, if it may sleep.
    pub(crate) fn of(&self, route: &Route) -> Option<Arc<Sleeper>> {
        self.get(&route.service)
    }

    pub(super) fn get(&self, service: &NamespacedName) -> Option<Arc<Sleeper>> {
        self.by_name.load().get(service).cloned()
    }

    /// Where pods reach a port of a Service that may sleep: its endpoints may not be there yet.
    pub(crate) fn door(&self, protocol: Protocol, route: &Route) -> Option<SocketAddr> {
        let doors = self.doors.load();
        if doors.is_empty() {
            return None;
        }
        doors.get(&(route.service.clone(), protocol, route.port)).copied()
    }

    pub(super) fn set_doors(&self, doors: HashMap<Port, SocketAddr>) {
        self.doors.store(Arc::new(doors));
    }

    /// All that wish to sleep.
    pub(super) fn wishes(&self) -> watch::Receiver<Vec<Arc<Sleepy>>> {
        self.told.0.subscribe()
    }

    /// From now on, these wish to sleep. One that stays keeps its uses.
    pub(crate) fn set<'a>(&self, sleepy: impl Iterator<Item = &'a Arc<Sleepy>>) {
        let sleepy: Vec<Arc<Sleepy>> = sleepy.cloned().collect();
        if *self.told.0.borrow() == sleepy {
            return;
        }
        let before = self.by_name.load();
        let sleeper = |sleepy: &Arc<Sleepy>| {
            let name = sleepy.service.clone();
            let Some(same) = before.get(&name) else { return (name, Sleeper::new(Arc::clone(sleepy))) };
            same.sleepy.store(Arc::clone(sleepy));
            (name, Arc::clone(same))
        };
        let valid = sleepy.iter().filter(|sleepy| sleepy.wish.is_ok());
        self.by_name.store(Arc::new(valid.map(sleeper).collect()));
        self.told.0.send_replace(sleepy);
    }
}

#[cfg(test)]
mod tests;
