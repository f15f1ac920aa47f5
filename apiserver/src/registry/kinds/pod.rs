//! Pod: what runs.

mod cells;
mod parts;
mod update;

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ALL_VERBS;
use crate::registry::cells::{AGE, NAME, text, wide};
use crate::registry::check::{names, one_of_if_any};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
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

    fn default(object: &mut Pod) {
        let spec = object.spec.get_or_insert_default();
        pod_spec::default_spec(spec);
        spec.enable_service_links.get_or_insert(true);
        object.status.get_or_insert_default().phase.get_or_insert_with(|| "Pending".to_owned());
    }

    fn prepare_for_create(object: &mut Value) {
        let spec = object.get("spec").and_then(|s| PodSpec::deserialize(s).ok()).unwrap_or_default();
        let Some(object) = object.as_object_mut() else { return };
        let quality = pod_spec::quality_of_service(&spec);
        object.insert("status".to_owned(), json!({"phase": "Pending", "qosClass": quality}));
    }

    fn validate(object: &Pod) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = PodSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&empty);
        pod_spec::validate_spec(&mut errors, "spec", spec);
        let policies = ["Never", "PreemptLowerPriority"];
        let policy = spec.preemption_policy.as_deref();
        one_of_if_any(&mut errors, "spec.preemptionPolicy".to_owned(), policy, &policies);
        errors
    }

    fn validate_update(new: &Pod, old: &Pod) -> Vec<FieldError> {
        update::validate(new, old)
    }

    fn validate_status_update(new: &Pod, old: &Pod) -> Vec<FieldError> {
        update::validate_status(new, old)
    }

    fn prepare_for_part_update(part: Subresource, new: &mut Value, old: &Value) {
        parts::prepare(part, new, old);
    }

    fn validate_part_update(part: Subresource, new: &Pod, old: &Pod) -> Vec<FieldError> {
        parts::validate(part, new, old)
    }

    fn warnings(object: &Pod) -> Vec<String> {
        let mut found = Vec::new();
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if name.contains('.') {
            found.push(hostname_warning("must not contain dots"));
        } else if !name.is_empty() {
            found.extend(names::label(name).first().map(|rule| hostname_warning(rule)));
        }
        let critical = "scheduler.alpha.kubernetes.io/critical-pod";
        if object.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(critical)) {
            found.push(format!(
                "metadata.annotations[{critical}]: non-functional in v1.16+; use the \"priorityClassName\" field instead"
            ));
        }
        found.extend(object.spec.as_ref().map_or_else(Vec::new, |spec| pod_spec::spec_warnings("spec", spec)));
        found
    }

    fn cells(object: &Pod, now: Timestamp) -> Vec<Value> {
        cells::cells(object, now)
    }

    fn completed(object: &Pod) -> Option<Completed> {
        cells::completed(object)
    }
}

fn hostname_warning(rule: &str) -> String {
    format!(
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; \
         a DNS label is recommended: [{rule}]"
    )
}
