//! From the slices there are to the slices there should be, with as few writes as that takes.
//!
//! Invariant: after the plan each wanted endpoint is in exactly one slice, and no slice has more than
//! [`ENDPOINTS_MAX`]. Slices whose endpoints did not change are left alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;

/// The most endpoints in a slice (kube-controller-manager's `--max-endpoints-per-slice`).
const ENDPOINTS_MAX: usize = 100;

/// Endpoints that may share slices.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// `IPv4` or `IPv6`.
    pub(crate) address_type: String,
    pub(crate) ports: Vec<EndpointPort>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// What all slices of one Service have in common.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// The Service's name, with which theirs begin.
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Those that are ours to set; nothing where all are others'.
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    pub(crate) owner: OwnerReference,
}

/// What to write.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) create: Vec<EndpointSlice>,
    pub(crate) update: Vec<EndpointSlice>,
    pub(crate) delete: Vec<Arc<EndpointSlice>>,
}

/// A slice that exists, on its way to what it should be.
struct Draft {
    stored: Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// Plans the writes for a Service.
pub(crate) fn plan(base: &Base, existing: &[Arc<EndpointSlice>], wanted: Vec<Group>) -> Plan {
    let mut plan = Plan::default();
    let mut left: Vec<Arc<EndpointSlice>> = existing.to_vec();
    for group in wanted {
        let fits = |slice: &Arc<EndpointSlice>| {
            slice.address_type == group.address_type && slice.ports.clone().unwrap_or_default() == group.ports
        };
        let (mine, others): (Vec<_>, Vec<_>) = left.into_iter().partition(fits);
        left = others;
        fill(base, mine, group, &mut plan);
    }
    plan.delete.extend(left);
    reuse(&mut plan);
    plan
}

/// Distributes a group's endpoints over its slices.
fn fill(base: &Base, mine: Vec<Arc<EndpointSlice>>, group: Group, plan: &mut Plan) {
    let is_placeholder = group.endpoints.is_empty();
    let mut missing: BTreeMap<String, Endpoint> =
        group.endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let mut drafts: Vec<Draft> = mine.into_iter().map(|stored| kept(stored, base, &mut missing)).collect();
    let mut missing: Vec<Endpoint> = missing.into_values().collect();
    // First where a write is due anyway, then in the fullest slice that takes all of the rest.
    for draft in drafts.iter_mut().filter(|draft| draft.changed) {
        take(draft, &mut missing);
    }
    let room = |draft: &Draft| ENDPOINTS_MAX.saturating_sub(draft.endpoints.len());
    let fitting = drafts.iter_mut().filter(|d| room(d) >= missing.len());
    if let Some(draft) = fitting.max_by_key(|draft| draft.endpoints.len())
        && !missing.is_empty()
    {
        take(draft, &mut missing);
    }
    let template = |endpoints: Vec<Endpoint>| EndpointSlice {
        metadata: metadata(base),
        address_type: group.address_type.clone(),
        ports: Some(group.ports.clone()).filter(|ports| !ports.is_empty()),
        endpoints: Some(endpoints).filter(|endpoints| !endpoints.is_empty()),
    };
    plan.create.extend(missing.chunks(ENDPOINTS_MAX).map(|chunk| template(chunk.to_vec())));
    let mut has_placeholder = false;
    for draft in drafts {
        if draft.endpoints.is_empty() && (!is_placeholder || has_placeholder) {
            plan.delete.push(draft.stored);
            continue;
        }
        has_placeholder = is_placeholder;
        if draft.changed {
            let mut slice = template(draft.endpoints);
            slice.metadata = updated(base, &draft.stored);
            plan.update.push(slice);
        }
    }
    if is_placeholder && !has_placeholder {
        plan.create.push(template(Vec::new()));
    }
}

/// What stays of a slice: its endpoints that are still wanted, as they are now.
fn kept(stored: Arc<EndpointSlice>, base: &Base, missing: &mut BTreeMap<String, Endpoint>) -> Draft {
    let before = stored.endpoints.clone().unwrap_or_default();
    let endpoints: Vec<_> = before.iter().filter_map(|old| missing.remove(&identity(old))).collect();
    let same_annotations = base.annotations.as_ref().is_none_or(|ours| stored.annotations() == ours);
    let changed = endpoints != before || *stored.labels() != base.labels || !same_annotations;
    Draft { stored, endpoints, changed }
}

fn take(draft: &mut Draft, missing: &mut Vec<Endpoint>) {
    let room = ENDPOINTS_MAX.saturating_sub(draft.endpoints.len()).min(missing.len());
    if room > 0 {
        draft.endpoints.extend(missing.drain(..room));
        draft.changed = true;
    }
}

/// A slice to delete and one to create, of one family, are one to update.
fn reuse(plan: &mut Plan) {
    let mut created = Vec::new();
    for mut slice in std::mem::take(&mut plan.create) {
        let same = plan
            .delete
            .iter()
            .position(|old| old.address_type == slice.address_type && old.metadata.deletion_timestamp.is_none());
        match same {
            None => created.push(slice),
            Some(at) => {
                let old = plan.delete.swap_remove(at);
                let annotations = slice.metadata.annotations.or_else(|| old.metadata.annotations.clone());
                slice.metadata = ObjectMeta { labels: slice.metadata.labels, annotations, ..old.metadata.clone() };
                plan.update.push(slice);
            }
        }
    }
    plan.create = created;
}

/// What tells an endpoint from the others of its Service: its pod, or where it has none its address.
fn identity(endpoint: &Endpoint) -> String {
    match &endpoint.target_ref {
        Some(target) => {
            format!("{}/{}", target.name.as_deref().unwrap_or_default(), target.uid.as_deref().unwrap_or_default())
        }
        None => endpoint.addresses.join(","),
    }
}

fn metadata(base: &Base) -> ObjectMeta {
    ObjectMeta {
        generate_name: Some(format!("{}-", base.name)),
        namespace: base.namespace.clone(),
        labels: Some(base.labels.clone()),
        annotations: base.annotations.clone().filter(|annotations| !annotations.is_empty()),
        owner_references: Some(vec![base.owner.clone()]),
        ..ObjectMeta::default()
    }
}

fn updated(base: &Base, stored: &EndpointSlice) -> ObjectMeta {
    let annotations = base.annotations.clone().or_else(|| stored.metadata.annotations.clone());
    ObjectMeta { labels: Some(base.labels.clone()), annotations, ..stored.metadata.clone() }
}

#[cfg(test)]
mod tests;
