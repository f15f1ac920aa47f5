//! CPU: what a container has used, and the quota that it may not exceed.
//!
//! Every turn of a guest on a thread is measured. A container with a limit that has used more than its share waits
//! before its next turn; epochs keep a turn short, so the overdraft stays small.
//!
//! Short turns are measured by the wall clock, which costs no system call; a guest whose last turn was long, and may
//! thus have been interrupted by other threads, by the thread's own CPU clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::host::Host;

/// How much unused quota a container may save up: the period of the kernel's CFS quota, for the same burst.
const BURST: Duration = Duration::from_millis(100);

/// A turn that is likely to share its thread's core with others before it ends. An HTTP request is far shorter.
const LONG_TURN: Duration = Duration::from_millis(1);

/// A container's CPU account, shared by its instances.
pub(super) struct Cpu {
    used: AtomicU64,
    limit: Option<Quota>,
}

struct Quota {
    millicores: u32,
    origin: Instant,
    /// When the next turn is paid for, in nanoseconds since `origin`.
    ready_at: AtomicU64,
}

impl Cpu {
    /// An account with nothing used; without a limit it only counts.
    pub(super) fn new(millicores: Option<u32>) -> Self {
        let limit = millicores.map(|millicores| Quota {
            millicores: millicores.max(1),
            origin: Instant::now(),
            ready_at: AtomicU64::new(0),
        });
        Self { used: AtomicU64::new(0), limit }
    }

    /// What was used so far.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Relaxed))
    }

    /// When the next turn may begin, if that is not now.
    fn not_before(&self) -> Option<Instant> {
        let quota = self.limit.as_ref()?;
        let ready = quota.origin + Duration::from_nanos(quota.ready_at.load(Relaxed));
        (ready > Instant::now()).then_some(ready)
    }

    /// Enters a turn's CPU time into the account.
    fn charge(&self, nanos: u64) {
        self.used.fetch_add(nanos, Relaxed);
        let Some(quota) = &self.limit else { return };
        let now = nanos_of(quota.origin.elapsed());
        let step = |ready_at| Some(ready_after(ready_at, now, nanos, quota.millicores));
        // The closure always answers, so the update always happens.
        let _ = quota.ready_at.fetch_update(Relaxed, Relaxed, step);
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

/// The CPU time of the calling thread.
fn thread_cpu() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds * 1_000_000_000 + nanos
}

/// A guest's future, each of whose turns is measured, paid for, and ticked.
pub(super) struct Metered<T> {
    guest: Pin<Box<dyn Future<Output = T> + Send>>,
    cpu: Arc<Cpu>,
    host: Arc<Host>,
    pause: Option<Pin<Box<Sleep>>>,
    last_was_long: bool,
}

impl<T> Metered<T> {
    /// Meters `guest` on the account `cpu`.
    pub(super) fn new(guest: impl Future<Output = T> + Send + 'static, cpu: Arc<Cpu>, host: Arc<Host>) -> Self {
        Self { guest: Box::pin(guest), cpu, host, pause: None, last_was_long: false }
    }
}

impl<T> Future for Metered<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        while let Some(instant) = this.cpu.not_before() {
            let pause = this.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(instant)));
            pause.as_mut().reset(instant);
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        let _turn = this.host.ticker().turn();
        let cpu_before = this.last_was_long.then(thread_cpu);
        let start = std::time::Instant::now();
        let poll = this.guest.as_mut().poll(context);
        let elapsed = start.elapsed();
        this.last_was_long = elapsed >= LONG_TURN;
        this.cpu.charge(cpu_before.map_or_else(|| nanos_of(elapsed), |before| thread_cpu().saturating_sub(before)));
        poll
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
        assert_eq!(ready_after(0, 5000 * MS, 10 * MS, 1000), 4910 * MS);
    }

    #[test]
    fn an_overdraft_never_overflows() {
        assert_eq!(ready_after(u64::MAX, 0, u64::MAX, 1), u64::MAX);
    }
}
