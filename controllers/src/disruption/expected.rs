//! How many pods a budget expects, and how many of them must be healthy.
//!
//! Source: `getExpectedPodCount` in upstream's `disruption.go`.

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What a budget's numbers are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basis {
    /// The pods that there are.
    Pods,
    /// The pods that their owners want.
    Scale,
}

/// How many pods there should be, and how many of them healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wanted {
    pub(super) expected: i32,
    pub(super) healthy: i32,
}

/// A count that is neither a number nor a percentage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid value for IntOrString: invalid type: string is not a percentage")]
pub(super) struct InvalidCount;

/// What has to be counted for this budget.
pub(super) fn basis(budget: &PodDisruptionBudget) -> Basis {
    let Some(spec) = &budget.spec else { return Basis::Pods };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(_), _) | (None, Some(IntOrString::String(_))) => Basis::Scale,
        (None, Some(IntOrString::Int(_)) | None) => Basis::Pods,
    }
}

/// What the budget wants of so many expected pods.
pub(super) fn wanted(budget: &PodDisruptionBudget, expected: i32) -> Result<Wanted, InvalidCount> {
    let Some(spec) = &budget.spec else { return Ok(Wanted::default()) };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let healthy = expected.saturating_sub(scaled(most, expected)?).max(0);
            Ok(Wanted { expected, healthy })
        }
        (None, Some(least)) => Ok(Wanted { expected, healthy: scaled(least, expected)? }),
        (None, None) => Ok(Wanted::default()),
    }
}

/// A count, or a percentage of `total`, rounded up.
fn scaled(value: &IntOrString, total: i32) -> Result<i32, InvalidCount> {
    match value {
        IntOrString::Int(number) => Ok(*number),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|digits| digits.parse().ok()).ok_or(InvalidCount)?;
            let hundredfold = i64::from(total).saturating_mul(percent);
            Ok(i32::try_from(hundredfold.saturating_add(99).div_euclid(100)).unwrap_or(i32::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn percentages_are_of_what_the_owners_want_and_rounded_up() {
        let check = |spec: Value, count: i32, on: Basis, expected: i32, healthy: i32| {
            let budget: PodDisruptionBudget = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            assert_eq!(basis(&budget), on, "{spec}");
            assert_eq!(wanted(&budget, count), Ok(Wanted { expected, healthy }), "{spec}");
        };
        check(json!({"minAvailable": 2}), 5, Basis::Pods, 5, 2);
        check(json!({"minAvailable": "50%"}), 5, Basis::Scale, 5, 3);
        check(json!({"minAvailable": "100%"}), 5, Basis::Scale, 5, 5);
        check(json!({"maxUnavailable": 1}), 5, Basis::Scale, 5, 4);
        check(json!({"maxUnavailable": "25%"}), 5, Basis::Scale, 5, 3);
        check(json!({"maxUnavailable": 9}), 5, Basis::Scale, 5, 0);
        check(json!({}), 5, Basis::Pods, 0, 0);
        let odd: PodDisruptionBudget =
            serde_json::from_value(json!({"metadata": {}, "spec": {"minAvailable": "x"}})).unwrap();
        assert_eq!(wanted(&odd, 1), Err(InvalidCount));
    }
}
