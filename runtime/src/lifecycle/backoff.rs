//! How long to wait before trying again, as the kubelet waits.

use std::time::Duration;

use jiff::Timestamp;

/// The first wait before a crashed container is started again.
pub(super) const CRASH_LOOP_FIRST: Duration = Duration::from_secs(10);
/// The longest wait before a crashed container is started again, and before a missing image is looked for again.
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A container that ran this long is no longer in a crash loop.
pub(super) const CRASH_LOOP_FORGOTTEN: Duration = Duration::from_secs(600);
/// The first wait before a container that could not be started is tried again. What it waits for usually says so
/// when it arrives; this is for the times when it cannot.
const HOLD_FIRST: Duration = Duration::from_secs(10);
/// How long a failed pull is shown as such, before it is shown that the next one is waited for.
pub(super) const BACKOFF_TOLD_AFTER: Duration = Duration::from_secs(5);
/// The first wait before volumes that could not be made are tried again.
const VOLUMES_FIRST: Duration = Duration::from_millis(500);
/// The longest wait before volumes that could not be made are tried again (the kubelet's).
const VOLUMES_MAX: Duration = Duration::from_secs(122);

/// How long a held container waits after so many tries.
pub(super) fn of_holds(tries: u32) -> Duration {
    doubled(HOLD_FIRST, tries, BACKOFF_MAX)
}

/// How long volumes wait after so many tries.
pub(super) fn of_volumes(tries: u32) -> Duration {
    doubled(VOLUMES_FIRST, tries, VOLUMES_MAX)
}

fn doubled(first: Duration, times: u32, max: Duration) -> Duration {
    2_u32.checked_pow(times).and_then(|factor| first.checked_mul(factor)).map_or(max, |d| d.min(max))
}

/// `start + wait`, at the end of time if it lies beyond.
pub(super) fn after(start: Timestamp, wait: Duration) -> Timestamp {
    start.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// How Go prints a duration of whole seconds: `10s`, `1m20s`, `5m0s`.
pub(super) fn in_words(wait: Duration) -> String {
    let seconds = wait.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes() {
        let waits: Vec<String> = (0..7).map(|n| in_words(of_holds(n))).collect();
        assert_eq!(waits, ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]);
        assert_eq!(of_holds(u32::MAX), BACKOFF_MAX);
    }
}
