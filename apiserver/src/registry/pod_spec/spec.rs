//! The rules for a pod's spec as a whole, in the order in which upstream tells them.

use std::collections::BTreeSet;

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{PodResourceClaim, PodSpec};

use super::container::Around;
use super::{affinity, containers, names, operating_system, resources, security, spread, tolerations, volumes};
use crate::registry::check::labels::{labels, qualified_name};
use crate::registry::check::names::{label, require, subdomain};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, one_of, text};

/// Whose spec it is: some rules are told of a pod, and not yet of a template that pods are made from.
#[derive(Debug, Clone, Copy)]
pub(in crate::registry) enum Holder<'a> {
    /// A pod of this name; empty if it has none.
    Pod(&'a str),
    /// A template.
    Template,
}

/// The rules for a spec.
pub(in crate::registry) fn validate(errors: &mut Errors, path: Path<'_>, spec: &PodSpec, holder: Holder<'_>) {
    let known = volumes::validate(errors, path.field("volumes"), spec, holder);
    let claims = resource_claims(errors, path.field("resourceClaims"), spec.resource_claims.as_deref());
    let around = Around::new(spec, known, claims);
    containers::validate(errors, path, spec, &around);
    if let Some(required) = &spec.resources {
        resources::validate_pod_level(errors, path.field("resources"), required, spec, &around.claims);
    }
    host_network_ports(errors, path.field("containers"), spec, holder);
    let policies = ["Always", "OnFailure", "Never"];
    one_of(errors, path.field("restartPolicy"), spec.restart_policy.as_deref(), &policies);
    names::validate_policy(errors, path.field("dnsPolicy"), spec);
    if let Some(map) = &spec.node_selector {
        labels(errors, path.field("nodeSelector"), map);
    }
    security::validate_pod(errors, path.field("securityContext"), spec);
    if let Some(wanted) = &spec.affinity {
        affinity::validate(errors, path.field("affinity"), wanted);
    }
    names::validate_config(errors, path.field("dnsConfig"), spec);
    gates(errors, path, spec);
    spread::validate(errors, path.field("topologySpreadConstraints"), spec);
    operating_system::validate_host_processes(errors, path, spec);
    operating_system::validate_host_users(errors, path, spec);
    identities(errors, path, spec);
    if let Some(map) = &spec.overhead {
        resources::validate_overhead(errors, path.field("overhead"), map);
    }
    operating_system::validate(errors, path, spec);
}

/// Names that a spec gives or refers to.
fn identities(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    let mut named = |field: &'static str, value: &Option<String>, rule: fn(&str) -> Vec<String>| {
        if !text(value).is_empty() {
            require(errors, path.field(field), text(value), rule);
        }
    };
    named("serviceAccountName", &spec.service_account_name, subdomain);
    named("nodeName", &spec.node_name, subdomain);
    if let Some(seconds) = spec.active_deadline_seconds.filter(|s| !(1..=i64::from(i32::MAX)).contains(s)) {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.push(FieldError::invalid(path.field("activeDeadlineSeconds"), seconds, detail));
    }
    let mut named = |field: &'static str, value: &Option<String>, rule: fn(&str) -> Vec<String>| {
        if !text(value).is_empty() {
            require(errors, path.field(field), text(value), rule);
        }
    };
    named("hostname", &spec.hostname, label);
    named("subdomain", &spec.subdomain, label);
    names::validate_override(errors, path.field("hostnameOverride"), spec);
    tolerations::validate(errors, path.field("tolerations"), spec.tolerations.as_deref().unwrap_or_default());
    names::validate_aliases(errors, path.field("hostAliases"), spec);
    if !text(&spec.priority_class_name).is_empty() {
        require(errors, path.field("priorityClassName"), text(&spec.priority_class_name), subdomain);
    }
    if let Some(class) = &spec.runtime_class_name {
        require(errors, path.field("runtimeClassName"), class, subdomain);
    }
    if let Some(policy) = &spec.preemption_policy {
        one_of(errors, path.field("preemptionPolicy"), Some(policy), &["PreemptLowerPriority", "Never"]);
    }
}

fn gates(errors: &mut Errors, path: Path<'_>, spec: &PodSpec) {
    let list = path.field("readinessGates");
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let place = list.index(index);
        require(errors, place.field("conditionType"), &gate.condition_type, qualified_name);
    }
    let list = path.field("schedulingGates");
    let mut seen = BTreeSet::new();
    for (index, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        require(errors, list.index(index), &gate.name, qualified_name);
        if !seen.insert(gate.name.as_str()) {
            errors.push(FieldError::duplicate(list.index(index), gate.name.as_str()));
        }
    }
}

/// The rules for the claims of a pod; gives their names, which containers refer to.
fn resource_claims<'a>(
    errors: &mut Errors,
    path: Path<'_>,
    claims: Option<&'a [PodResourceClaim]>,
) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, claim) in claims.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        let place = path.field("name");
        if claim.name.is_empty() {
            errors.push(FieldError::required(place, ""));
        } else if !seen.insert(claim.name.as_str()) {
            errors.push(FieldError::duplicate(place, claim.name.as_str()));
        } else {
            require(errors, place, &claim.name, label);
        }
        let shown = || serde_json::to_value(claim).unwrap_or_default();
        let (name, template) = (&claim.resource_claim_name, &claim.resource_claim_template_name);
        if name.is_some() && template.is_some() {
            let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
            errors.push(FieldError::invalid(path, shown(), detail));
        }
        if name.is_none() && template.is_none() {
            let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
            errors.push(FieldError::invalid(path, shown(), detail));
        }
        for (field, value) in [("resourceClaimName", name), ("resourceClaimTemplateName", template)] {
            if let Some(value) = value {
                require(errors, path.field(field), value, subdomain);
            }
        }
    }
    seen
}

/// On the network of its host a container's port is the host's port. A template may leave it open.
fn host_network_ports(errors: &mut Errors, path: Path<'_>, spec: &PodSpec, holder: Holder<'_>) {
    if spec.host_network != Some(true) {
        return;
    }
    for (index, container) in spec.containers.iter().enumerate() {
        let path = path.index(index);
        let path = path.field("ports");
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let number = port.host_port.unwrap_or(0);
            let told = matches!(holder, Holder::Pod(_)) || number != 0;
            if told && number != port.container_port {
                let place = path.index(index);
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(place.field("hostPort"), number, detail));
            }
        }
    }
}
