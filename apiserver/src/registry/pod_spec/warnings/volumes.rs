//! Warnings about volumes: sources of the past, and files that a token hides.

use std::collections::BTreeSet;

use coracle_api::quantity::nanos;
use k8s_openapi::api::core::v1::Volume;

use crate::registry::check::path::Path;

pub(super) fn about(found: &mut Vec<String>, path: Path<'_>, volumes: &[Volume]) {
    for (index, volume) in volumes.iter().enumerate() {
        deprecated(found, path.index(index), volume);
    }
    let sources = |v: &'_ Volume| v.projected.as_ref().and_then(|p| p.sources.clone()).unwrap_or_default();
    let tokens: BTreeSet<String> =
        volumes.iter().flat_map(sources).filter_map(|s| Some(s.service_account_token?.path)).collect();
    if tokens.is_empty() {
        return;
    }
    for (index, volume) in volumes.iter().enumerate() {
        hidden(found, path.index(index), volume, &tokens);
    }
}

fn deprecated(found: &mut Vec<String>, path: Path<'_>, volume: &Volume) {
    for (field, there, message) in [
        (
            "photonPersistentDisk",
            volume.photon_persistent_disk.is_some(),
            "deprecated in v1.11, non-functional in v1.16+",
        ),
        ("gitRepo", volume.git_repo.is_some(), "deprecated in v1.11, and disabled by default in v1.33+"),
        ("scaleIO", volume.scale_io.is_some(), "deprecated in v1.16, non-functional in v1.22+"),
        ("flocker", volume.flocker.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("storageOS", volume.storageos.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("quobyte", volume.quobyte.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", volume.glusterfs.is_some(), "deprecated in v1.25, non-functional in v1.26+"),
    ] {
        if there {
            found.push(format!("{}: {message}", path.field(field)));
        }
    }
    claim(found, path, volume);
    for (field, there) in [("cephfs", volume.cephfs.is_some()), ("rbd", volume.rbd.is_some())] {
        if there {
            found.push(format!("{}: deprecated in v1.28, non-functional in v1.31+", path.field(field)));
        }
    }
}

/// The sizes of a claim that is made with the pod.
fn claim(found: &mut Vec<String>, path: Path<'_>, volume: &Volume) {
    let template = volume.ephemeral.as_ref().and_then(|e| e.volume_claim_template.as_ref());
    let Some(resources) = template.and_then(|t| t.spec.resources.as_ref()) else { return };
    let path = path.field("ephemeral");
    let path = path.field("volumeClaimTemplate");
    let path = path.field("spec");
    let path = path.field("resources");
    for (field, amounts) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        let Some(size) = amounts.as_ref().and_then(|a| a.get("storage")) else { continue };
        if nanos(&size.0).unwrap_or(0) % 1_000_000_000 != 0 {
            let place = path.field(field);
            let place = place.key("storage");
            found.push(format!("{place}: fractional byte value {:?} is invalid, must be an integer", size.0));
        }
    }
}

/// Files of other projections that stand where a token does. Upstream does not say of which projection they are.
fn hidden(found: &mut Vec<String>, path: Path<'_>, volume: &Volume, tokens: &BTreeSet<String>) {
    let path = path.field("projected");
    let path = path.field("sources");
    let mut clash = |place: Path<'_>, file: &String| {
        if tokens.contains(file) {
            found.push(format!("{place}: has duplicated path with ServiceAccountToken {file:?}"));
        }
    };
    for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
        let list = path.field("configMap");
        let items = source.config_map.iter().flat_map(|s| s.items.iter().flatten());
        items.enumerate().for_each(|(index, item)| clash(list.index(index), &item.path));
        let list = path.field("secrets");
        let items = source.secret.iter().flat_map(|s| s.items.iter().flatten());
        items.enumerate().for_each(|(index, item)| clash(list.index(index), &item.path));
        let list = path.field("downwardAPI");
        let items = source.downward_api.iter().flat_map(|s| s.items.iter().flatten());
        items.enumerate().for_each(|(index, item)| clash(list.index(index), &item.path));
        if let Some(bundle) = &source.cluster_trust_bundle {
            clash(path.field("ClusterTrustBundle"), &bundle.path);
        }
    }
}
