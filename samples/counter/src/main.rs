//! Counter: writes `tick N` once a second, so that there is always a log to follow.
//!
//! Invariant: tick N comes N seconds after the start, however long a write took; lateness never adds up.

use std::io::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_secs(1);

fn main() -> io::Result<()> {
    let mut stdout = io::stdout();
    let mut due = Instant::now();
    for tick in 1_u64.. {
        due += PERIOD;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        writeln!(stdout, "tick {tick}")?;
        stdout.flush()?;
    }
    Ok(())
}
