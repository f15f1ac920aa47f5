//! Security: identities, privileges, profiles, operating systems.

use expect_test::expect;
use serde_json::json;

use super::{check, check_container};

#[test]
fn a_pods_security_is_checked() {
    check(
        json!({
            "hostPID": true, "shareProcessNamespace": true, "hostNetwork": true,
            "securityContext": {
                "fsGroup": -1, "runAsUser": -1, "runAsGroup": 4_294_967_296_i64, "supplementalGroups": [1, -1],
                "sysctls": [{"name": "", "value": ""}, {"name": "A", "value": ""}, {"name": "net.a", "value": ""}, {"name": "net.a", "value": ""}],
                "fsGroupChangePolicy": "X", "supplementalGroupsPolicy": "X", "seLinuxChangePolicy": "X",
                "seccompProfile": {"type": "Localhost"}, "appArmorProfile": {"type": ""},
            },
        }),
        expect![[r#"
            spec.securityContext.fsGroup: Invalid value: -1: must be between 0 and 2147483647, inclusive
            spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive
            spec.securityContext.runAsGroup: Invalid value: 4294967296: must be between 0 and 2147483647, inclusive
            spec.securityContext.supplementalGroups[1]: Invalid value: -1: must be between 0 and 2147483647, inclusive
            spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled
            spec.securityContext.sysctls[0].name: Required value
            spec.securityContext.sysctls[1].name: Invalid value: "A": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$
            spec.securityContext.sysctls[2].name: Invalid value: "net.a": may not be specified when 'hostNetwork' is true
            spec.securityContext.sysctls[3].name: Duplicate value: "net.a"
            spec.securityContext.sysctls[3].name: Invalid value: "net.a": may not be specified when 'hostNetwork' is true
            spec.securityContext.fsGroupChangePolicy: Unsupported value: "X": supported values: "Always", "OnRootMismatch"
            spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost
            spec.securityContext.appArmorProfile.type: Required value: type is required when appArmorProfile is set
            spec.securityContext.supplementalGroupsPolicy: Unsupported value: "X": supported values: "Merge", "Strict"
            spec.securityContext.seLinuxChangePolicy: Unsupported value: "X": supported values: "MountOption", "Recursive""#]],
    );
}

#[test]
fn a_containers_security_is_checked() {
    check_container(
        json!({"securityContext": {
            "privileged": true, "allowPrivilegeEscalation": false, "capabilities": {"add": ["CAP_SYS_ADMIN"]},
            "runAsUser": -1, "procMount": "Unmasked", "seccompProfile": {"type": "X", "localhostProfile": "a"},
            "appArmorProfile": {"type": "Localhost", "localhostProfile": " a"},
            "windowsOptions": {"gmsaCredentialSpecName": "A", "gmsaCredentialSpec": "", "runAsUserName": "a\\..", "hostProcess": true},
        }}),
        expect![[r#"
            spec.containers[0].securityContext.privileged: Forbidden: disallowed by cluster policy
            spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive
            spec.containers[0].securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`
            spec.containers[0].securityContext.seccompProfile.type: Unsupported value: "X": supported values: "Localhost", "RuntimeDefault", "Unconfined"
            spec.containers[0].securityContext.seccompProfile.localhostProfile: Invalid value: {"localhostProfile":"a","type":"X"}: can only be set when seccomp type is Localhost
            spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"appArmorProfile":{"localhostProfile":" a","type":"Localhost"},"capabilities":{"add":["CAP_SYS_ADMIN"]},"privileged":true,"procMount":"Unmasked","runAsUser":-1,"seccompProfile":{"localhostProfile":"a","type":"X"},"windowsOptions":{"gmsaCredentialSpec":"","gmsaCredentialSpecName":"A","hostProcess":true,"runAsUserName":"a\\.."}}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true
            spec.containers[0].securityContext: Invalid value: {"allowPrivilegeEscalation":false,"appArmorProfile":{"localhostProfile":" a","type":"Localhost"},"capabilities":{"add":["CAP_SYS_ADMIN"]},"privileged":true,"procMount":"Unmasked","runAsUser":-1,"seccompProfile":{"localhostProfile":"a","type":"X"},"windowsOptions":{"gmsaCredentialSpec":"","gmsaCredentialSpecName":"A","hostProcess":true,"runAsUserName":"a\\.."}}: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN
            spec.containers[0].securityContext.windowsOptions.gmsaCredentialSpecName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.containers[0].securityContext.windowsOptions.gmsaCredentialSpec: Invalid value: "": gmsaCredentialSpec cannot be an empty string
            spec.containers[0].securityContext.windowsOptions.runAsUserName: Invalid value: "a\\..": runAsUserName's User cannot contain only periods or spaces
            spec.containers[0].securityContext.appArmorProfile.localhostProfile: Invalid value: " a": must not be padded with whitespace
            spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers
            spec: Forbidden: hostProcess containers are disallowed by cluster policy"#]],
    );
    for name in ["", "a\\b\\c", "a\u{1}", "*\\a", "a@b"] {
        let options = json!({"runAsUserName": name});
        assert_ne!(
            super::row("Pod").strategy.validate(&super::pod(json!({"securityContext": {"windowsOptions": options}}))),
            [],
            "{name}"
        );
    }
}

#[test]
fn a_pod_is_for_one_operating_system() {
    check(
        json!({"os": {"name": "windows"}, "hostPID": true, "hostUsers": true, "shareProcessNamespace": false,
            "securityContext": {"runAsUser": 1, "seccompProfile": {"type": "Unconfined"}},
            "containers": [{"name": "c", "image": "i", "securityContext": {"capabilities": {}, "runAsGroup": 1}, "lifecycle": {"stopSignal": "SIGHUP"}}]}),
        expect![[r#"
            spec.containers[0].lifecycle.stopSignal: Unsupported value: "SIGHUP": supported values: "SIGKILL", "SIGTERM"
            spec.hostUsers: Forbidden: cannot be set for a windows pod
            spec.hostPID: Forbidden: cannot be set for a windows pod
            spec.securityContext.seccompProfile: Forbidden: cannot be set for a windows pod
            spec.shareProcessNamespace: Forbidden: cannot be set for a windows pod
            spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod
            spec.containers[0].securityContext.capabilities: Forbidden: cannot be set for a windows pod
            spec.containers[0].securityContext.runAsGroup: Forbidden: cannot be set for a windows pod"#]],
    );
    check(
        json!({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {}},
            "containers": [{"name": "c", "image": "i", "securityContext": {"windowsOptions": {}}, "lifecycle": {"stopSignal": "SIGRTMIN+3"}}]}),
        expect![[r#"
            spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod
            spec.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"#]],
    );
    check(
        json!({"os": {"name": ""}, "hostUsers": false, "hostNetwork": true, "hostIPC": true}),
        expect![[r#"
        spec.hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false
        spec.HostIPC: Forbidden: when `pod.Spec.HostUsers` is false
        spec.os.name: Required value: cannot be empty"#]],
    );
}
