//! Requests at once: bounded, waited for in turn, and shared fairly among users.
//!
//! Upstream's API Priority and Fairness is the model, with one level for reads and one for writes, and a flow a user.
//! Why nobody is exempt is in `docs/decisions/0004-fair-seats.md`.

mod turns;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use turns::{Arrival, Turns};

/// Reads worked on at once for each processor: they wait for nothing, so more of them would only stand in each other's
/// way, and one user's large lists before another's small read.
const READS_PER_CPU: usize = 4;

/// What part of the time that a request may take it may wait for its turn, as upstream.
const WAIT_SHARE: u32 = 4;

/// How many watches and other lasting requests one user may have: enough for every informer of a large fleet.
const LASTING_MAX: usize = 16_384;

/// Where a request takes its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It lasts: a watch, a followed log. It works little, and is only counted.
    Lasting,
}

/// The seats of all levels.
pub(crate) struct Fairness {
    reads: Arc<Seats>,
    writes: Arc<Seats>,
    lasting: Arc<Seats>,
    patience: Duration,
}

/// A seat, given back when dropped.
pub(crate) struct Seat {
    of: Arc<Seats>,
    user: Arc<str>,
}

struct Seats(Mutex<Turns<oneshot::Sender<Seat>>>);

impl Fairness {
    /// So many reads and writes of one user at once; 0 is as good as no bound, as upstream.
    pub(crate) fn new(reads: usize, writes: usize, request_timeout: Duration) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let bound = |most: usize| if most == 0 { usize::MAX / 8 } else { most };
        let seats = |seats: usize, most: usize| Arc::new(Seats(Mutex::new(Turns::new(seats, most))));
        Self {
            reads: seats((cpus * READS_PER_CPU).min(bound(reads)), bound(reads)),
            writes: seats(bound(writes), bound(writes)),
            // Each user has as many as it may: nobody waits for another's to end.
            lasting: seats(usize::MAX / 8, LASTING_MAX),
            patience: request_timeout / WAIT_SHARE,
        }
    }

    /// Waits for a seat. None: there are too many requests of this user, or it took too long.
    pub(crate) async fn seat(&self, level: Level, user: &str) -> Option<Seat> {
        let (of, user) = (self.of(level), Arc::from(user));
        let (call, called) = oneshot::channel();
        let arrival = of.turns(|turns| turns.arrive(&user, call, oneshot::Sender::is_closed));
        match arrival {
            Arrival::Seated => Some(Seat { of: Arc::clone(of), user }),
            Arrival::TooMany => None,
            Arrival::Waits => timeout(self.patience, called).await.ok()?.ok(),
        }
    }

    fn of(&self, level: Level) -> &Arc<Seats> {
        match level {
            Level::Read => &self.reads,
            Level::Write => &self.writes,
            Level::Lasting => &self.lasting,
        }
    }
}

impl Seats {
    fn turns<T>(&self, then: impl FnOnce(&mut Turns<oneshot::Sender<Seat>>) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let next = self.of.turns(|turns| turns.leave(&self.user));
        for (user, call) in next {
            // Who waits no more drops the seat, which gives it to the next.
            drop(call.send(Seat { of: Arc::clone(&self.of), user }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_seat_is_waited_for_and_passed_on() {
        let fairness = Fairness::new(1, 1, Duration::from_secs(60));
        let first = fairness.seat(Level::Write, "a").await.unwrap();
        let (second, ()) = tokio::join!(fairness.seat(Level::Write, "b"), async { drop(first) });
        let second = second.unwrap();
        assert!(fairness.seat(Level::Write, "c").await.is_none(), "its patience ends");
        drop(second);
        assert!(fairness.seat(Level::Write, "c").await.is_some(), "who gave up holds nothing up");
        assert!(fairness.seat(Level::Read, "a").await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_may_have_so_many_at_once() {
        let fairness = Fairness::new(1, 1, Duration::from_secs(60));
        let _held = fairness.seat(Level::Read, "a").await.unwrap();
        let asked = tokio::time::Instant::now();
        assert!(fairness.seat(Level::Read, "a").await.is_none());
        assert!(asked.elapsed().is_zero(), "it is told at once");
    }
}
