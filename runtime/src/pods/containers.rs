//! The containers of a pod's spec, of all sorts alike.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};

use crate::lifecycle::Role;

/// All of them: init containers, its own, ephemeral ones.
pub(super) fn all(spec: &PodSpec) -> impl Iterator<Item = Container> {
    let fixed = spec.init_containers.iter().flatten().chain(&spec.containers).cloned();
    fixed.chain(spec.ephemeral_containers.iter().flatten().map(plain))
}

/// The container of this name.
pub(super) fn named(pod: &Pod, name: &str) -> Option<Container> {
    all(pod.spec.as_ref()?).find(|c| c.name == name)
}

/// How events refer to a container: `spec.containers{name}`.
pub(super) fn field(role: Role, name: &str) -> String {
    let list = match role {
        Role::Init | Role::Sidecar => "initContainers",
        Role::Main => "containers",
        Role::Ephemeral => "ephemeralContainers",
    };
    format!("spec.{list}{{{name}}}")
}

/// An ephemeral container has the fields of any other, and a target besides. Those that the API refuses it
/// (ports, probes, hooks, resources) are left out.
fn plain(c: &EphemeralContainer) -> Container {
    let c = c.clone();
    Container {
        name: c.name,
        image: c.image,
        command: c.command,
        args: c.args,
        working_dir: c.working_dir,
        env_from: c.env_from,
        env: c.env,
        volume_mounts: c.volume_mounts,
        volume_devices: c.volume_devices,
        termination_message_path: c.termination_message_path,
        termination_message_policy: c.termination_message_policy,
        image_pull_policy: c.image_pull_policy,
        security_context: c.security_context,
        stdin: c.stdin,
        stdin_once: c.stdin_once,
        tty: c.tty,
        ..Container::default()
    }
}
