//! CPU: what a container has used, and the quota that it may not exceed.
//!
//! Every turn of a guest on a thread is measured, and paid for twice: with quota, if the container has a limit, and
//! with its place in the [line](super::turns) of those who want to run. A container that has used more than its quota
//! waits; one with little left is given leave for as long, so that what it overdraws stays below a tick.
//!
//! A turn is measured by the wall clock, which costs no system call. One so long that its thread may have been
//! interrupted meanwhile is measured by the thread's own CPU clock.

use std::cell::Cell;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use super::aside::Trip;
use super::host::Host;
use super::turns::{Claim, Share, Slot, Wants};

/// How much unused quota a container may save up: what it may exceed its limit by in any one second, in parts of one.
const BURST: Duration = Duration::from_millis(50);

/// A turn that is likely to have shared its core with others before it ended. An HTTP request is far shorter.
const LONG_TURN: Duration = Duration::from_millis(1);

/// After so many short turns the thread's own clock is read again, so that what it counts beside turns stays small.
const SHORT_TURNS_MAX: u32 = 64;

/// A container's CPU account, shared by its instances.
pub(super) struct Cpu {
    used: AtomicU64,
    limit: Option<Quota>,
    share: Arc<Share>,
}

struct Quota {
    millicores: u32,
    origin: Instant,
    /// When the next turn is paid for, in nanoseconds since `origin`.
    ready_at: AtomicU64,
}

impl Cpu {
    /// An account with nothing used, for a container with this limit and request in thousandths of a core.
    pub(super) fn new(limit: Option<u32>, request: Option<u32>) -> Self {
        let limit = limit.map(|millicores| Quota {
            millicores: millicores.max(1),
            origin: Instant::now(),
            ready_at: AtomicU64::new(0),
        });
        Self { used: AtomicU64::new(0), limit, share: Arc::new(Share::of_request(request)) }
    }

    /// What was used so far.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Relaxed))
    }

    /// When the next turn may begin, if that is not now.
    fn not_before(&self, now: Instant) -> Option<Instant> {
        let quota = self.limit.as_ref()?;
        let ready = quota.origin + Duration::from_nanos(quota.ready_at.load(Relaxed));
        (ready > now).then_some(ready)
    }

    /// For how long a turn that begins now is paid for, if there is a limit.
    fn leave(&self, now: Instant) -> Option<Duration> {
        let quota = self.limit.as_ref()?;
        let saved = quota.at(now).saturating_sub(quota.ready_at.load(Relaxed)).min(nanos_of(BURST));
        Some(Duration::from_nanos(saved.saturating_mul(u64::from(quota.millicores)) / 1000))
    }

    /// Enters the CPU time of a turn that ended at `now` into the account.
    fn charge(&self, now: Instant, nanos: u64) {
        self.used.fetch_add(nanos, Relaxed);
        let Some(quota) = &self.limit else { return };
        let now = quota.at(now);
        let step = |ready_at| Some(ready_after(ready_at, now, nanos, quota.millicores));
        // The closure always answers, so the update always happens.
        let _ = quota.ready_at.fetch_update(Relaxed, Relaxed, step);
    }
}

impl Quota {
    fn at(&self, instant: Instant) -> u64 {
        nanos_of(instant.saturating_duration_since(self.origin))
    }
}

/// When the next turn is paid for, after a turn of `used` nanoseconds that ended at `now`.
fn ready_after(ready_at: u64, now: u64, used: u64, millicores: u32) -> u64 {
    let cost = u128::from(used) * 1000 / u128::from(millicores.max(1));
    let saved = now.saturating_sub(nanos_of(BURST));
    ready_at.max(saved).saturating_add(u64::try_from(cost).unwrap_or(u64::MAX))
}

fn nanos_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What is known of a thread's own CPU clock.
#[derive(Clone, Copy, Default)]
struct ThreadClock {
    /// What it showed when it was last read.
    seen: u64,
    /// What turns were measured since then.
    measured: u64,
    turns: u32,
}

