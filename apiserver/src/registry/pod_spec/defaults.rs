//! What a pod's spec has where nobody says otherwise.

mod pod_level;
mod volumes;

use coracle_api::wellknown::DEFAULT_SCHEDULER;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EphemeralContainer, HTTPGetAction, Lifecycle, LifecycleHandler,
    ObjectFieldSelector, PodSpec, PodTemplateSpec, Probe, ResourceFieldSelector, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// How long a pod may take to stop.
const GRACE_SECONDS: i64 = 30;

/// Fills in a template.
pub(in crate::registry) fn default_template(template: &mut PodTemplateSpec) {
    template.metadata.get_or_insert_default();
    default_spec(template.spec.get_or_insert_default());
}

/// Fills in a pod: what is filled in for a template, and what is left to the pods that are made from it.
pub(in crate::registry) fn default_pod(spec: &mut PodSpec) {
    default_spec(spec);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        requests_from_limits(container.resources.get_or_insert_default());
    }
    pod_level::fill(spec);
    spec.enable_service_links.get_or_insert(true);
    if spec.host_network == Some(true) {
        let containers = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
        for port in containers.flat_map(|c| c.ports.iter_mut().flatten()) {
            if port.host_port.unwrap_or(0) == 0 {
                port.host_port = Some(port.container_port);
            }
        }
    }
}

fn default_spec(spec: &mut PodSpec) {
    fill(&mut spec.restart_policy, "Always");
    fill(&mut spec.dns_policy, "ClusterFirst");
    fill(&mut spec.scheduler_name, DEFAULT_SCHEDULER);
    let grace = spec.termination_grace_period_seconds.get_or_insert(GRACE_SECONDS);
    if *grace < 0 {
        *grace = 1;
    }
    spec.security_context.get_or_insert_default();
    service_account(spec);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        Parts::of(container).fill();
    }
    for container in spec.ephemeral_containers.iter_mut().flatten() {
        Parts::of_ephemeral(container).fill();
    }
    spec.volumes.iter_mut().flatten().for_each(volumes::fill_volume);
}

fn fill(field: &mut Option<String>, value: &str) {
    if field.as_deref().is_none_or(str::is_empty) {
        *field = Some(value.to_owned());
    }
}

/// A field that goes by two names: the newer wins.
fn service_account(spec: &mut PodSpec) {
    let name = spec.service_account_name.take().filter(|n| !n.is_empty());
    let name = name.or_else(|| spec.service_account.take().filter(|n| !n.is_empty()));
    spec.service_account.clone_from(&name);
    spec.service_account_name = name;
}

/// What of a container is filled in, whichever list it is in.
struct Parts<'a> {
    image: &'a str,
    image_pull_policy: &'a mut Option<String>,
    termination_message_path: &'a mut Option<String>,
    termination_message_policy: &'a mut Option<String>,
    resources: &'a mut Option<ResourceRequirements>,
    ports: Option<&'a mut Vec<ContainerPort>>,
    env: Option<&'a mut Vec<EnvVar>>,
    probes: [Option<&'a mut Probe>; 3],
    lifecycle: Option<&'a mut Lifecycle>,
}

macro_rules! parts {
    ($container:ident) => {
        Self {
            image: $container.image.as_deref().unwrap_or_default(),
            image_pull_policy: &mut $container.image_pull_policy,
            termination_message_path: &mut $container.termination_message_path,
            termination_message_policy: &mut $container.termination_message_policy,
            resources: &mut $container.resources,
            ports: $container.ports.as_mut(),
            env: $container.env.as_mut(),
            probes: [
                $container.liveness_probe.as_mut(),
                $container.readiness_probe.as_mut(),
                $container.startup_probe.as_mut(),
            ],
            lifecycle: $container.lifecycle.as_mut(),
        }
    };
}

impl<'a> Parts<'a> {
    fn of(container: &'a mut Container) -> Self {
        parts!(container)
    }

    fn of_ephemeral(container: &'a mut EphemeralContainer) -> Self {
        parts!(container)
    }

