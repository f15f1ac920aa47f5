//! The volume behind a claim, as a pod of this node mounts it: what the claim, its volume and the node must be like.
//!
//! Pure but for one look at the directory. The binder and the provisioner are elsewhere; here is only asked whether
//! they have done their work, in the kubelet's words.

use std::path::{Path, PathBuf};

use coracle_api::quantity;
use coracle_api::storage::{READ_WRITE_ONCE_POD, claim_phase, is_for_pod, not_for_pod, volume_name};
use coracle_api::{node_selector, storage};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Volume};

use super::host_paths::{self, AllowedPath, HostPathError};
use super::place::{Keeps, Place};
use coracle_wasm::Access;

/// Why a claim cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// The claim is not ready for the pod.
    #[error(
        "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], failed to process volumes=[{volume}]: error processing PVC {claim}: {why}"
    )]
    Process {
        /// The pod's volume.
        volume: String,
        /// The claim, with its namespace.
        claim: String,
        /// What is not as it must be.
        why: String,
    },
    /// The claim's volume cannot be had on this node.
    #[error("MountVolume.NodeAffinity check failed for volume {0:?} : no matching NodeSelectorTerms")]
    Elsewhere(String),
    /// A sort of volume that this node does not have.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {what}")]
    Unsupported {
        /// The persistent volume.
        volume: String,
        /// What it is, and what would do.
        what: String,
    },
    /// Its directory is not there.
    #[error("MountVolume.NewMounter initialization failed for volume {volume:?} : path {path:?} does not exist")]
    NoDirectory {
        /// The persistent volume.
        volume: String,
        /// Where it should be.
        path: String,
    },
    /// Its directory may not be mounted.
    #[error("MountVolume.SetUp failed for volume {volume:?} : {source}")]
    HostPath {
        /// The persistent volume.
        volume: String,
        /// Why not.
        source: HostPathError,
    },
}

/// A claim as a pod uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// The pod's volume.
    pub(crate) volume: String,
    /// The claim, in the pod's namespace.
    pub(crate) claim: String,
    /// The persistent volume.
    pub(crate) persistent: String,
    /// How much it is said to hold, in bytes.
    pub(crate) capacity: Option<u64>,
    /// Whether no other pod may use it meanwhile.
    pub(crate) alone: bool,
    pub(crate) place: Place,
}

/// What was found of a claim.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) claim: Option<PersistentVolumeClaim>,
    pub(crate) persistent: Option<PersistentVolume>,
}

/// What a node has of persistent volumes.
#[derive(Debug)]
pub(crate) struct Around<'a> {
    pub(crate) node: &'a Node,
    /// Under which the provisioner makes a directory for each volume.
    pub(crate) volumes_dir: &'a Path,
    pub(crate) allowed: &'a [AllowedPath],
}

