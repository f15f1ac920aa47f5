//! `wasi:clocks` and `wasi:io/poll`: time that passes, and waiting for it.

use std::time::{Duration, Instant, SystemTime};

use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::io::poll::poll;

use crate::{Check, Failure, holds, same};

pub const CHECKS: &[Check] = &[
    ("the clocks go forward", forward),
    ("a pause is as long as asked", pause),
    ("of several waits the first that is over is told", first),
];

fn forward() -> Result<(), Failure> {
    holds(SystemTime::now() > SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200), "it is after 2023")?;
    let (one, other) = (monotonic_clock::now(), monotonic_clock::now());
    holds(one <= other, "the monotonic clock never goes back")?;
    holds(monotonic_clock::resolution() > 0, "the monotonic clock has a resolution")?;
    holds(wall_clock::resolution().nanoseconds > 0, "the wall clock has a resolution")
}

fn pause() -> Result<(), Failure> {
    let began = Instant::now();
    monotonic_clock::subscribe_duration(20_000_000).block();
    holds(began.elapsed() >= Duration::from_millis(20), "20 ms have passed")?;
    monotonic_clock::subscribe_instant(monotonic_clock::now() + 10_000_000).block();
    holds(began.elapsed() >= Duration::from_millis(30), "30 ms have passed")
}

fn first() -> Result<(), Failure> {
    let hour = monotonic_clock::subscribe_duration(3_600_000_000_000);
    let soon = monotonic_clock::subscribe_duration(1_000_000);
    same(hour.ready(), false)?;
    same(poll(&[&hour, &soon]), vec![1])
}
