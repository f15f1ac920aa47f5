//! What a pod's spec may say, but to no good: upstream's warnings, and ours about what cannot hold in wasm.

use std::collections::BTreeMap;

use coracle_api::quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::volumes;
use crate::registry::check::{at, item};

/// Labels of nodes that go by another name now.
const OLD_LABELS: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "kubernetes.io/arch", "v1.14"),
    ("beta.kubernetes.io/os", "kubernetes.io/os", "v1.14"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type", "v1.17"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region", "v1.17"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone", "v1.17"),
];

/// Why a setting has no effect here.
const NO_EFFECT: &str = "has no effect: the pod runs as WebAssembly, in a sandbox without it";

/// All warnings about a spec.
pub(in crate::registry) fn warnings(path: &str, spec: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    for key in spec.node_selector.iter().flatten().map(|(key, _)| key) {
        if let Some((_, new, since)) = OLD_LABELS.iter().find(|(old, _, _)| old == key) {
            let place = at(path, &format!("nodeSelector[{key}]"));
            found.push(format!("{place}: deprecated since {since}; use {new:?} instead"));
        }
    }
    let mut secrets = std::collections::BTreeSet::new();
    for (index, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        let place = item(path, "imagePullSecrets", index);
        if secret.name.is_empty() {
            found.push(format!("{place}: invalid empty name \"\""));
        } else if !secrets.insert(secret.name.as_str()) {
            found.push(format!("{}: duplicate name {:?}", at(&place, "name"), secret.name));
        }
    }
    let both = [("initContainers", spec.init_containers.as_deref()), ("containers", Some(&*spec.containers))];
    for (field, containers) in both {
        for (index, container) in containers.iter().copied().flatten().enumerate() {
            about_container(&mut found, &item(path, field, index), container);
        }
    }
    without_effect(&mut found, path, spec);
    found
}

fn about_container(found: &mut Vec<String>, path: &str, container: &Container) {
    for (field, amounts) in [
        ("limits", container.resources.as_ref().and_then(|r| r.limits.as_ref())),
        ("requests", container.resources.as_ref().and_then(|r| r.requests.as_ref())),
    ] {
        for (name, amount) in amounts.into_iter().flatten() {
            let exact = quantity::nanos(&amount.0).unwrap_or(0) % 1_000_000_000 == 0;
            if matches!(name.as_str(), "memory" | "ephemeral-storage") && !exact {
                let place = at(path, &format!("resources.{field}[{name}]"));
                found.push(format!("{place}: fractional byte value {:?} is invalid, must be an integer", amount.0));
            }
        }
    }
    let mut variables = std::collections::BTreeSet::new();
    for (index, variable) in container.env.iter().flatten().enumerate() {
        if !variables.insert(variable.name.as_str()) {
            let place = item(path, "env", index);
            let name = &variable.name;
            found
                .push(format!("{place}: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
    }
    let mut ports = BTreeMap::new();
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let place = item(path, "ports", index);
        let key = (port.container_port, port.protocol.as_deref(), port.host_port.unwrap_or(0), port.host_ip.as_deref());
        match ports.get(&key) {
            Some(first) => found.push(format!("{place}: duplicate port definition with {first}")),
            None => {
                ports.insert(key, place);
            }
        }
    }
    about_security(found, &at(path, "securityContext"), container);
}

fn about_security(found: &mut Vec<String>, path: &str, container: &Container) {
    let Some(context) = &container.security_context else { return };
    let capabilities = context.capabilities.as_ref().and_then(|c| c.add.as_ref()).is_some_and(|add| !add.is_empty());
    for (field, set) in [
        ("privileged", context.privileged == Some(true)),
        ("capabilities.add", capabilities),
        ("procMount", context.proc_mount.as_deref().is_some_and(|m| m != "Default")),
        ("seLinuxOptions", context.se_linux_options.is_some()),
        ("windowsOptions", context.windows_options.is_some()),
    ] {
        if set {
            found.push(format!("{}: {NO_EFFECT}", at(path, field)));
        }
    }
}

fn without_effect(found: &mut Vec<String>, path: &str, spec: &PodSpec) {
    for (field, set) in [
        ("hostPID", spec.host_pid),
        ("hostIPC", spec.host_ipc),
        ("hostNetwork", spec.host_network),
        ("shareProcessNamespace", spec.share_process_namespace),
    ] {
        if set == Some(true) {
            found.push(format!("{}: {NO_EFFECT}", at(path, field)));
        }
    }
    if spec.runtime_class_name.as_deref().is_some_and(|name| !name.is_empty()) {
        found.push(format!("{}: has no effect: every pod runs as WebAssembly", at(path, "runtimeClassName")));
    }
    for (field, containers) in
        [("initContainers", spec.init_containers.as_deref()), ("containers", Some(&*spec.containers))]
    {
        for (index, container) in containers.iter().copied().flatten().enumerate() {
            if container.volume_devices.as_ref().is_some_and(|d| !d.is_empty()) {
                found.push(format!("{}: {NO_EFFECT}", at(&item(path, field, index), "volumeDevices")));
            }
        }
    }
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        for source in volumes::sources(volume).filter(|s| !volumes::OFFERED.contains(s)) {
            let place = at(&item(path, "volumes", index), source);
            let offered = volumes::OFFERED.join(", ");
            found.push(format!("{place}: not offered here, so that the pod will not start; use one of {offered}"));
        }
    }
}
