//! Which volumes are nearly full, and what their owners are told before it is too late. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use super::limits::volume_limit;
use crate::stats::summary::PodDisk;
use crate::stats::usage::bytes_text;

/// From here on a volume is nearly full: late enough to be rare, early enough to do something.
const NEARLY_PERCENT: u64 = 80;

/// Why an event says so.
pub(super) const REASON: &str = "VolumeNearlyFull";

/// The volumes that have been told of, by the uids of their pods. Told again only after there was room meanwhile.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeSet<(String, String)>);

impl Told {
    /// What is to be said of the pod's volumes now.
    pub(super) fn news(&mut self, pod: &Pod, disk: &PodDisk) -> Vec<String> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let nearly = nearly_full(pod, disk);
        self.0.retain(|(of, volume)| *of != uid || nearly.iter().any(|(name, _)| name == volume));
        let new = nearly.into_iter().filter(|(name, _)| self.0.insert((uid.clone(), name.clone())));
        new.map(|(_, message)| message).collect()
    }

    /// Forgets all pods but these.
    pub(super) fn keep<'a>(&mut self, uids: impl Iterator<Item = &'a String>) {
        let uids: BTreeSet<&String> = uids.collect();
        self.0.retain(|(uid, _)| uids.contains(uid));
    }
}

/// The volumes that are nearly full, and what is said of each.
fn nearly_full(pod: &Pod, disk: &PodDisk) -> Vec<(String, String)> {
    let percent = |used: u64, limit: u64| used.saturating_mul(100).checked_div(limit).filter(|p| *p >= NEARLY_PERCENT);
    let Some(spec) = &pod.spec else { return Vec::new() };
    let own = disk.volumes.iter().filter_map(|(name, used)| {
        let limit = volume_limit(spec, name)?;
        let percent = percent(used.bytes, limit.bytes)?;
        let (used, limit) = (bytes_text(used.bytes), limit.text);
        let message = format!(
            "volume {name:?} is {percent}% full: {used} of {limit}. Beyond its limit the pod is evicted; \
             delete what is not needed, or raise emptyDir.sizeLimit"
        );
        Some((name.clone(), message))
    });
    let claims = disk.claims.iter().filter_map(|(name, claim)| {
        let capacity = claim.capacity.filter(|c| *c > 0)?;
        let percent = percent(claim.used.bytes, capacity)?;
        let (used, of) = (bytes_text(claim.used.bytes), bytes_text(capacity));
        let message = format!(
            "volume {name:?} (claim {:?}) is {percent}% full: {used} of {of}. Nothing stops it there, but the disk \
             is shared by all pods of the node; delete what is not needed, or ask for more storage in the claim",
            claim.claim
        );
        Some((name.clone(), message))
    });
    own.chain(claims).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::stats::directory::DiskUsage;
    use crate::stats::summary::ClaimDisk;

    const MIB: u64 = 1 << 20;

    fn disk(own: u64, claim: u64) -> PodDisk {
        let usage = |mib: u64| DiskUsage { bytes: mib * MIB, inodes: 1 };
        let claim = ClaimDisk { claim: "c".to_owned(), used: usage(claim), capacity: Some(100 * MIB) };
        PodDisk {
            volumes: BTreeMap::from([("v".to_owned(), usage(own))]),
            claims: BTreeMap::from([("data".to_owned(), claim)]),
            ..PodDisk::default()
        }
    }

    #[test]
    fn a_volume_that_fills_up_is_told_of_once_until_there_is_room_again() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {
            "containers": [], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "10Mi"}}]}}))
        .unwrap();
        let mut told = Told::default();
        assert_eq!(told.news(&pod, &disk(7, 79)), Vec::<String>::new());
        let news = told.news(&pod, &disk(8, 120));
        assert!(news[0].starts_with(r#"volume "v" is 80% full: 8Mi of 10Mi. "#), "{news:?}");
        assert!(news[1].starts_with(r#"volume "data" (claim "c") is 120% full: 120Mi of 100Mi. "#), "{news:?}");
        assert!(told.news(&pod, &disk(9, 130)).is_empty());
        assert!(told.news(&pod, &disk(1, 130)).is_empty());
        assert_eq!(told.news(&pod, &disk(9, 130)).len(), 1);
        told.keep([].into_iter());
        assert_eq!(told.news(&pod, &disk(9, 130)).len(), 2);
    }
}
