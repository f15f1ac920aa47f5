//! What a pod needs before its first container starts: an address, and its volumes.
//!
//! It fails with a sentence for the pod's events; the lifecycle decides when to try again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use coracle_api::meet::{Attachment, PodSlot};
use coracle_api::storage;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;

use super::{Shared, containers};
use crate::downward::Facts;
use crate::sources::{Fetched, Source};
use crate::tokens::Tokens;
use crate::volumes::claims::{Around, Claimed, Found, claimed};
use crate::volumes::{Material, Places, PodDir, Which};
use crate::{env, volumes};

/// What a pod has when it is prepared.
pub(super) struct Prepared {
    pub(super) attachment: Arc<dyn Attachment>,
    pub(super) places: Places,
}

/// All objects that a pod refers to.
pub(super) fn references(pod: &Pod) -> BTreeSet<Source> {
    let containers = pod.spec.iter().flat_map(containers::all);
    containers.flat_map(|c| env::references(&c)).chain(volumes::references(pod, Which::All)).collect()
}

/// An address and the volumes.
pub(super) async fn prepare(
    shared: &Arc<Shared>,
    pod: &Arc<Pod>,
    dir: &PodDir,
    tokens: &Tokens,
) -> Result<Prepared, String> {
    let meta = &pod.metadata;
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    let slot = PodSlot::of(pod).map_err(|e| e.to_string())?;
    let attachment =
        shared.network.attach(slot).await.map_err(|e| format!("the pod cannot be given an address: {e}"))?;
    if has_none(pod, Which::Early) {
        return Ok(Prepared { attachment, places: volumes::late_places(dir, pod) });
    }
    let fetched = fetch(shared, pod, tokens, Which::Early).await?;
    let claims = claims(shared, pod).await?;
    let (uid, namespace) = (text(&meta.uid), text(&meta.namespace));
    shared.in_use.take(&uid, &namespace, claims.clone()).map_err(|e| e.to_string())?;
    let made = {
        let (shared, pod, dir) = (Arc::clone(shared), Arc::clone(pod), dir.clone());
        let pod_ip = attachment.ip();
        tokio::task::spawn_blocking(move || {
            let facts = facts(&shared, &pod, pod_ip);
            let allowed = &shared.allowed_host_paths;
            volumes::set_up(&dir, &Material { facts, fetched: &fetched, claims: &claims, allowed })
        })
    };
    let places = made.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    Ok(Prepared { attachment, places })
}

/// Brings these of the volumes up to date that are filled from objects.
pub(super) async fn refresh(
    shared: &Arc<Shared>,
    pod: &Arc<Pod>,
    dir: &PodDir,
    tokens: &Tokens,
    pod_ip: IpAddr,
    which: Which,
) -> Result<(), String> {
    if has_none(pod, which) {
        return Ok(());
    }
    let fetched = fetch(shared, pod, tokens, which).await?;
    let (shared, pod, dir) = (Arc::clone(shared), Arc::clone(pod), dir.clone());
    let update = move || volumes::update(&dir, &facts(&shared, &pod, pod_ip), &fetched, which);
    let updated = tokio::task::spawn_blocking(update);
    updated.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

fn has_none(pod: &Pod, which: Which) -> bool {
    which.of(pod).next().is_none()
}

fn facts<'a>(shared: &Shared, pod: &'a Pod, pod_ip: IpAddr) -> Facts<'a> {
    Facts { pod, pod_ip, host_ip: shared.host_ip, allocatable: shared.allocatable }
}

async fn fetch(shared: &Shared, pod: &Pod, tokens: &Tokens, which: Which) -> Result<Fetched, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let (wanted, asked) = (volumes::references(pod, which), volumes::tokens(pod, which));
    let (fetched, tokens) =
        tokio::join!(shared.sources.fetch(namespace, &wanted), tokens.get(&shared.client, pod, asked));
    let tokens = tokens.map_err(|e| volumes::without_token(pod, &crate::with_causes(&e)))?;
    Ok(fetched.map_err(|e| crate::with_causes(&e))?.with_tokens(tokens))
}

/// The pod's claims and what they stand for, as long as each is ready for it.
async fn claims(shared: &Shared, pod: &Pod) -> Result<Vec<Claimed>, String> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let wanted: Vec<_> = volumes.filter_map(|v| Some((v, storage::claim_of(pod, v)?))).collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let told = |e: kube::Error| format!("Unable to attach or mount volumes: {}", crate::with_causes(&e));
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let nodes: Api<Node> = Api::all(shared.client.clone());
    let node = nodes.get_opt(shared.node.as_str()).await.map_err(told)?.unwrap_or_default();
    let around = Around { node: &node, volumes_dir: &shared.volumes_dir, allowed: &shared.allowed_host_paths };
    let api: Api<PersistentVolumeClaim> = Api::namespaced(shared.client.clone(), namespace);
    let persistent: Api<PersistentVolume> = Api::all(shared.client.clone());
    let mut all = Vec::new();
    for (volume, used) in wanted {
        let mut found = Found { claim: api.get_opt(&used.name).await.map_err(told)?, persistent: None };
        let name = found.claim.as_ref().map(storage::volume_name).unwrap_or_default();
        if !name.is_empty() {
            found.persistent = persistent.get_opt(name).await.map_err(told)?;
        }
        all.push(claimed(pod, volume, &found, &around).map_err(|e| e.to_string())?);
    }
    Ok(all)
}
