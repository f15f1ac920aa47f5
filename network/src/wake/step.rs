//! What is to be done about a target: nothing, wake it, or let it sleep.
//!
//! A pure function of who uses it and how many replicas it has; it reads no clock and writes nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::sleeper::Uses;

/// A target, as one sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// How many replicas are asked for; nothing if it is not there.
    pub(super) replicas: Option<i32>,
    /// Since when it has had some, or has been followed.
    pub(super) awake_since: Instant,
    /// To how many it wakes.
    pub(super) wakes_to: i32,
    /// How long nobody must have used it.
    pub(super) idle_after: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Scale it up to so many.
    Wake(i32),
    /// Scale it to zero; it had so many.
    Sleep(i32),
    /// Nothing before this, if nothing changes.
    Rest(Option<Instant>),
}

/// The next step.
pub(super) fn step(seen: &Seen, uses: &Uses, now: Instant) -> Step {
    match seen.replicas {
        None => Step::Rest(None),
        Some(count) if count <= 0 => {
            if uses.waiting > 0 {
                Step::Wake(seen.wakes_to)
            } else {
                Step::Rest(None)
            }
        }
        Some(_) if uses.in_use > 0 => Step::Rest(None),
        Some(count) => match uses.since.max(seen.awake_since).checked_add(seen.idle_after) {
            Some(due) if due <= now => Step::Sleep(count),
            due => Step::Rest(due),
        },
    }
}

/// Several Services of one target, taken together.
pub(super) fn together(all: impl Iterator<Item = Uses>) -> Option<Uses> {
    all.reduce(|a, b| Uses {
        in_use: a.in_use + b.in_use,
        waiting: a.waiting + b.waiting,
        late: a.late + b.late,
        since: a.since.max(b.since),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_wakes_when_somebody_waits_and_sleeps_when_nobody_has_used_it_for_so_long() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let check = |replicas: Option<i32>, in_use: usize, waiting: usize, at: u64, expected: Step| {
            let seen = Seen { replicas, awake_since: start + minute, wakes_to: 3, idle_after: minute };
            let uses = Uses { in_use, waiting, late: 0, since: start + minute / 2 };
            assert_eq!(step(&seen, &uses, start + Duration::from_secs(at)), expected, "{replicas:?} at {at}");
        };
        check(None, 1, 1, 0, Step::Rest(None));
        check(Some(0), 0, 0, 1000, Step::Rest(None));
        check(Some(0), 1, 0, 0, Step::Rest(None));
        check(Some(0), 1, 1, 0, Step::Wake(3));
        check(Some(2), 1, 1, 1000, Step::Rest(None));
        check(Some(2), 0, 0, 119, Step::Rest(Some(start + minute * 2)));
        check(Some(2), 0, 0, 120, Step::Sleep(2));
    }

    #[test]
    fn an_idle_time_beyond_all_clocks_never_ends() {
        let now = Instant::now();
        let seen = Seen { replicas: Some(1), awake_since: now, wakes_to: 1, idle_after: Duration::MAX };
        assert_eq!(step(&seen, &Uses { in_use: 0, waiting: 0, late: 0, since: now }, now), Step::Rest(None));
    }

    #[test]
    fn a_target_is_used_while_any_of_its_services_is() {
        let now = Instant::now();
        let idle = Uses { in_use: 0, waiting: 0, late: 1, since: now + Duration::from_secs(1) };
        let busy = Uses { in_use: 2, waiting: 1, late: 2, since: now };
        let both = Uses { in_use: 2, waiting: 1, late: 3, since: idle.since };
        assert_eq!(together([idle, busy].into_iter()), Some(both));
        assert_eq!(together([].into_iter()), None);
    }
}
