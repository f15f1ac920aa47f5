//! The rules for the three lists of containers: what each may have, and that names and ports are not taken twice.

use std::collections::BTreeSet;

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, PodSpec};

use super::container::{self, Around};
use super::{as_container, is_sidecar, probes};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, text};

/// The rules for all containers of a spec.
pub(super) fn validate(errors: &mut Errors, path: Path<'_>, spec: &PodSpec, around: &Around<'_>) {
    regular(errors, path.field("containers"), spec, around);
    before(errors, path.field("initContainers"), spec, around);
    ephemeral(errors, path.field("ephemeralContainers"), spec, around);
}

fn regular(errors: &mut Errors, path: Path<'_>, spec: &PodSpec, around: &Around<'_>) {
    if spec.containers.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let mut names = BTreeSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        let path = path.index(index);
        container::validate(errors, path, container, around);
        if !names.insert(container.name.as_str()) {
            errors.push(FieldError::duplicate(path.field("name"), container.name.as_str()));
        }
        probes::validate(errors, path, container, around);
        container::restart_policy(errors, path, container);
    }
    let mut taken = BTreeSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        host_ports(errors, path.index(index), container, &mut taken);
    }
}

/// Init containers run one after the other, so that each has the ports of the host to itself.
fn before(errors: &mut Errors, path: Path<'_>, spec: &PodSpec, around: &Around<'_>) {
    let Some(containers) = spec.init_containers.as_deref().filter(|c| !c.is_empty()) else { return };
    let mut names: BTreeSet<&str> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    for (index, container) in containers.iter().enumerate() {
        let list = path;
        let path = path.index(index);
        container::validate(errors, path, container, around);
        container::restart_policy(errors, path, container);
        let name = container.name.as_str();
        if names.contains(name) {
            errors.push(FieldError::duplicate(path.field("name"), name));
        } else if !name.is_empty() {
            names.insert(name);
        }
        // Upstream looks at each as if it were the only one, and names the first.
        host_ports(errors, list.index(0), container, &mut BTreeSet::new());
        if is_sidecar(container) {
            probes::validate(errors, path, container, around);
        } else {
            unprobed(errors, path, container);
        }
    }
}

/// An init container that ends has nothing to probe.
fn unprobed(errors: &mut Errors, path: Path<'_>, container: &Container) {
    for (field, there) in [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ] {
        if there {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(path.field(field), detail));
        }
    }
}

fn ephemeral(errors: &mut Errors, path: Path<'_>, spec: &PodSpec, around: &Around<'_>) {
    let Some(containers) = spec.ephemeral_containers.as_deref().filter(|c| !c.is_empty()) else { return };
    let others = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let others: BTreeSet<&str> = others.map(|c| c.name.as_str()).collect();
    let mut names = others.clone();
    for (index, ephemeral) in containers.iter().enumerate() {
        let path = path.index(index);
        let container = as_container(ephemeral);
        container::validate(errors, path, &container, around);
        container::untrimmed_image(errors, path, &container);
        if !names.insert(ephemeral.name.as_str()) {
            errors.push(FieldError::duplicate(path.field("name"), ephemeral.name.as_str()));
        }
        let target = text(&ephemeral.target_container_name);
        if !target.is_empty() && !others.contains(target) {
            errors.push(FieldError::not_found(path.field("targetContainerName"), target));
        }
        unfit_for_ephemeral(errors, path, ephemeral);
    }
}

/// A container that is there to look on has no part in what the pod does.
fn unfit_for_ephemeral(errors: &mut Errors, path: Path<'_>, container: &EphemeralContainer) {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    let resources = container.resources.as_ref();
    let asks = resources.is_some_and(|r| r.limits.is_some() || r.requests.is_some() || r.claims.is_some());
    for (field, there) in [
        ("ports", container.ports.is_some()),
        ("resources", asks),
        ("resizePolicy", container.resize_policy.is_some()),
        ("restartPolicy", container.restart_policy.is_some()),
        ("restartPolicyRules", container.restart_policy_rules.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("lifecycle", container.lifecycle.is_some()),
    ] {
        if there {
            errors.push(FieldError::forbidden(path.field(field), DETAIL));
        }
    }
    let list = path.field("volumeMounts");
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = list.index(index);
        for (field, value) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
            if !text(value).is_empty() {
                errors.push(FieldError::forbidden(path.field(field), DETAIL));
            }
        }
    }
}

/// A port of the host: its protocol, address and number.
type HostPort<'a> = (&'a str, &'a str, i32);

fn host_ports<'a>(errors: &mut Errors, path: Path<'_>, container: &'a Container, taken: &mut BTreeSet<HostPort<'a>>) {
    let list = path.field("ports");
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let Some(number) = port.host_port.filter(|n| *n != 0) else { continue };
        let (protocol, address) = (text(&port.protocol), text(&port.host_ip));
        if !taken.insert((protocol, address, number)) {
            let place = list.index(index);
            errors.push(FieldError::duplicate(place.field("hostPort"), format!("{protocol}/{address}/{number}")));
        }
    }
}
