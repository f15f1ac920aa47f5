//! How many pods to create or delete now.

/// The most pods that one look at a ReplicaSet creates or deletes (upstream's `BurstReplicas`).
pub(super) const BURST_MAX: usize = 500;

/// What to do about the number of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is right.
    Keep,
    /// Create so many.
    Create(usize),
    /// Delete so many.
    Delete(usize),
}

/// Compares the active pods with what is wanted.
pub(super) fn plan(active: usize, wanted: i32) -> Plan {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    match active.cmp(&wanted) {
        std::cmp::Ordering::Equal => Plan::Keep,
        std::cmp::Ordering::Less => Plan::Create((wanted - active).min(BURST_MAX)),
        std::cmp::Ordering::Greater => Plan::Delete((active - wanted).min(BURST_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn repeating_the_plan_reaches_the_wanted_number(active in 0..5000_usize, wanted in 0..5000_i32) {
            let mut now = active;
            for _ in 0..20 {
                match plan(now, wanted) {
                    Plan::Keep => break,
                    Plan::Create(n) => { prop_assert!(n <= BURST_MAX); now += n }
                    Plan::Delete(n) => { prop_assert!(n <= BURST_MAX); now -= n }
                }
            }
            prop_assert_eq!(i32::try_from(now).unwrap(), wanted);
        }
    }
}
