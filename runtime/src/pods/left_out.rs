//! What a pod's spec asks for and does not get, by name: nothing of a spec is ignored in silence.
//!
//! A pure reading of the spec; whoever runs the pod says it in an event. What cannot be left out without harm is not
//! here: it keeps the pod from starting (see `crate::volumes` and `crate::lifecycle`).

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};

use super::containers;

/// The fields of a spec that have no effect on this node.
pub(super) fn left_out(spec: &PodSpec) -> Vec<String> {
    let mut all = about_pod(spec);
    for container in containers::all(spec) {
        all.extend(
            about_container(&container).into_iter().map(|what| format!("{what} of container {}", container.name)),
        );
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        // It shares the pod's address, localhost and volumes; there are no processes to share.
        if container.target_container_name.as_deref().is_some_and(|target| !target.is_empty()) {
            all.push(format!("targetContainerName of container {}", container.name));
        }
    }
    for volume in spec.volumes.iter().flatten() {
        all.extend(about_volume(volume).into_iter().map(|what| format!("{what} of volume {}", volume.name)));
    }
    all
}

/// The names of those that are set.
fn set(fields: &[(&'static str, bool)]) -> Vec<&'static str> {
    fields.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect()
}

fn on(flag: Option<bool>) -> bool {
    flag == Some(true)
}

fn about_pod(spec: &PodSpec) -> Vec<String> {
    let affinity = spec.affinity.as_ref();
    let security = spec.security_context.as_ref();
    let fields = [
        ("spec.hostNetwork", on(spec.host_network)),
        ("spec.hostPID", on(spec.host_pid)),
        ("spec.hostIPC", on(spec.host_ipc)),
        ("spec.shareProcessNamespace", on(spec.share_process_namespace)),
        ("spec.hostUsers", spec.host_users == Some(false)),
        ("spec.runtimeClassName", spec.runtime_class_name.is_some()),
        ("spec.resourceClaims", spec.resource_claims.as_ref().is_some_and(|c| !c.is_empty())),
        ("spec.securityContext.seLinuxOptions", security.is_some_and(|s| s.se_linux_options.is_some())),
        ("spec.securityContext.seccompProfile", security.is_some_and(|s| s.seccomp_profile.is_some())),
        ("spec.securityContext.appArmorProfile", security.is_some_and(|s| s.app_armor_profile.is_some())),
        ("spec.securityContext.sysctls", security.is_some_and(|s| s.sysctls.as_ref().is_some_and(|l| !l.is_empty()))),
        ("spec.securityContext.windowsOptions", security.is_some_and(|s| s.windows_options.is_some())),
        ("spec.securityContext.fsGroup", security.is_some_and(|s| s.fs_group.is_some())),
        ("spec.securityContext.runAsUser", security.is_some_and(|s| s.run_as_user.is_some())),
        ("spec.securityContext.runAsGroup", security.is_some_and(|s| s.run_as_group.is_some())),
        ("spec.securityContext.supplementalGroups", security.is_some_and(|s| s.supplemental_groups.is_some())),
        ("spec.affinity.podAffinity", affinity.is_some_and(|a| a.pod_affinity.is_some())),
        ("spec.affinity.podAntiAffinity", affinity.is_some_and(|a| a.pod_anti_affinity.is_some())),
        ("spec.topologySpreadConstraints", spec.topology_spread_constraints.as_ref().is_some_and(|t| !t.is_empty())),
    ];
    set(&fields).into_iter().map(str::to_owned).collect()
}

fn about_container(container: &Container) -> Vec<&'static str> {
    let security = container.security_context.as_ref();
    set(&[
        ("securityContext.privileged", security.is_some_and(|s| on(s.privileged))),
        ("capabilities", security.is_some_and(|s| s.capabilities.as_ref().is_some_and(|c| c.add.is_some()))),
        ("procMount", security.is_some_and(|s| s.proc_mount.as_deref().is_some_and(|m| m != "Default"))),
        ("seLinuxOptions", security.is_some_and(|s| s.se_linux_options.is_some())),
        ("seccompProfile", security.is_some_and(|s| s.seccomp_profile.is_some())),
        ("appArmorProfile", security.is_some_and(|s| s.app_armor_profile.is_some())),
        ("windowsOptions", security.is_some_and(|s| s.windows_options.is_some())),
        (
            "restartPolicyRules of action RestartAllContainers (they restart the container alone)",
            container.restart_policy_rules.iter().flatten().any(|r| r.action == "RestartAllContainers"),
        ),
        ("lifecycle.stopSignal", container.lifecycle.as_ref().is_some_and(|l| l.stop_signal.is_some())),
        ("volumeDevices", container.volume_devices.as_ref().is_some_and(|d| !d.is_empty())),
        ("securityContext.runAsUser", security.is_some_and(|s| s.run_as_user.is_some())),
        ("securityContext.runAsGroup", security.is_some_and(|s| s.run_as_group.is_some())),
        (
            "volumeMounts.mountPropagation (a guest sees no mounts)",
            container
                .volume_mounts
                .iter()
                .flatten()
                .any(|m| m.mount_propagation.as_deref().is_some_and(|p| p != "None")),
        ),
        ("hostPort", container.ports.iter().flatten().any(|p| p.host_port.is_some_and(|port| port > 0))),
    ])
}

fn about_volume(volume: &Volume) -> Vec<&'static str> {
    let sources = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
    let mut others = sources.filter(|s| s.cluster_trust_bundle.is_some() || s.pod_certificate.is_some());
    set(&[("certificates and their bundles", others.next().is_some())])
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(spec: serde_json::Value, expected: Expect) {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        expected.assert_eq(&left_out(&spec).join("\n"));
    }

    #[test]
    fn a_plain_pod_gets_all_it_asks_for() {
        let container = json!({
            "name": "a", "image": "a:1", "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File", "resources": {"limits": {"memory": "1Mi"}},
        });
        let volumes = json!([{"name": "v", "emptyDir": {}}]);
        check(json!({"containers": [container], "volumes": volumes, "dnsPolicy": "ClusterFirst"}), expect![[""]]);
    }

    #[test]
    fn each_field_without_effect_is_named() {
        let container = json!({
            "name": "a", "image": "a:1", "tty": true, "terminationMessagePath": "/words",
            "securityContext": {"procMount": "Unmasked", "seLinuxOptions": {}, "windowsOptions": {}},
            "ports": [{"containerPort": 80, "hostPort": 80}],
            "lifecycle": {"stopSignal": "SIGUSR1", "preStop": {"sleep": {"seconds": 1}}},
        });
        let spec = json!({
            "containers": [container], "hostNetwork": true,
            "affinity": {"podAntiAffinity": {}}, "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}],
        });
        check(
            spec,
            expect![[r"
                spec.hostNetwork
                spec.affinity.podAntiAffinity
                procMount of container a
                seLinuxOptions of container a
                windowsOptions of container a
                lifecycle.stopSignal of container a
                hostPort of container a"]],
        );
    }
}
