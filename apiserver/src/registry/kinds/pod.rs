//! Pod: what runs.

mod cells;
mod create;
mod parts;
mod status;
mod update;

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{AGE, NAME, text, wide};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed, keep_all_but_status};
use crate::registry::{Column, Completed, Generation, Row, Scope, Subresource, pod_spec};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Ready", "How many containers are ready, of how many."),
    text("Status", "What it is doing, or why it is not."),
    text("Restarts", "How often containers were started again, and when last."),
    AGE,
    wide("IP", "Its address inside the cluster."),
    wide("Node", "The node on which it runs."),
    wide("Nominated Node", "Where room is being made for it."),
    wide("Readiness Gates", "How many further conditions hold, of how many."),
];

/// Fields by which controllers, nodes and people select pods.
const FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

const SUBRESOURCES: &[Subresource] = &[
    Subresource::Attach,
    Subresource::Binding,
    Subresource::EphemeralContainers,
    Subresource::Eviction,
    Subresource::Exec,
    Subresource::Log,
    Subresource::PortForward,
    Subresource::Proxy,
    Subresource::Resize,
    Subresource::Status,
];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: SUBRESOURCES,
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: FIELDS,
        name_rule: NameRule::Subdomain,
        generation: Generation::OfSpec,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = Pod;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.Pod";

    const NULLS: &'static [&'static str] =
        &["status.conditions[].lastProbeTime", "status.conditions[].lastTransitionTime"];

    fn default(object: &mut Pod) {
        pod_spec::default_pod(object.spec.get_or_insert_default());
        let status = object.status.get_or_insert_default();
        status.phase.get_or_insert_with(|| "Pending".to_owned());
        let kinds = [
            &mut status.container_statuses,
            &mut status.init_container_statuses,
            &mut status.ephemeral_container_statuses,
        ];
        for container in kinds.into_iter().flatten().flatten() {
            container.state.get_or_insert_default();
            container.last_state.get_or_insert_default();
        }
    }

    fn prepare_for_create(object: &mut Value) {
        create::prepare(object);
    }

    fn prepare_for_status_update(new: &mut Value, old: &Value) {
        keep_all_but_status(new, old);
        status::prepare(new, old);
    }

    fn validate(object: &Pod) -> Vec<FieldError> {
        create::validate(object)
    }

    fn validate_update(new: &Pod, old: &Pod) -> Vec<FieldError> {
        update::validate(new, old)
    }

    fn validate_status_update(new: &Pod, old: &Pod) -> Vec<FieldError> {
        status::validate(new, old)
    }

    fn prepare_for_part_update(part: Subresource, new: &mut Value, old: &Value) {
        parts::prepare(part, new, old);
    }

    fn validate_part_update(part: Subresource, new: &Pod, old: &Pod) -> Vec<FieldError> {
        parts::validate(part, new, old)
    }

    fn warnings(object: &Pod) -> Vec<String> {
        let mut found: Vec<String> =
            pod_spec::name_warning(&object.metadata, "the Pod's hostname").into_iter().collect();
        if let Some(spec) = &object.spec {
            found.extend(pod_spec::pod_warnings(&object.metadata, spec));
        }
        found
    }

    /// People change workloads, and hardly ever pods.
    fn update_warnings(_new: &Pod, _old: &Pod) -> Vec<String> {
        Vec::new()
    }

    fn cells(object: &Pod, now: Timestamp) -> Vec<Value> {
        cells::cells(object, now)
    }

    fn completed(object: &Pod) -> Option<Completed> {
        cells::completed(object)
    }
}