/// The volume of a pod whose claim is `found`.
pub(crate) fn claimed(pod: &Pod, volume: &Volume, found: &Found, around: &Around<'_>) -> Result<Claimed, ClaimError> {
    let Some(used) = storage::claim_of(pod, volume) else {
        return Err(ClaimError::Unsupported { volume: volume.name.clone(), what: "it has no claim".to_owned() });
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let process = |why: String| ClaimError::Process {
        volume: volume.name.clone(),
        claim: format!("{namespace}/{}", used.name),
        why,
    };
    let claim = found.claim.as_ref().ok_or_else(|| {
        process(format!("failed to fetch PVC from API server: persistentvolumeclaims {:?} not found", used.name))
    })?;
    if used.ephemeral && !is_for_pod(claim, pod) {
        return Err(process(not_for_pod(claim, pod)));
    }
    // A pod that has run before, and runs again because its node does, keeps what it had.
    let is_new = pod.status.as_ref().and_then(|s| s.phase.as_deref()).is_none_or(|phase| phase == "Pending");
    if claim.metadata.deletion_timestamp.is_some() && is_new {
        return Err(process("PVC is being deleted".to_owned()));
    }
    let name = volume_name(claim);
    if claim_phase(claim) != "Bound" || name.is_empty() {
        return Err(process("PVC is not bound".to_owned()));
    }
    let persistent = found.persistent.as_ref().ok_or_else(|| {
        process(format!("failed to fetch PV {name} from API server: persistentvolumes {name:?} not found"))
    })?;
    let spec = persistent.spec.clone().unwrap_or_default();
    let holder = spec.claim_ref.as_ref().and_then(|r| r.uid.as_deref()).unwrap_or_default();
    let uid = claim.metadata.uid.as_deref().unwrap_or_default();
    if holder != uid {
        let why = format!(
            "found PV object {name} but its pv.Spec.ClaimRef.UID {holder:?} does not point to claim.UID {uid:?}"
        );
        return Err(process(why));
    }
    if claim.spec.as_ref().and_then(|s| s.volume_mode.as_deref()) == Some("Block") {
        let what = "volumeMode Block is a device, and WebAssembly guests have none; use volumeMode Filesystem";
        return Err(ClaimError::Unsupported { volume: name.to_owned(), what: what.to_owned() });
    }
    let affinity = spec.node_affinity.as_ref().and_then(|a| a.required.as_ref());
    if affinity.is_some_and(|selector| !node_selector::matches(selector, around.node)) {
        return Err(ClaimError::Elsewhere(name.to_owned()));
    }
    let mut place = place(persistent, name, around)?;
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let asked_read_only = volume.persistent_volume_claim.as_ref().is_some_and(|c| c.read_only == Some(true));
    if asked_read_only || modes.iter().all(|mode| mode == "ReadOnlyMany") {
        place.access = Access::ReadOnly;
    }
    let capacity = spec.capacity.as_ref().and_then(|c| c.get("storage"));
    let claim_modes = claim.spec.as_ref().and_then(|s| s.access_modes.as_deref()).unwrap_or_default();
    Ok(Claimed {
        volume: volume.name.clone(),
        claim: used.name,
        persistent: name.to_owned(),
        capacity: capacity.and_then(|q| u64::try_from(quantity::units(&q.0).ok()?).ok()),
        alone: claim_modes.iter().any(|mode| mode == READ_WRITE_ONCE_POD),
        place,
    })
}

/// Where a persistent volume is. What a node's provisioner made is the node's own; all else is the machine's.
fn place(persistent: &PersistentVolume, name: &str, around: &Around<'_>) -> Result<Place, ClaimError> {
    let spec = persistent.spec.as_ref();
    let local = spec.and_then(|s| s.local.as_ref()).map(|l| (l.path.as_str(), "Directory"));
    let host = spec.and_then(|s| s.host_path.as_ref()).map(|h| (h.path.as_str(), h.type_.as_deref().unwrap_or("")));
    let Some((path, sort)) = local.or(host) else {
        let what = "this node can mount persistent volumes of the types local and hostPath only".to_owned();
        return Err(ClaimError::Unsupported { volume: name.to_owned(), what });
    };
    let missing = || ClaimError::NoDirectory { volume: name.to_owned(), path: path.to_owned() };
    let own = around.volumes_dir.join(name);
    if Path::new(path) == own {
        let there = std::fs::metadata(&own).is_ok_and(|meta| meta.is_dir());
        let place = Place { root: own, beneath: PathBuf::new(), access: Access::ReadWrite, keeps: Keeps::Persistent };
        return if there { Ok(place) } else { Err(missing()) };
    }
    let refused = |source| ClaimError::HostPath { volume: name.to_owned(), source };
    let place = host_paths::place(path, around.allowed).map_err(refused)?;
    match host_paths::check(&place, path, sort) {
        Err(HostPathError::Type { .. }) if local.is_some() && !Path::new(path).exists() => Err(missing()),
        other => other.map_err(refused).map(|()| place),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    struct Case {
        claim: Value,
        persistent: Value,
        pod: Value,
        temp: tempfile::TempDir,
    }

    impl Case {
        /// A pod, its claim and the volume that was provisioned for it.
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let path = temp.path().join("pvc-1");
            std::fs::create_dir(&path).unwrap();
            Self {
                claim: json!({"metadata": {"name": "c", "namespace": "ns", "uid": "1"},
                    "spec": {"volumeName": "pvc-1", "accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Bound"}}),
                persistent: json!({"metadata": {"name": "pvc-1"}, "spec": {
                    "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "claimRef": {"uid": "1"},
                    "local": {"path": path}, "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
                        [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["h"]}]}]}}}}),
                pod: json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": [],
                    "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}}),
                temp,
            }
        }

        fn check(&self) -> Result<Claimed, String> {
            let pod: Pod = serde_json::from_value(self.pod.clone()).unwrap();
            let node: Node =
                serde_json::from_value(json!({"metadata": {"labels": {"kubernetes.io/hostname": "h"}}})).unwrap();
            let found = Found {
                claim: serde_json::from_value(self.claim.clone()).unwrap(),
                persistent: serde_json::from_value(self.persistent.clone()).unwrap(),
            };
            let around = Around { node: &node, volumes_dir: self.temp.path(), allowed: &[] };
            let volume = &pod.spec.as_ref().unwrap().volumes.as_ref().unwrap()[0];
            claimed(&pod, volume, &found, &around).map_err(|e| e.to_string())
        }
    }

    #[test]
    fn a_bound_claim_is_where_its_volume_is() {
        let mut case = Case::new();
        let claimed = case.check().unwrap();
        assert_eq!(claimed.place.root, case.temp.path().join("pvc-1"));
        assert_eq!((claimed.place.access, claimed.capacity), (Access::ReadWrite, Some(1 << 30)));
        assert!(!claimed.alone);
        case.claim["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
        case.pod["spec"]["volumes"][0]["persistentVolumeClaim"]["readOnly"] = true.into();
        let claimed = case.check().unwrap();
        assert!(claimed.alone && claimed.place.access == Access::ReadOnly);
    }

    #[test]
    fn a_volume_for_many_readers_is_read_only() {
        let mut case = Case::new();
        case.persistent["spec"]["accessModes"] = json!(["ReadOnlyMany"]);
        assert_eq!(case.check().unwrap().place.access, Access::ReadOnly);
    }

    #[test]
    fn what_is_not_ready_is_told_in_the_kubelets_words() {
        let told = |change: &dyn Fn(&mut Case)| {
            let mut case = Case::new();
            change(&mut case);
            case.check().unwrap_err().replace(case.temp.path().to_str().unwrap(), "D")
        };
        let of_claim = |why: &str| {
            format!(
                "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], \
                 failed to process volumes=[v]: error processing PVC ns/c: {why}"
            )
        };
        assert_eq!(
            told(&|c| c.claim = Value::Null),
            of_claim(r#"failed to fetch PVC from API server: persistentvolumeclaims "c" not found"#)
        );
        assert_eq!(told(&|c| c.claim["status"]["phase"] = "Pending".into()), of_claim("PVC is not bound"));
        let deleted = |c: &mut Case| c.claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(told(&deleted), of_claim("PVC is being deleted"));
        assert_eq!(
            told(&|c| c.persistent["spec"]["claimRef"]["uid"] = "2".into()),
            of_claim(r#"found PV object pvc-1 but its pv.Spec.ClaimRef.UID "2" does not point to claim.UID "1""#)
        );
        let selector = "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values";
        assert_eq!(
            told(&|c| *c.persistent.pointer_mut(selector).unwrap() = json!(["other"])),
            r#"MountVolume.NodeAffinity check failed for volume "pvc-1" : no matching NodeSelectorTerms"#
        );
        assert_eq!(
            told(&|c| std::fs::remove_dir(c.temp.path().join("pvc-1")).unwrap()),
            r#"MountVolume.NewMounter initialization failed for volume "pvc-1" : path "D/pvc-1" does not exist"#
        );
        let foreign = told(&|c| c.persistent["spec"]["local"]["path"] = "/etc".into());
        assert!(foreign.contains("--allowed-host-paths=/etc"), "{foreign}");
        let neighbour = told(&|c| {
            let path = c.temp.path().join("pvc-2");
            std::fs::create_dir(&path).unwrap();
            c.persistent["spec"]["local"]["path"] = path.to_str().unwrap().into();
        });
        assert!(neighbour.contains("is not allowed on this node"), "{neighbour}");
    }

    #[test]
    fn a_pod_that_ran_before_keeps_a_claim_that_is_being_deleted() {
        let mut case = Case::new();
        case.claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        case.pod["status"] = json!({"phase": "Running"});
        case.check().unwrap();
    }

    #[test]
    fn a_claim_of_an_ephemeral_volume_belongs_to_its_pod() {
        let mut case = Case::new();
        case.pod["spec"]["volumes"][0] = json!({"name": "v", "ephemeral": {}});
        case.claim["metadata"]["name"] = "p-v".into();
        assert!(case.check().unwrap_err().contains("PVC ns/p-v was not created for pod ns/p (pod is not owner)"));
        case.claim["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]);
        assert_eq!(case.check().unwrap().claim, "p-v");
    }
}