thread_local! {
    // A thread's clock begins at zero with the thread.
    static THREAD_CLOCK: Cell<ThreadClock> = const { Cell::new(ThreadClock { seen: 0, measured: 0, turns: 0 }) };
}

impl ThreadClock {
    /// The CPU time of a turn that took `wall` nanoseconds. `read` shows the thread's clock.
    fn measure(&mut self, wall: u64, read: impl FnOnce() -> u64) -> u64 {
        if wall < nanos_of(LONG_TURN) && self.turns < SHORT_TURNS_MAX {
            self.measured = self.measured.saturating_add(wall);
            self.turns += 1;
            return wall;
        }
        let now = read();
        let most = now.saturating_sub(self.seen).saturating_sub(self.measured);
        *self = Self { seen: now, measured: 0, turns: 0 };
        wall.min(most)
    }
}

/// The CPU time of a turn on this thread that took so long and has ended now.
fn cpu_of_turn(wall: Duration) -> u64 {
    let mut clock = THREAD_CLOCK.get();
    let nanos = clock.measure(nanos_of(wall), || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
        seconds * 1_000_000_000 + nanos
    });
    THREAD_CLOCK.set(clock);
    nanos
}

/// A guest's future, each of whose turns is waited for, measured, paid for, and ticked.
pub(super) struct Metered<T> {
    place: Place<T>,
    cpu: Arc<Cpu>,
    host: Arc<Host>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// Where a guest is.
enum Place<T> {
    Here(Guest<T>),
    /// It takes a long turn aside.
    Away(Arc<Trip<Guest<T>, Poll<T>>>),
    /// It is being sent.
    Between,
}

struct Guest<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    claim: Claim,
    wants: Wants,
    /// Its last turn was a long one, or was to be: the next is taken where it keeps nobody's connections waiting.
    was_long: bool,
}

impl<T> Guest<T> {
    /// Takes a turn.
    fn turn(&mut self, slot: Slot<'_>, cpu: &Cpu, host: &Host, context: &mut Context<'_>) -> Poll<T> {
        let _turn = host.ticker().turn();
        let began = Instant::now();
        slot.run(&cpu.share, began, cpu.leave(began));
        // Epochs end a turn. Tokio's own count of what a task may do at once would show a guest with hundreds of ready
        // sockets the same first ones again and again.
        let poll = pin!(unconstrained(self.future.as_mut())).poll(context);
        let ended = Instant::now();
        let nanos = cpu_of_turn(ended - began);
        cpu.charge(ended, nanos);
        self.wants = slot.pay(&cpu.share, nanos);
        // One that was cut short early has as much to do as before.
        self.was_long = ended - began >= LONG_TURN || self.wants == Wants::More;
        // Who must wait for quota first stands in no line meanwhile.
        if poll.is_pending() && self.wants == Wants::More && cpu.not_before(ended).is_none() {
            slot.rejoin(&mut self.claim, &cpu.share, context.waker());
        }
        poll
    }
}

impl<T> Metered<T> {
    /// Meters `guest` on the account `cpu`.
    pub(super) fn new(guest: impl Future<Output = T> + Send + 'static, cpu: Arc<Cpu>, host: Arc<Host>) -> Self {
        let (claim, wants) = (Claim::default(), Wants::Rested);
        Self {
            place: Place::Here(Guest { future: Box::pin(guest), claim, wants, was_long: false }),
            cpu,
            host,
            pause: None,
        }
    }

    /// Waits until the next turn is paid for.
    fn poll_quota(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.cpu.limit.is_none() {
            return Poll::Ready(());
        }
        while let Some(instant) = self.cpu.not_before(Instant::now()) {
            let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(instant.into())));
            pause.as_mut().reset(instant.into());
            ready!(pause.as_mut().poll(context));
        }
        Poll::Ready(())
    }
}

