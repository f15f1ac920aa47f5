//! Earlier readings, against which a rate is measured. Pure: it is told what time it is.
//!
//! Invariant: it holds no more than [`READINGS_MAX`] readings, each half as old as who asks may wait, or it would grow
//! with the number of questions.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// A rate is told of about so long, as metrics-server does: long enough to be calm, short enough to follow a load.
const WINDOW: Duration = Duration::from_secs(15);

/// Readings closer together than this tell more of the moment than of the load.
const WINDOW_MIN: Duration = Duration::from_millis(900);

/// A reading older than this says nothing of now.
const AGE_MAX: Duration = Duration::from_secs(60);

/// How far readings that are kept are apart.
const SPACING: Duration = Duration::from_secs(5);

/// How many readings are kept: enough for a window at any time, however often somebody asks.
const READINGS_MAX: usize = 5;

/// All CPU counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) at: Instant,
    /// Of the machine.
    pub(crate) node: Duration,
    /// Of this process.
    pub(crate) process: Duration,
    /// Of each run of a container.
    pub(crate) containers: BTreeMap<u64, Duration>,
}

/// The readings that are kept, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct History(VecDeque<Reading>);

/// What there is to measure a rate against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing yet.
    Nothing,
    /// An earlier reading.
    Reading(Reading),
}

impl History {
    /// The reading against which one at `now` is measured: the oldest within the window, else the newest before it.
    pub(crate) fn before(&self, now: Instant) -> Before {
        let age = |reading: &Reading| now.saturating_duration_since(reading.at);
        let usable = || self.0.iter().filter(|r| (WINDOW_MIN..=AGE_MAX).contains(&age(r)));
        let found = usable().find(|r| age(r) <= WINDOW).or_else(|| usable().next_back());
        found.cloned().map_or(Before::Nothing, Before::Reading)
    }

    /// Keeps a reading, unless one that is nearly as new is kept already.
    pub(crate) fn push(&mut self, reading: Reading) {
        let near = |last: &Reading| reading.at.saturating_duration_since(last.at) < SPACING;
        if self.0.back().is_some_and(near) {
            return;
        }
        self.0.retain(|r| reading.at.saturating_duration_since(r.at) <= AGE_MAX);
        while self.0.len() >= READINGS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How old the reading is against which a rate is measured at each of these seconds, if somebody asks at each.
    fn check(seconds: &[u64]) -> Vec<Option<u64>> {
        let start = Instant::now();
        let mut history = History::default();
        seconds
            .iter()
            .map(|second| {
                let now = start + Duration::from_secs(*second);
                let before = match history.before(now) {
                    Before::Nothing => None,
                    Before::Reading(r) => Some((now - r.at).as_secs()),
                };
                let nothing = Duration::ZERO;
                history.push(Reading { at: now, node: nothing, process: nothing, containers: BTreeMap::new() });
                assert!(history.0.len() <= READINGS_MAX);
                before
            })
            .collect()
    }

    #[test]
    fn a_rate_is_measured_over_the_window_however_often_somebody_asks() {
        assert_eq!(check(&[0, 1, 2, 4]), [None, Some(1), Some(2), Some(4)]);
        assert_eq!(check(&[0, 15, 30, 45]), [None, Some(15), Some(15), Some(15)]);
        let often: Vec<u64> = (0..40).collect();
        assert!(check(&often).iter().skip(20).all(|age| age.is_some_and(|age| (10..=15).contains(&age))));
    }

    #[test]
    fn a_rate_over_a_minute_is_the_longest() {
        assert_eq!(check(&[0, 60, 121]), [None, Some(60), None]);
    }
}
