//! Which pods of this node use which claims: for those that want one alone, and for who measures them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::claims::Claimed;

/// A claim that only one pod may use, and that another uses.
#[derive(Debug, thiserror::Error)]
#[error(
    "MountVolume.SetUp failed for volume {0:?} : volume uses the ReadWriteOncePod access mode and is already in use by another pod"
)]
pub(crate) struct TakenError(String);

/// The claims of all pods, by the uids of the pods.
#[derive(Debug, Clone, Default)]
pub(crate) struct InUse(Arc<Mutex<BTreeMap<String, Pod>>>);

#[derive(Debug)]
struct Pod {
    namespace: String,
    claims: Vec<Claimed>,
}

impl InUse {
    /// The pod uses these claims from now on, and no others.
    ///
    /// # Errors
    /// [`TakenError`] if one is used by another pod and either of them wants it alone; then nothing changes.
    pub(crate) fn take(&self, uid: &str, namespace: &str, claims: Vec<Claimed>) -> Result<(), TakenError> {
        let mut all = self.lock();
        let others = || all.iter().filter(|(other, pod)| *other != uid && pod.namespace == namespace);
        let taken = |mine: &&Claimed| {
            let mut same = others().flat_map(|(_, pod)| &pod.claims).filter(|theirs| theirs.claim == mine.claim);
            same.any(|theirs| mine.alone || theirs.alone)
        };
        if let Some(claim) = claims.iter().find(taken) {
            return Err(TakenError(claim.persistent.clone()));
        }
        if claims.is_empty() {
            all.remove(uid);
        } else {
            all.insert(uid.to_owned(), Pod { namespace: namespace.to_owned(), claims });
        }
        Ok(())
    }

    /// The pod uses none any more. Returns those that it had alone, for which others may wait.
    pub(crate) fn release(&self, uid: &str) -> Vec<String> {
        let claims = self.lock().remove(uid).map(|pod| pod.claims).unwrap_or_default();
        claims.into_iter().filter(|claim| claim.alone).map(|claim| claim.claim).collect()
    }

    /// What the pod uses.
    pub(crate) fn of(&self, uid: &str) -> Vec<Claimed> {
        self.lock().get(uid).map(|pod| pod.claims.clone()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pod>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::place::{Keeps, Place};
    use super::*;
    use coracle_wasm::Access;

    fn claim(name: &str, alone: bool) -> Vec<Claimed> {
        let place = Place {
            root: PathBuf::from("/v"),
            beneath: PathBuf::new(),
            access: Access::ReadWrite,
            keeps: Keeps::Persistent,
        };
        let (volume, persistent) = ("v".to_owned(), format!("pv-{name}"));
        vec![Claimed { volume, claim: name.to_owned(), persistent, capacity: None, alone, place }]
    }

    #[test]
    fn a_claim_for_one_pod_alone_is_given_to_one_at_a_time() {
        let all = InUse::default();
        all.take("a", "ns", claim("c", true)).unwrap();
        all.take("a", "ns", claim("c", true)).unwrap();
        all.take("b", "other", claim("c", true)).unwrap();
        let refused = all.take("b", "ns", claim("c", true)).unwrap_err().to_string();
        assert!(refused.contains(r#""pv-c""#) && refused.ends_with("is already in use by another pod"), "{refused}");
        assert_eq!(all.release("a"), ["c"]);
        all.take("b", "ns", claim("c", true)).unwrap();
    }

    #[test]
    fn other_claims_are_shared() {
        let all = InUse::default();
        all.take("a", "ns", claim("c", false)).unwrap();
        all.take("b", "ns", claim("c", false)).unwrap();
        assert_eq!((all.of("a").len(), all.release("a").len(), all.of("a").len()), (1, 0, 0));
    }
}
