//! Which volumes are made late: not before a program starts that can see files, or somebody looks into a container.
//!
//! It is the one that admission gives to every pod. Most programs never look at it, a node may have thousands of pods,
//! and each has a token of its own. What a pod's author names is made at once, so that he hears at once if it cannot be.

use coracle_api::wellknown::VOLUME_API_ACCESS_PREFIX;
use k8s_openapi::api::core::v1::{Pod, Volume, VolumeMount};

/// Which of a pod's volumes are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those that are made before the pod's first container starts.
    Early,
    /// Those that are made late.
    Late,
}

impl Which {
    /// The volumes that are meant.
    pub(crate) fn of(self, pod: &Pod) -> impl Iterator<Item = &Volume> {
        let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        volumes.filter(move |volume| match self {
            Self::All => true,
            Self::Early => !is_late(pod, volume),
            Self::Late => is_late(pod, volume),
        })
    }
}

/// Whether a volume is made late: the one by which a pod reaches the API, where it is mounted whole. A part of it must
/// be there when it is mounted.
pub(super) fn is_late(pod: &Pod, volume: &Volume) -> bool {
    let sources = || volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
    let in_part = |m: &VolumeMount| m.name == volume.name && (is_said(&m.sub_path) || is_said(&m.sub_path_expr));
    volume.name.starts_with(VOLUME_API_ACCESS_PREFIX)
        && sources().any(|source| source.service_account_token.is_some())
        && !mounts(pod).any(in_part)
}

fn is_said(path: &Option<String>) -> bool {
    path.as_ref().is_some_and(|path| !path.is_empty())
}

fn mounts(pod: &Pod) -> impl Iterator<Item = &VolumeMount> {
    let containers = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers));
    let ephemeral = pod.spec.iter().flat_map(|s| s.ephemeral_containers.iter().flatten());
    let mounts = containers.flat_map(|c| c.volume_mounts.iter().flatten());
    mounts.chain(ephemeral.flat_map(|c| c.volume_mounts.iter().flatten()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::downward::tests::pod;

    fn late(name: &str, source: Value, mount: Value) -> usize {
        let mut mount = mount;
        mount["name"] = name.into();
        mount["mountPath"] = "/v".into();
        let pod = pod(json!({
            "containers": [{"name": "c", "volumeMounts": [mount]}],
            "volumes": [{"name": name, "projected": {"sources": [source]}}, {"name": "other", "emptyDir": {}}],
        }));
        assert_eq!(Which::Early.of(&pod).count() + Which::Late.of(&pod).count(), Which::All.of(&pod).count());
        Which::Late.of(&pod).count()
    }

    #[test]
    fn only_what_admission_gives_every_pod_is_made_late_and_only_as_a_whole() {
        let token = || json!({"serviceAccountToken": {"path": "token"}});
        assert_eq!(late("kube-api-access-x", token(), json!({})), 1);
        assert_eq!(late("mine", token(), json!({})), 0);
        assert_eq!(late("kube-api-access-x", json!({"secret": {"name": "s"}}), json!({})), 0);
        assert_eq!(late("kube-api-access-x", token(), json!({"subPath": "token"})), 0);
    }
}
