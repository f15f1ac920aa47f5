//! The rules for containers: names, images, ports, mounts, security.

use std::collections::BTreeSet;

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec, SecurityContext};

use super::{environment, probes, resources, volumes};
use crate::registry::check::names::{self, require};
use crate::registry::check::numbers::port;
use crate::registry::check::{Errors, at, item, one_of};

/// The rules for all containers of a spec.
pub(super) fn validate(errors: &mut Errors, path: &str, spec: &PodSpec) {
    if spec.containers.is_empty() {
        errors.push(FieldError::required(at(path, "containers"), ""));
    }
    let mut names = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let path = item(path, "containers", index);
        unique(errors, &path, &mut names, container);
        one(errors, &path, container, spec);
        validate_host_ports(errors, &path, container, &mut host_ports);
        if container.restart_policy.is_some() && container.restart_policy.as_deref() != Some("") {
            let value = container.restart_policy.as_deref().unwrap_or_default();
            one_of(errors, at(&path, "restartPolicy"), Some(value), &["Always", "Never", "OnFailure"]);
        }
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let path = item(path, "initContainers", index);
        unique(errors, &path, &mut names, container);
        one(errors, &path, container, spec);
        if container.restart_policy.as_deref() != Some("Always") {
            no_probes(errors, &path, container);
        }
    }
}

fn unique<'a>(errors: &mut Errors, path: &str, names: &mut BTreeSet<&'a str>, container: &'a Container) {
    if !container.name.is_empty() && !names.insert(&container.name) {
        errors.push(FieldError::duplicate(at(path, "name"), container.name.as_str()));
    }
}

/// An init container that ends has nothing to probe.
fn no_probes(errors: &mut Errors, path: &str, container: &Container) {
    for (field, there) in [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ] {
        if there {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(at(path, field), detail));
        }
    }
}

fn one(errors: &mut Errors, path: &str, container: &Container, spec: &PodSpec) {
    if container.name.is_empty() {
        errors.push(FieldError::required(at(path, "name"), ""));
    } else {
        require(errors, &at(path, "name"), &container.name, names::label);
    }
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        errors.push(FieldError::required(at(path, "image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(at(path, "image"), image, "must not have leading or trailing whitespace"));
    }
    probes::validate(errors, path, container);
    let policies = ["File", "FallbackToLogsOnError"];
    let policy = container.termination_message_policy.as_deref();
    one_of(errors, at(path, "terminationMessagePolicy"), policy, &policies);
    ports(errors, path, container.ports.as_deref().unwrap_or_default());
    environment::validate(errors, path, container);
    mounts(errors, path, container, spec);
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(errors, at(path, "imagePullPolicy"), container.image_pull_policy.as_deref(), &policies);
    if let Some(resources) = &container.resources {
        resources::validate(errors, &at(path, "resources"), resources);
    }
    if let Some(context) = &container.security_context {
        security(errors, &at(path, "securityContext"), context);
    }
}

fn ports(errors: &mut Errors, path: &str, ports: &[ContainerPort]) {
    let mut seen = BTreeSet::new();
    for (index, p) in ports.iter().enumerate() {
        let path = item(path, "ports", index);
        if let Some(name) = p.name.as_deref().filter(|n| !n.is_empty()) {
            let before = errors.len();
            require(errors, &at(&path, "name"), name, names::port);
            if errors.len() == before && !seen.insert(name) {
                errors.push(FieldError::duplicate(at(&path, "name"), name));
            }
        }
        if p.container_port == 0 {
            errors.push(FieldError::required(at(&path, "containerPort"), ""));
        } else {
            port(errors, at(&path, "containerPort"), p.container_port);
        }
        if let Some(number) = p.host_port.filter(|n| *n != 0) {
            port(errors, at(&path, "hostPort"), number);
        }
        one_of(errors, at(&path, "protocol"), p.protocol.as_deref(), &["SCTP", "TCP", "UDP"]);
    }
}

fn validate_host_ports(errors: &mut Errors, path: &str, container: &Container, seen: &mut BTreeSet<String>) {
    for (index, p) in container.ports.iter().flatten().enumerate() {
        let Some(number) = p.host_port.filter(|n| *n != 0) else { continue };
        let protocol = p.protocol.as_deref().unwrap_or_default();
        let key = format!("{protocol}/{}/{number}", p.host_ip.as_deref().unwrap_or_default());
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(at(&item(path, "ports", index), "hostPort"), key));
        } else {
            seen.insert(key);
        }
    }
}

fn mounts(errors: &mut Errors, path: &str, container: &Container, spec: &PodSpec) {
    let known: BTreeSet<&str> = spec.volumes.iter().flatten().map(|v| v.name.as_str()).collect();
    let mut paths = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let place = item(path, "volumeMounts", index);
        if mount.name.is_empty() {
            errors.push(FieldError::required(at(&place, "name"), ""));
        } else if !known.contains(mount.name.as_str()) {
            errors.push(FieldError::not_found(at(&place, "name"), mount.name.as_str()));
        }
        if mount.mount_path.is_empty() {
            errors.push(FieldError::required(at(&place, "mountPath"), ""));
        }
        if !paths.insert(mount.mount_path.as_str()) {
            let detail = "must be unique";
            errors.push(FieldError::invalid(at(&place, "mountPath"), mount.mount_path.as_str(), detail));
        }
        let sub = |text: &Option<String>| text.clone().unwrap_or_default();
        let (sub_path, expression) = (sub(&mount.sub_path), sub(&mount.sub_path_expr));
        // Upstream names these two without the index.
        volumes::relative(errors, &at(&at(path, "volumeMounts"), "subPath"), &sub_path);
        if !sub_path.is_empty() && !expression.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(at(&place, "subPathExpr"), expression.as_str(), detail));
        }
        volumes::relative(errors, &at(&at(path, "volumeMounts"), "subPathExpr"), &expression);
    }
}

fn security(errors: &mut Errors, path: &str, context: &SecurityContext) {
    for (field, id) in [("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)] {
        super::spec::identity(errors, at(path, field), id);
    }
    if context.privileged == Some(true) && context.allow_privilege_escalation == Some(false) {
        let shown = serde_json::to_value(context).unwrap_or_default();
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(path, shown, detail));
    }
}
