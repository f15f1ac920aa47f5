//! From answers to an opinion: thresholds, counted as the kubelet counts them.
//!
//! A pure state machine; whoever asks the container reports each answer to it.

use k8s_openapi::api::core::v1::Probe as Spec;

/// Answers in a row that it takes, where the spec names no number.
const SUCCESSES_DEFAULT: u32 = 1;

/// Failures in a row that it takes, where the spec names no number.
const FAILURES_DEFAULT: u32 = 3;

/// What the answers so far amount to.
#[derive(Debug)]
pub(super) struct Opinion {
    successes: u32,
    failures: u32,
    last: Option<bool>,
    streak: u32,
    healthy: Option<bool>,
}

impl Opinion {
    /// No opinion yet, with the thresholds of `spec`.
    pub(super) fn new(spec: &Spec) -> Self {
        let threshold =
            |n: Option<i32>, default| n.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(default);
        Self {
            successes: threshold(spec.success_threshold, SUCCESSES_DEFAULT),
            failures: threshold(spec.failure_threshold, FAILURES_DEFAULT),
            last: None,
            streak: 0,
            healthy: None,
        }
    }

    /// Hears one more answer. Returns whether the container is healthy, if the opinion on that has changed.
    pub(super) fn hear(&mut self, healthy: bool) -> Option<bool> {
        self.streak = if self.last == Some(healthy) { self.streak.saturating_add(1) } else { 1 };
        self.last = Some(healthy);
        let enough = if healthy { self.successes } else { self.failures };
        if self.streak < enough || self.healthy == Some(healthy) {
            return None;
        }
        self.healthy = Some(healthy);
        Some(healthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinions(successes: i32, failures: i32, answers: &str) -> String {
        let spec = Spec { success_threshold: Some(successes), failure_threshold: Some(failures), ..Spec::default() };
        let mut opinion = Opinion::new(&spec);
        let hear = |answer| match opinion.hear(answer == '+') {
            None => '.',
            Some(true) => 'H',
            Some(false) => 'U',
        };
        answers.chars().map(hear).collect()
    }

    #[test]
    fn as_many_answers_in_a_row_as_the_threshold_make_an_opinion() {
        assert_eq!(opinions(1, 3, "--+---+"), "..H..UH");
        assert_eq!(opinions(2, 1, "+-++-"), ".U.HU");
    }

    #[test]
    fn an_opinion_is_told_once() {
        assert_eq!(opinions(1, 2, "+++-+-----"), "H.....U...");
    }

    #[test]
    fn thresholds_that_are_missing_or_senseless_are_upstreams_defaults() {
        assert_eq!(opinions(0, -1, "+---"), "H..U");
    }
}
