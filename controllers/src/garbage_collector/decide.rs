//! What becomes of an object, given the state of its owners.
//!
//! Source: `attemptToDeleteItem` in upstream's `garbagecollector.go`.

use coracle_api::wellknown::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;

use super::graph::Dependent;

/// What a live read says about an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// It exists, or nobody can say that it does not.
    Solid,
    /// It does not exist.
    Absent,
    /// It is being deleted and waits until its dependents are gone.
    WaitsForDependents,
}

/// What to do with the object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Decision {
    /// Leave it.
    Keep,
    /// It has an owner to live for: take these others (by UID) off its list.
    CutLoose(Vec<String>),
    /// Delete it.
    Delete {
        policy: PropagationPolicy,
        /// First no longer block its owners: they wait for each other in a circle.
        unblock_owners: bool,
    },
}

/// Decides on an object that is not being deleted yet.
pub(super) fn decide(meta: &ObjectMeta, owners: &[(OwnerReference, OwnerState)], dependents: &[Dependent]) -> Decision {
    if owners.is_empty() {
        return Decision::Keep;
    }
    let is = |wanted: OwnerState| owners.iter().filter(move |(_, state)| *state == wanted);
    if is(OwnerState::Solid).next().is_some() {
        let gone = is(OwnerState::Absent).chain(is(OwnerState::WaitsForDependents));
        let gone: Vec<_> = gone.map(|(owner, _)| owner.uid.clone()).collect();
        return if gone.is_empty() { Decision::Keep } else { Decision::CutLoose(gone) };
    }
    if is(OwnerState::WaitsForDependents).next().is_some() && !dependents.is_empty() {
        let unblock_owners = dependents.iter().any(|dependent| dependent.waits_for_dependents);
        return Decision::Delete { policy: PropagationPolicy::Foreground, unblock_owners };
    }
    let has = |finalizer: &str| meta.finalizers.iter().flatten().any(|f| f == finalizer);
    let policy = if has(FINALIZER_ORPHAN) {
        PropagationPolicy::Orphan
    } else if has(FINALIZER_FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    };
    Decision::Delete { policy, unblock_owners: false }
}

#[cfg(test)]
mod tests {
    use OwnerState::{Absent, Solid, WaitsForDependents};

    use super::*;
    use crate::garbage_collector::graph::Identity;

    fn delete(policy: PropagationPolicy, unblock_owners: bool) -> Decision {
        Decision::Delete { policy, unblock_owners }
    }

    fn dependent(waits_for_dependents: bool) -> Dependent {
        Dependent { uid: "d".into(), identity: Identity::default(), waits_for_dependents }
    }

    #[test]
    fn an_object_lives_as_long_as_one_owner_does() {
        let background = || delete(PropagationPolicy::Background, false);
        let foreground = |circle| delete(PropagationPolicy::Foreground, circle);
        for (states, finalizers, dependents, expected) in [
            (vec![], vec![], vec![], Decision::Keep),
            (vec![Solid], vec![], vec![], Decision::Keep),
            (vec![Absent], vec![], vec![], background()),
            (vec![Absent], vec![], vec![dependent(false)], background()),
            (vec![Absent], vec!["orphan"], vec![], delete(PropagationPolicy::Orphan, false)),
            (vec![Absent], vec!["foregroundDeletion"], vec![], foreground(false)),
            (vec![Solid, Absent, WaitsForDependents], vec![], vec![], Decision::CutLoose(vec!["1".into(), "2".into()])),
            (vec![WaitsForDependents], vec![], vec![], background()),
            (vec![WaitsForDependents], vec![], vec![dependent(false)], foreground(false)),
            (vec![WaitsForDependents], vec![], vec![dependent(true)], foreground(true)),
        ] {
            let owner = |uid: usize| OwnerReference { uid: uid.to_string(), ..OwnerReference::default() };
            let owners: Vec<_> = states.iter().enumerate().map(|(i, state)| (owner(i), *state)).collect();
            let finalizers = Some(finalizers.into_iter().map(str::to_owned).collect());
            let meta = ObjectMeta { finalizers, ..ObjectMeta::default() };
            assert_eq!(decide(&meta, &owners, &dependents), expected, "{states:?}");
        }
    }
}
