//! Node: a machine, or a part of one, that runs pods.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, NONE, UNKNOWN, or, text, wide};
use crate::registry::check::addresses::cidr_warnings;
use crate::registry::check::labels::{label_value, qualified_name};
use crate::registry::check::names::require;
use crate::registry::check::{Errors, at, cidr, item, one_of};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "Whether it takes pods."),
    text("Roles", "What it is meant for, by its labels."),
    AGE,
    text("Version", "The version of its agent."),
    wide("Internal-IP", "Its address inside the cluster."),
    wide("External-IP", "Its address outside of the cluster."),
    wide("OS-Image", "The operating system it runs."),
    wide("Kernel-Version", "The version of its kernel."),
    wide("Container-Runtime", "What runs its pods, and its version."),
];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "Node",
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        categories: &[],
        scope: Scope::Cluster,
        verbs: ALL_VERBS,
        subresources: &[Subresource::Proxy, Subresource::Status],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &["spec.unschedulable"],
        name_rule: NameRule::Subdomain,
        generation: Generation::Never,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

/// Labels that say what a node is for.
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE: &str = "kubernetes.io/role";

impl Kind for Strategy {
    type Object = Node;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.Node";

    const NULLS: &'static [&'static str] =
        &["status.conditions[].lastHeartbeatTime", "status.conditions[].lastTransitionTime"];

    fn default(object: &mut Node) {
        object.spec.get_or_insert_default();
        let status = object.status.get_or_insert_default();
        status.daemon_endpoints.get_or_insert_default().kubelet_endpoint.get_or_insert_default();
        status.node_info.get_or_insert_default();
        if status.allocatable.as_ref().is_none_or(|a| a.is_empty()) {
            status.allocatable.clone_from(&status.capacity);
        }
    }

    /// A node brings its status along: its agent knows it before the object exists.
    fn prepare_for_create(_object: &mut Value) {}

    fn validate(object: &Node) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let Some(spec) = &object.spec else { return errors };
        validate_taints(&mut errors, spec.taints.as_deref().unwrap_or_default());
        let cidrs = spec.pod_cidrs.as_deref().unwrap_or_default();
        for (index, range) in cidrs.iter().enumerate() {
            cidr(&mut errors, item("spec", "podCIDRs", index), range);
        }
        if spec.pod_cidr.is_some() && cidrs.first() != spec.pod_cidr.as_ref() {
            let detail = "must be the same as the first of podCIDRs";
            errors.push(FieldError::invalid("spec.podCIDR", spec.pod_cidr.clone().unwrap_or_default(), detail));
        }
        errors
    }

    fn validate_update(new: &Node, old: &Node) -> Vec<FieldError> {
        let mut errors = Self::validate(new);
        let cidrs = |node: &Node| node.spec.as_ref().and_then(|s| s.pod_cidrs.clone()).unwrap_or_default();
        if !cidrs(old).is_empty() && cidrs(new) != cidrs(old) {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(FieldError::forbidden("spec.podCIDRs", detail));
        }
        let provider = |node: &Node| node.spec.as_ref().and_then(|s| s.provider_id.clone()).unwrap_or_default();
        if !provider(old).is_empty() && provider(new) != provider(old) {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.push(FieldError::forbidden("spec.providerID", detail));
        }
        errors
    }

    fn warnings(object: &Node) -> Vec<String> {
        let cidrs = object.spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten()).enumerate();
        cidrs.flat_map(|(index, range)| cidr_warnings(&item("spec", "podCIDRs", index), range)).collect()
    }

    fn cells(object: &Node, now: Timestamp) -> Vec<Value> {
        let status = object.status.clone().unwrap_or_default();
        let info = status.node_info.clone().unwrap_or_default();
        let address = |kind: &str| {
            let found = status.addresses.iter().flatten().find(|a| a.type_ == kind);
            Value::from(found.map_or(NONE, |a| a.address.as_str()))
        };
        vec![
            cells::name(&object.metadata),
            readiness(object).into(),
            roles(object).into(),
            cells::age(&object.metadata, now),
            info.kubelet_version.as_str().into(),
            address("InternalIP"),
            address("ExternalIP"),
            or(Some(&info.os_image), UNKNOWN).into(),
            or(Some(&info.kernel_version), UNKNOWN).into(),
            or(Some(&info.container_runtime_version), UNKNOWN).into(),
        ]
    }
}

fn readiness(node: &Node) -> String {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let ready = match conditions.iter().find(|c| c.type_ == "Ready") {
        Some(condition) if condition.status == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true);
    if cordoned { format!("{ready},SchedulingDisabled") } else { ready.to_owned() }
}

fn roles(node: &Node) -> String {
    let role = |(key, value): (&String, &String)| match key.strip_prefix(ROLE_PREFIX) {
        Some(role) if !role.is_empty() => Some(role.to_owned()),
        _ => (key == ROLE && !value.is_empty()).then(|| value.clone()),
    };
    let roles: std::collections::BTreeSet<String> = node.metadata.labels.iter().flatten().filter_map(role).collect();
    if roles.is_empty() { NONE.to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn validate_taints(errors: &mut Errors, taints: &[Taint]) {
    let mut seen = std::collections::BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        // Upstream names this path, though taints stand in the spec.
        let path = item("metadata", "taints", index);
        require(errors, &at(&path, "key"), &taint.key, qualified_name);
        require(errors, &at(&path, "value"), taint.value.as_deref().unwrap_or_default(), label_value);
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        one_of(errors, at(&path, "effect"), Some(&taint.effect), &effects);
        if !seen.insert((taint.key.as_str(), taint.effect.as_str())) {
            let shown = serde_json::to_value(taint).unwrap_or_default();
            let mut error = FieldError::duplicate(path, shown);
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
    }
}
