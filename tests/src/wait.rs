//! Waiting for a condition: the one place of the tests where time passes.
//!
//! Invariant: every wait is bounded, and when it was in vain it says what was seen instead.

use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes on a slow machine that also builds; a test that passes never waits for it.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(25);

/// Asks until `probe` has an answer, and returns it. What the probe says instead is shown if it never has one.
#[track_caller]
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    match within(DEADLINE, probe) {
        Ok(found) => found,
        Err(last) => panic!("never came: {what}; at last: {last}"),
    }
}

/// Asks until `probe` has an answer, for so long; then returns what it said last.
pub fn within<T>(limit: Duration, mut probe: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(found) => return Ok(found),
            Err(seen) if start.elapsed() > limit => return Err(seen),
            // Not a sleep for its own sake: an early return only means one look more.
            Err(_) => thread::park_timeout(PERIOD),
        }
    }
}
