//! From the slices there are to the slices there should be, with as few writes as that takes.
//!
//! Invariant: after the plan each wanted endpoint is in exactly one slice, and no slice has more than
//! [`ENDPOINTS_MAX`]. Slices whose endpoints did not change are left alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::wellknown::{LABEL_ENDPOINTSLICE_MANAGED_BY, LABEL_HEADLESS, LABEL_SERVICE_NAME};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::MANAGED_BY;
use super::desired::Group;
use crate::ownership::controller_reference;
use crate::service_facts;

/// The most endpoints in a slice (kube-controller-manager's `--max-endpoints-per-slice`).
pub(super) const ENDPOINTS_MAX: usize = 100;

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// A slice that exists, on its way to what it should be.
struct Draft {
    stored: Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

/// Plans the writes for a Service.
pub(super) fn plan(service: &Service, existing: &[Arc<EndpointSlice>], wanted: Vec<Group>) -> Plan {
    let labels = labels(service);
    let mut plan = Plan::default();
    let mut left: Vec<Arc<EndpointSlice>> = existing.to_vec();
    for group in wanted {
        let fits = |slice: &Arc<EndpointSlice>| {
            slice.address_type == group.address_type && slice.ports.clone().unwrap_or_default() == group.ports
        };
        let (mine, others): (Vec<_>, Vec<_>) = left.into_iter().partition(fits);
        left = others;
        fill(service, &labels, mine, group, &mut plan);
    }
    plan.delete.extend(left);
    reuse(&mut plan);
    plan
}

/// Distributes a group's endpoints over its slices.
fn fill(
    service: &Service,
    labels: &BTreeMap<String, String>,
    mine: Vec<Arc<EndpointSlice>>,
    group: Group,
    plan: &mut Plan,
) {
    let is_placeholder = group.endpoints.is_empty();
    let mut missing: BTreeMap<String, Endpoint> =
        group.endpoints.into_iter().map(|endpoint| (identity(&endpoint), endpoint)).collect();
    let mut drafts: Vec<Draft> = mine.into_iter().map(|stored| kept(stored, labels, &mut missing)).collect();
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
        metadata: metadata(service, labels),
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
            slice.metadata = ObjectMeta { labels: Some(labels.clone()), ..draft.stored.metadata.clone() };
            plan.update.push(slice);
        }
    }
    if is_placeholder && !has_placeholder {
        plan.create.push(template(Vec::new()));
    }
}

/// What stays of a slice: its endpoints that are still wanted, as they are now.
fn kept(
    stored: Arc<EndpointSlice>,
    labels: &BTreeMap<String, String>,
    missing: &mut BTreeMap<String, Endpoint>,
) -> Draft {
    let before = stored.endpoints.clone().unwrap_or_default();
    let endpoints: Vec<_> = before.iter().filter_map(|old| missing.remove(&identity(old))).collect();
    let changed = endpoints != before || stored.labels() != labels;
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
                slice.metadata = ObjectMeta { labels: slice.metadata.labels, ..old.metadata.clone() };
                plan.update.push(slice);
            }
        }
    }
    plan.create = created;
}

fn identity(endpoint: &Endpoint) -> String {
    let target = endpoint.target_ref.clone().unwrap_or_default();
    format!("{}/{}", target.name.unwrap_or_default(), target.uid.unwrap_or_default())
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.labels().clone();
    labels.remove(LABEL_HEADLESS);
    if service_facts::is_headless(service) {
        labels.insert(LABEL_HEADLESS.to_owned(), String::new());
    }
    labels.insert(LABEL_SERVICE_NAME.to_owned(), service.name_any());
    labels.insert(LABEL_ENDPOINTSLICE_MANAGED_BY.to_owned(), MANAGED_BY.to_owned());
    labels
}

fn metadata(service: &Service, labels: &BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        generate_name: Some(format!("{}-", service.name_any())),
        namespace: service.namespace(),
        labels: Some(labels.clone()),
        owner_references: Some(vec![controller_reference(service)]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests;
