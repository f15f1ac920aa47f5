//! The built-in kinds, one file each, all of one shape: columns, row, the [`Kind`](super::typed::Kind) with defaults,
//! preparation, validation, warnings, cells, and tests.

mod config_map;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod lease;
mod namespace;
mod node;
mod persistent_volume_claim;
mod pod;
mod pod_disruption_budget;
mod replica_set;
mod secret;
pub(super) mod service;
mod service_account;

use std::sync::Arc;

use super::Row;

/// What can be done with objects of most kinds, in the order of discovery.
const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// All rows, in the order of discovery.
pub(super) fn rows() -> Vec<Arc<Row>> {
    let rows = [
        config_map::row(),
        endpoints::row(),
        event::row(),
        namespace::row(),
        node::row(),
        persistent_volume_claim::row(),
        pod::row(),
        secret::row(),
        service_account::row(),
        service::row(),
        deployment::row(),
        replica_set::row(),
        lease::row(),
        endpoint_slice::row(),
        pod_disruption_budget::row(),
    ];
    rows.into_iter().map(Arc::new).collect()
}

#[cfg(test)]
mod tests;
