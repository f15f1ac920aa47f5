//! What a pod needs before its first container starts: an address, and its volumes.
//!
//! It fails with a sentence for the pod's events; the lifecycle decides when to try again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use coracle_api::meet::{Attachment, PodSlot};
use coracle_api::names::{NamespacedName, Uid};
use k8s_openapi::api::core::v1::Pod;

use super::{Shared, containers};
use crate::downward::Facts;
use crate::sources::Source;
use crate::volumes::{Places, PodDir};
use crate::{env, volumes};

/// All objects that a pod refers to.
pub(super) fn references(pod: &Pod) -> BTreeSet<Source> {
    let containers = pod.spec.iter().flat_map(containers::all);
    containers.flat_map(|c| env::references(&c)).chain(volumes::references(pod)).collect()
}

/// What a pod has when it is prepared.
pub(super) struct Prepared {
    pub(super) attachment: Arc<dyn Attachment>,
    pub(super) places: Places,
}

/// An address and the volumes.
pub(super) async fn prepare(shared: &Shared, pod: &Pod, dir: &PodDir) -> Result<Prepared, String> {
    let meta = &pod.metadata;
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    let uid = Uid::new(text(&meta.uid)).map_err(|e| e.to_string())?;
    let slot = PodSlot { pod: NamespacedName::new(text(&meta.namespace), text(&meta.name)), uid };
    let attachment =
        shared.network.attach(slot).await.map_err(|e| format!("the pod cannot be given an address: {e}"))?;
    let places = fill(shared, pod, dir, attachment.ip()).await?;
    Ok(Prepared { attachment, places })
}

/// Brings the volumes up to date.
pub(super) async fn fill(shared: &Shared, pod: &Pod, dir: &PodDir, pod_ip: IpAddr) -> Result<Places, String> {
    if pod.spec.as_ref().and_then(|s| s.volumes.as_ref()).is_none_or(Vec::is_empty) {
        return Ok(Places::new());
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let fetched = shared.sources.fetch(namespace, &volumes::references(pod)).await.map_err(|e| e.to_string())?;
    let facts = Facts { pod, pod_ip, host_ip: shared.host_ip, allocatable: shared.allocatable };
    volumes::set_up(dir, &facts, &fetched).map_err(|e| e.to_string())
}
