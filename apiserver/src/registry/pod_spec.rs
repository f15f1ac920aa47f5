//! The spec of a pod, alone or in a template: defaults, rules and warnings that pods and workloads share.
//!
//! Source of the words, their places and their order: `k8s.io/kubernetes/pkg/apis/core/validation`.

mod affinity;
mod aggregate;
mod annotations;
mod container;
mod containers;
mod defaults;
mod downward;
mod environment;
mod mounts;
mod names;
mod operating_system;
mod probes;
mod profiles;
mod resources;
mod security;
mod spec;
mod spread;
mod template;
mod tolerations;
mod volumes;
mod warnings;
mod windows;

#[cfg(test)]
mod tests;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, PodSpec};

use super::check::path::Path;

pub(super) use annotations::validate as validate_annotations;
pub(super) use annotations::validate_agreement as validate_annotations_agree;
pub(super) use annotations::validate_update as validate_annotations_update;
pub(super) use container::untrimmed_image;
pub(super) use defaults::{default_pod, default_template};
pub(super) use profiles::{APP_ARMOR_CONTAINER, app_armor_of_annotation};
pub(super) use resources::quality_of_service;
pub(super) use spec::{Holder, validate as validate_spec};
pub(super) use spread::merge_label_keys;
pub(super) use template::{validate as validate_template, validate_any as validate_any_template, validate_selector};
pub(super) use tolerations::validate as validate_tolerations;
pub(super) use warnings::{about_name as name_warning, about_pod as pod_warnings, about_template as template_warnings};

/// Why an init container is what it is: the only restart policy that makes a sidecar of it.
const ALWAYS: &str = "Always";

/// Whether an init container runs beside the others, rather than before them.
fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some(ALWAYS)
}

/// Calls `visit` for each container with its place: init containers, containers, ephemeral containers.
fn visit(spec: &PodSpec, path: Path<'_>, mut visit: impl FnMut(&Container, Path<'_>)) {
    let list = path.field("initContainers");
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        visit(container, list.index(index));
    }
    let list = path.field("containers");
    for (index, container) in spec.containers.iter().enumerate() {
        visit(container, list.index(index));
    }
    let list = path.field("ephemeralContainers");
    for (index, container) in spec.ephemeral_containers.iter().flatten().enumerate() {
        visit(&as_container(container), list.index(index));
    }
}

/// An ephemeral container as the container that it would be: the same fields in another type.
fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let e = ephemeral.clone();
    Container {
        args: e.args,
        command: e.command,
        env: e.env,
        env_from: e.env_from,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        lifecycle: e.lifecycle,
        liveness_probe: e.liveness_probe,
        name: e.name,
        ports: e.ports,
        readiness_probe: e.readiness_probe,
        resize_policy: e.resize_policy,
        resources: e.resources,
        restart_policy: e.restart_policy,
        restart_policy_rules: e.restart_policy_rules,
        security_context: e.security_context,
        startup_probe: e.startup_probe,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        tty: e.tty,
        volume_devices: e.volume_devices,
        volume_mounts: e.volume_mounts,
        working_dir: e.working_dir,
    }
}