impl<T: Send + 'static> Future for Metered<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        if let Place::Away(trip) = &this.place {
            let (guest, polled) = ready!(trip.poll_back(context));
            this.place = Place::Here(guest);
            match polled {
                Ok(Poll::Pending) => {}
                Ok(done) => return done,
                Err(panic) => resume_unwind(panic),
            }
        }
        // Who stands in the line has paid, and may not keep a slot that it was given while it waits for quota again.
        if matches!(&this.place, Place::Here(guest) if !guest.claim.is_waiting()) {
            ready!(this.poll_quota(context));
        }
        let Place::Here(guest) = &mut this.place else { return Poll::Pending };
        let host = &this.host;
        let hurry = || host.engine().increment_epoch();
        let start = ready!(host.turns().grant(&mut guest.claim, &this.cpu.share, guest.wants, context.waker(), hurry));
        if !guest.was_long {
            return guest.turn(host.turns().begin(start), &this.cpu, host, context);
        }
        let Place::Here(guest) = std::mem::replace(&mut this.place, Place::Between) else { return Poll::Pending };
        let (cpu, there) = (this.cpu.clone(), host.clone());
        let turn = move |guest: &mut Guest<T>, context: &mut Context<'_>| {
            guest.turn(there.turns().begin(start), &cpu, &there, context)
        };
        this.place = Place::Away(host.aside().send(guest, context.waker().clone(), turn));
        Poll::Pending
    }
}

impl<T> Drop for Metered<T> {
    fn drop(&mut self) {
        if let Place::Away(trip) = &self.place {
            self.place = trip.wait().map_or(Place::Between, Place::Here);
        }
        if let Place::Here(guest) = &mut self.place {
            self.host.turns().give_up(&mut guest.claim);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_tenth_of_a_core_pays_ten_times_for_a_turn() {
        assert_eq!(ready_after(1000 * MS, 1000 * MS, 10 * MS, 100), 1100 * MS);
        assert_eq!(ready_after(1000 * MS, 1000 * MS, 10 * MS, 1000), 1010 * MS);
        assert_eq!(ready_after(1000 * MS, 1010 * MS, 10 * MS, 2000), 1005 * MS);
    }

    #[test]
    fn unused_quota_is_saved_up_to_the_burst() {
        assert_eq!(ready_after(0, 5000 * MS, 10 * MS, 1000), 4960 * MS);
    }

    #[test]
    fn an_overdraft_never_overflows() {
        assert_eq!(ready_after(u64::MAX, 0, u64::MAX, 1), u64::MAX);
    }

    #[test]
    fn leave_lasts_for_what_is_saved() {
        let cpu = Cpu::new(Some(500), None);
        let origin = cpu.limit.as_ref().unwrap().origin;
        let at = |millis| origin + Duration::from_millis(millis);
        assert_eq!(cpu.leave(at(0)), Some(Duration::ZERO));
        assert_eq!(cpu.leave(at(20)), Some(Duration::from_millis(10)));
        assert_eq!(cpu.leave(at(5000)), Some(BURST / 2));
        cpu.charge(at(5000), 30 * MS);
        assert_eq!(cpu.not_before(at(5000)), Some(at(5010)));
        assert_eq!(Cpu::new(None, None).leave(at(20)), None);
    }

    #[test]
    fn a_turn_that_was_interrupted_is_measured_by_its_threads_clock() {
        let mut clock = ThreadClock::default();
        assert_eq!(clock.measure(MS / 2, || panic!("a short turn reads no clock")), MS / 2);
        assert_eq!(clock.measure(20 * MS, || 5 * MS), 5 * MS - MS / 2);
        assert_eq!(clock.measure(20 * MS, || 40 * MS), 20 * MS);
    }

    #[test]
    fn after_many_short_turns_the_threads_clock_is_read_again() {
        let mut clock = ThreadClock::default();
        let mut read = 0;
        for _ in 0..=SHORT_TURNS_MAX {
            clock.measure(1000, || {
                read += 1;
                MS
            });
        }
        assert_eq!((read, clock.seen), (1, MS));
    }
}
