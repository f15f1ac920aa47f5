//! The pods of the node as a `PodList`, each with its newest status.

use serde_json::{Value, json};

use crate::pods::Records;

/// Which pods are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All that are bound to the node.
    All,
    /// Those with a container that runs.
    Running,
}

/// The list.
pub(super) fn list(records: &Records, which: Which) -> Value {
    let all = records.all();
    let runs = |status: &k8s_openapi::api::core::v1::PodStatus| {
        let containers = status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .chain(&status.ephemeral_container_statuses)
            .flatten();
        let mut states = containers.filter_map(|c| c.state.as_ref());
        states.any(|state| state.running.is_some())
    };
    let shown = all.iter().filter(|(_, record)| which == Which::All || runs(&record.status));
    let items: Vec<Value> = shown
        .map(|(_, record)| json!({"metadata": record.pod.metadata, "spec": record.pod.spec, "status": *record.status}))
        .collect();
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
}
