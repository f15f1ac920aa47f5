//! What a pod's spec has where nobody says otherwise.

use coracle_api::wellknown::DEFAULT_SCHEDULER;
use k8s_openapi::api::core::v1::{
    Container, EnvVar, LifecycleHandler, ObjectFieldSelector, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
    Volume, VolumeProjection,
};

/// File modes of what volumes project, unless they say so: readable by all, writable by the owner.
const FILE_MODE: i32 = 0o644;
/// How long a projected token lives.
const TOKEN_SECONDS: i64 = 3600;
/// How long a pod may take to stop.
const GRACE_SECONDS: i64 = 30;

/// Fills in a template.
pub(in crate::registry) fn default_template(template: &mut PodTemplateSpec) {
    template.metadata.get_or_insert_default();
    default_spec(template.spec.get_or_insert_default());
}

/// Fills in a spec.
pub(in crate::registry) fn default_spec(spec: &mut PodSpec) {
    fill(&mut spec.restart_policy, "Always");
    fill(&mut spec.dns_policy, "ClusterFirst");
    fill(&mut spec.scheduler_name, DEFAULT_SCHEDULER);
    let grace = spec.termination_grace_period_seconds.get_or_insert(GRACE_SECONDS);
    if *grace < 0 {
        *grace = 1;
    }
    spec.security_context.get_or_insert_default();
    if spec.host_network == Some(true) {
        host_ports(spec);
    }
    service_account(spec);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        default_container(container);
    }
    spec.volumes.iter_mut().flatten().for_each(default_volume);
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

fn host_ports(spec: &mut PodSpec) {
    let containers = spec.init_containers.iter_mut().flatten().chain(&mut spec.containers);
    for port in containers.flat_map(|c| c.ports.iter_mut().flatten()) {
        if port.host_port.unwrap_or(0) == 0 {
            port.host_port = Some(port.container_port);
        }
    }
}

fn default_container(container: &mut Container) {
    fill(&mut container.termination_message_path, "/dev/termination-log");
    fill(&mut container.termination_message_policy, "File");
    let policy = pull_policy(container.image.as_deref().unwrap_or_default());
    fill(&mut container.image_pull_policy, policy);
    requests_from_limits(container.resources.get_or_insert_default());
    for port in container.ports.iter_mut().flatten() {
        fill(&mut port.protocol, "TCP");
    }
    container.env.iter_mut().flatten().for_each(default_variable);
    for probe in [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe] {
        probe.iter_mut().for_each(default_probe);
    }
    if let Some(lifecycle) = &mut container.lifecycle {
        lifecycle.post_start.iter_mut().for_each(default_handler);
        lifecycle.pre_stop.iter_mut().for_each(default_handler);
    }
}

/// An image whose tag moves is looked for anew each time.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or(image);
    let moves = match (image.contains('@'), name.split_once(':')) {
        (true, _) => false,
        (false, Some((_, tag))) => tag == "latest",
        (false, None) => true,
    };
    if moves { "Always" } else { "IfNotPresent" }
}

fn requests_from_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = &resources.limits else { return };
    for (name, limit) in limits {
        resources.requests.get_or_insert_default().entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

fn default_variable(variable: &mut EnvVar) {
    if let Some(field) = variable.value_from.as_mut().and_then(|from| from.field_ref.as_mut()) {
        default_field(field);
    }
}

fn default_field(field: &mut ObjectFieldSelector) {
    fill(&mut field.api_version, "v1");
}

fn default_probe(probe: &mut Probe) {
    let at_least = |field: &mut Option<i32>, value: i32| {
        if field.unwrap_or(0) == 0 {
            *field = Some(value);
        }
    };
    at_least(&mut probe.timeout_seconds, 1);
    at_least(&mut probe.period_seconds, 10);
    at_least(&mut probe.success_threshold, 1);
    at_least(&mut probe.failure_threshold, 3);
    if let Some(http) = &mut probe.http_get {
        fill(&mut http.path, "/");
        fill(&mut http.scheme, "HTTP");
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn default_handler(handler: &mut LifecycleHandler) {
    if let Some(http) = &mut handler.http_get {
        fill(&mut http.path, "/");
        fill(&mut http.scheme, "HTTP");
    }
}

fn default_volume(volume: &mut Volume) {
    if super::volumes::sources(volume).next().is_none() {
        volume.empty_dir = Some(Default::default());
    }
    if let Some(source) = &mut volume.config_map {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.secret {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.host_path {
        source.type_.get_or_insert_default();
    }
    if let Some(source) = &mut volume.downward_api {
        source.default_mode.get_or_insert(FILE_MODE);
        source.items.iter_mut().flatten().filter_map(|i| i.field_ref.as_mut()).for_each(default_field);
    }
    if let Some(source) = &mut volume.projected {
        source.default_mode.get_or_insert(FILE_MODE);
        source.sources.iter_mut().flatten().for_each(default_projection);
    }
    let claim = volume.ephemeral.as_mut().and_then(|e| e.volume_claim_template.as_mut());
    if let Some(claim) = claim {
        claim.spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
    }
}

fn default_projection(projection: &mut VolumeProjection) {
    if let Some(token) = &mut projection.service_account_token {
        token.expiration_seconds.get_or_insert(TOKEN_SECONDS);
    }
    let items = projection.downward_api.iter_mut().flat_map(|d| d.items.iter_mut().flatten());
    items.filter_map(|i| i.field_ref.as_mut()).for_each(default_field);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_image_that_moves_is_always_pulled() {
        for (image, expected) in [
            ("img", "Always"),
            ("img:latest", "Always"),
            ("img:v1", "IfNotPresent"),
            ("host:5000/img", "Always"),
            ("host:5000/img:1", "IfNotPresent"),
            ("img@sha256:aa", "IfNotPresent"),
            ("img:latest@sha256:aa", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), expected, "{image}");
        }
    }
}
