//! When something last happened on a connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How long a session may carry nothing: the kubelet's `streamingConnectionIdleTimeout`. Pings do not count.
const IDLE_MAX: Duration = Duration::from_secs(4 * 60 * 60);

/// Notes what happens, and tells when nothing has for too long.
#[derive(Debug)]
pub(super) struct Idle {
    begun: Instant,
    /// In milliseconds since then.
    touched: AtomicU64,
}

impl Default for Idle {
    fn default() -> Self {
        Self { begun: Instant::now(), touched: AtomicU64::new(0) }
    }
}

impl Idle {
    pub(super) fn touch(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.touched.store(now, Ordering::Relaxed);
    }

    /// Returns when nothing has happened for too long.
    pub(super) async fn run_out(&self) {
        loop {
            let until = self.begun + Duration::from_millis(self.touched.load(Ordering::Relaxed)) + IDLE_MAX;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_puts_the_end_off() {
        let idle = Idle::default();
        let begun = Instant::now();
        let half = async {
            tokio::time::advance(IDLE_MAX / 2).await;
            idle.touch();
        };
        tokio::join!(idle.run_out(), half);
        assert_eq!(begun.elapsed(), IDLE_MAX + IDLE_MAX / 2);
    }
}
