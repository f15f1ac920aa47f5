//! The clock by which guests are made to share: it raises the engine's epoch every few milliseconds while a guest runs.
//!
//! Invariant: while a guest is on a thread, the epoch rises; while none is, the thread sleeps and the process
//! uses no CPU. A guest that waits (for a socket, for the time of day) is not on a thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

use super::turns::Turns;

/// How often a running guest looks whether it is to yield: what a container overdraws its quota by at a time, so short
/// beside the quota of a second, and long beside the look (100 ns).
const TICK: Duration = Duration::from_millis(2);

/// Ticks without any guest after which the thread goes to sleep: waking it costs more than a few ticks.
const QUIET_TICKS: u32 = 15;

/// Raises the epoch while guests run.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    /// Guests that are on a thread now.
    running: AtomicUsize,
    /// How often a guest came onto a thread, ever: tells a quiet tick from one between two turns.
    turns: AtomicU64,
    asleep: AtomicBool,
    ended: AtomicBool,
}

/// A guest is on a thread as long as this lives.
pub(super) struct Turn<'a>(&'a Shared);

impl Ticker {
    /// Starts the thread, asleep.
    pub(super) fn start(engine: &Engine, turns: Arc<Turns>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (theirs, engine) = (shared.clone(), engine.weak());
        let handle = thread::Builder::new().name("guest-ticker".into()).spawn(move || {
            while !theirs.ended.load(SeqCst) {
                theirs.wait_for_a_turn();
                theirs.tick_while_busy(|| match engine.upgrade() {
                    Some(engine) => {
                        engine.increment_epoch();
                        turns.tick();
                    }
                    None => theirs.ended.store(true, SeqCst),
                });
            }
        })?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// A guest comes onto this thread.
    pub(super) fn turn(&self) -> Turn<'_> {
        self.shared.running.fetch_add(1, SeqCst);
        self.shared.turns.fetch_add(1, SeqCst);
        if self.shared.asleep.load(SeqCst) && self.shared.asleep.swap(false, SeqCst) {
            self.thread.unpark();
        }
        Turn(&self.shared)
    }

    #[cfg(test)]
    pub(super) fn is_asleep(&self) -> bool {
        self.shared.asleep.load(SeqCst)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Shared {
    /// Sleeps until a guest comes. The flag is raised before the last look, so that no turn is missed between them.
    fn wait_for_a_turn(&self) {
        self.asleep.store(true, SeqCst);
        while self.running.load(SeqCst) == 0 && self.asleep.load(SeqCst) && !self.ended.load(SeqCst) {
            thread::park();
        }
        self.asleep.store(false, SeqCst);
    }

    /// Ticks until some ticks in a row saw no guest.
    fn tick_while_busy(&self, tick: impl Fn()) {
        let (mut quiet, mut seen) = (0, self.turns.load(SeqCst));
        while quiet < QUIET_TICKS && !self.ended.load(SeqCst) {
            thread::park_timeout(TICK);
            tick();
            let turns = self.turns.load(SeqCst);
            quiet = if turns == seen && self.running.load(SeqCst) == 0 { quiet + 1 } else { 0 };
            seen = turns;
        }
    }
}
