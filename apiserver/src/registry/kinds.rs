//! The built-in kinds, one file each, all of one shape: columns, row, the [`Kind`](super::typed::Kind) with defaults,
//! preparation, validation, warnings, cells, and tests.

mod config_map;
mod controller_revision;
mod cron_job;
mod custom_resource_definition;
mod daemon_set;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod horizontal_pod_autoscaler;
mod ingress;
mod ingress_class;
mod job;
mod lease;
mod limit_range;
mod namespace;
mod network_policy;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
mod pod;
mod pod_disruption_budget;
mod pod_template;
pub(super) mod priority_class;
mod rbac;
mod replica_set;
mod replication_controller;
mod resource_quota;
mod review;
mod runtime_class;
mod secret;
pub(super) mod service;
mod service_account;
mod stateful_set;
mod storage;
mod usage;
mod workload;

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
        limit_range::row(),
        namespace::row(),
        node::row(),
        persistent_volume::row(),
        persistent_volume_claim::row(),
        pod::row(),
        pod_template::row(),
        replication_controller::row(),
        resource_quota::row(),
        secret::row(),
        service_account::row(),
        service::row(),
        controller_revision::row(),
        daemon_set::row(),
        deployment::row(),
        replica_set::row(),
        stateful_set::row(),
        horizontal_pod_autoscaler::row(),
        horizontal_pod_autoscaler::v1::row(),
        cron_job::row(),
        job::row(),
        lease::row(),
        endpoint_slice::row(),
        event::v1::row(),
        ingress_class::row(),
        ingress::row(),
        network_policy::row(),
        custom_resource_definition::row(),
        runtime_class::row(),
        pod_disruption_budget::row(),
        rbac::bindings::cluster_row(),
        rbac::roles::cluster_row(),
        rbac::bindings::row(),
        rbac::roles::row(),
        priority_class::row(),
        storage::driver::row(),
        storage::node::row(),
        storage::capacity::row(),
        storage::class::row(),
        storage::attachment::row(),
    ];
    rows.into_iter().chain(review::rows()).chain(usage::rows()).map(Arc::new).collect()
}

#[cfg(test)]
mod tests;
