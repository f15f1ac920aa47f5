//! The wall clock: the only place that asks the system for the time of day.
//!
//! Decisions never call it; they are given `now`. Delays use `tokio::time`, which tests can pause.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// The time of day, to the nanosecond.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// `now` as Kubernetes writes it in objects: whole seconds, UTC.
#[must_use]
pub fn now_time() -> Time {
    Time(whole_seconds(now()))
}

/// `now` as Kubernetes writes it in Leases and Events: microseconds, UTC.
#[must_use]
pub fn now_micro_time() -> MicroTime {
    MicroTime(now())
}

/// `t` without its fraction of a second, as `metav1.Time` has it.
#[must_use]
pub fn whole_seconds(t: Timestamp) -> Timestamp {
    Timestamp::from_second(t.as_second()).unwrap_or(t)
}