    fn fill(self) {
        fill(self.termination_message_path, "/dev/termination-log");
        fill(self.termination_message_policy, "File");
        fill(self.image_pull_policy, pull_policy(self.image));
        self.resources.get_or_insert_default();
        for port in self.ports.into_iter().flatten() {
            fill(&mut port.protocol, "TCP");
        }
        self.env.into_iter().flatten().for_each(fill_variable);
        self.probes.into_iter().flatten().for_each(fill_probe);
        if let Some(lifecycle) = self.lifecycle {
            lifecycle.post_start.iter_mut().for_each(fill_handler);
            lifecycle.pre_stop.iter_mut().for_each(fill_handler);
        }
    }
}

/// An image whose tag moves is looked for anew each time. What is no name of an image has no tag that could move.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let (name, tag) = match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => (before, Some(tag)),
        Some(_) | None => (name, None),
    };
    let moves = tag == Some("latest") || tag.is_none() && digest.is_none();
    if moves && is_repository(name) && digest.is_none_or(is_digest) { "Always" } else { "IfNotPresent" }
}

/// Components of small letters and digits, after the address of a registry if there is one.
fn is_repository(name: &str) -> bool {
    let is_registry = |first: &str| {
        first.contains(['.', ':']) || first == "localhost" || first.contains(|c: char| c.is_ascii_uppercase())
    };
    let path = match name.split_once('/') {
        Some((first, rest)) if is_registry(first) => rest,
        Some(_) | None => name,
    };
    let outer = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    path.split('/').all(|part| {
        part.starts_with(outer)
            && part.ends_with(outer)
            && part.chars().all(|c| outer(c) || matches!(c, '.' | '_' | '-'))
    })
}

/// The name of an algorithm, and at least 32 hexadecimal digits.
fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

fn requests_from_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = &resources.limits else { return };
    for (name, limit) in limits {
        resources.requests.get_or_insert_default().entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

fn fill_variable(variable: &mut EnvVar) {
    let Some(from) = &mut variable.value_from else { return };
    from.field_ref.iter_mut().for_each(fill_field);
    from.resource_field_ref.iter_mut().for_each(fill_resource);
    if let Some(key) = &mut from.file_key_ref {
        key.optional.get_or_insert(false);
    }
}

fn fill_field(field: &mut ObjectFieldSelector) {
    fill(&mut field.api_version, "v1");
}

/// A divisor is a number in Go, which is always there.
fn fill_resource(resource: &mut ResourceFieldSelector) {
    resource.divisor.get_or_insert_with(|| Quantity("0".to_owned()));
}

fn fill_probe(probe: &mut Probe) {
    let at_least = |field: &mut Option<i32>, value: i32| {
        if field.unwrap_or(0) == 0 {
            *field = Some(value);
        }
    };
    at_least(&mut probe.timeout_seconds, 1);
    at_least(&mut probe.period_seconds, 10);
    at_least(&mut probe.success_threshold, 1);
    at_least(&mut probe.failure_threshold, 3);
    probe.http_get.iter_mut().for_each(fill_http);
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn fill_handler(handler: &mut LifecycleHandler) {
    handler.http_get.iter_mut().for_each(fill_http);
}

fn fill_http(http: &mut HTTPGetAction) {
    fill(&mut http.path, "/");
    fill(&mut http.scheme, "HTTP");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_image_that_moves_is_always_pulled() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (image, expected) in [
            ("img", "Always"),
            ("img:latest", "Always"),
            ("img:v1", "IfNotPresent"),
            ("host:5000/img", "Always"),
            ("Host/a/img_1", "Always"),
            ("host:5000/img:1", "IfNotPresent"),
            (&format!("img@{digest}"), "IfNotPresent"),
            (&format!("img:v1@{digest}"), "IfNotPresent"),
            (&format!("img:latest@{digest}"), "Always"),
            ("img:latest@sha256:a", "IfNotPresent"),
            ("IMG", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), expected, "{image}");
        }
    }
}
