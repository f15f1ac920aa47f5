//! Containers: images, ports, environment, mounts, probes, resources, restarting.

use expect_test::expect;
use serde_json::json;

use super::{check, check_container, container, filled};

#[test]
fn names_and_ports_are_not_taken_twice() {
    let port = json!([{"containerPort": 80, "hostPort": 80}]);
    check(
        json!({
            "containers": [container(json!({"name": "a.b", "ports": port})), container(json!({"ports": port})), container(json!({}))],
            "initContainers": [container(json!({"ports": [{"containerPort": 1, "hostPort": 1}, {"containerPort": 2, "hostPort": 1}]}))],
        }),
        expect![[r#"
            spec.containers[0].name: Invalid value: "a.b": must not contain dots
            spec.containers[2].name: Duplicate value: "c"
            spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//80"
            spec.initContainers[0].name: Duplicate value: "c"
            spec.initContainers[0].ports[1].hostPort: Duplicate value: "TCP//1""#]],
    );
    check_container(
        json!({"ports": [{"name": "a", "containerPort": 1}, {"name": "a", "containerPort": -1, "hostPort": 70000, "protocol": "x"}]}),
        expect![[r#"
            spec.containers[0].ports[1].name: Duplicate value: "a"
            spec.containers[0].ports[1].containerPort: Invalid value: -1: must be between 1 and 65535, inclusive
            spec.containers[0].ports[1].hostPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            spec.containers[0].ports[1].protocol: Unsupported value: "x": supported values: "SCTP", "TCP", "UDP""#]],
    );
}

#[test]
fn variables_have_one_source() {
    check_container(
        json!({
            "env": [
                {"name": "", "value": "x"},
                {"name": "A", "valueFrom": {}},
                {"name": "B", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "spec.host"}}},
                {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a b']"}}},
                {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name['a']"}}},
                {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "status.phase", "apiVersion": "v2"}}},
                {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}},
                {"name": "G", "valueFrom": {"resourceFieldRef": {"resource": "limits.disk"}}},
                {"name": "H", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}},
                {"name": "I", "valueFrom": {"configMapKeyRef": {"name": "", "key": ""}, "secretKeyRef": {"name": "s", "key": ".."}}},
            ],
            "envFrom": [{}, {"prefix": "=", "configMapRef": {"name": ""}, "secretRef": {"name": "A"}}],
        }),
        expect![[r#"
            spec.containers[0].env[0].name: Required value
            spec.containers[0].env[1].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`
            spec.containers[0].env[2].valueFrom: Invalid value: "": may not be specified when `value` is not empty
            spec.containers[0].env[3].valueFrom.fieldRef: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.containers[0].env[4].valueFrom.fieldRef.fieldPath: Invalid value: "metadata.name['a']": error converting fieldPath: field label does not support subscript: metadata.name['a']
            spec.containers[0].env[5].valueFrom.fieldRef.fieldPath: Invalid value: "status.phase": error converting fieldPath: unsupported pod version: v2
            spec.containers[0].env[6].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"
            spec.containers[0].env[7].valueFrom.resourceFieldRef.resource: Unsupported value: "limits.disk": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"
            spec.containers[0].env[8].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor's values 1m and 1 are supported with the cpu resource
            spec.containers[0].env[9].valueFrom.configMapKeyRef.name: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.containers[0].env[9].valueFrom.configMapKeyRef.key: Required value
            spec.containers[0].env[9].valueFrom.secretKeyRef.key: Invalid value: "..": must not be '..'
            spec.containers[0].env[9].valueFrom: Invalid value: "": may not have more than one field specified at a time
            spec.containers[0].envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`
            spec.containers[0].envFrom[1].prefix: Invalid value: "=": a valid environment variable name must consist only of printable ASCII characters other than '='
            spec.containers[0].envFrom[1].configMapRef.name: Required value
            spec.containers[0].envFrom[1].secretRef.name: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.containers[0].envFrom: Invalid value: "": may not have more than one field specified at a time"#]],
    );
    filled(
        json!({"containers": [container(json!({"env": [
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ]}))]}),
        "/spec/containers/0/env",
        expect![[
            r#"[{"name":"A","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.name"}}},{"name":"B","valueFrom":{"resourceFieldRef":{"divisor":"0","resource":"limits.cpu"}}}]"#
        ]],
    );
}

#[test]
fn volumes_are_mounted_once() {
    check_container(
        json!({
            "volumeMounts": [
                {"name": "no", "mountPath": "/a"},
                {"name": "v", "mountPath": "/a", "subPath": "/x", "subPathExpr": "../y"},
                {"name": "v", "mountPath": "", "mountPropagation": "Bidirectional", "recursiveReadOnly": "Enabled"},
                {"name": "v", "mountPath": "/b", "mountPropagation": "x", "recursiveReadOnly": "x"},
            ],
            "volumeDevices": [{"name": "v", "devicePath": "/a"}, {"name": "w", "devicePath": "/a/../b"}, {"name": "w", "devicePath": ""}],
        }),
        expect![[r#"
            spec.containers[0].volumeMounts[0].name: Not found: "no"
            spec.containers[0].volumeMounts[0].mountPath: Invalid value: "/a": must not already exist as a path in volumeDevices
            spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique
            spec.containers[0].volumeMounts[1].name: Invalid value: "v": must not already exist in volumeDevices
            spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must not already exist as a path in volumeDevices
            spec.containers[0].volumeMounts.subPath: Invalid value: "/x": must be a relative path
            spec.containers[0].volumeMounts[1].subPathExpr: Invalid value: "../y": subPathExpr and subPath are mutually exclusive
            spec.containers[0].volumeMounts.subPathExpr: Invalid value: "../y": must not contain '..'
            spec.containers[0].volumeMounts[2].mountPath: Required value
            spec.containers[0].volumeMounts[2].name: Invalid value: "v": must not already exist in volumeDevices
            spec.containers[0].volumeMounts[2].mountPath: Invalid value: "": must not already exist as a path in volumeDevices
            spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers
            spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true
            spec.containers[0].volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified
            spec.containers[0].volumeMounts[3].name: Invalid value: "v": must not already exist in volumeDevices
            spec.containers[0].volumeMounts.mountPropagation: Unsupported value: "x": supported values: "Bidirectional", "HostToContainer", "None"
            spec.containers[0].volumeMounts.recursiveReadOnly: Unsupported value: "x": supported values: "Disabled", "Enabled", "IfPossible"
            spec.containers[0].volumeDevices[0].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode
            spec.containers[0].volumeDevices[0].name: Invalid value: "v": must not already exist in volumeMounts
            spec.containers[0].volumeDevices[0].devicePath: Invalid value: "/a": must not already exist as a path in volumeMounts
            spec.containers[0].volumeDevices[1].name: Not found: "w"
            spec.containers[0].volumeDevices[1].devicePath: Invalid value: "/a/../b": can not contain backsteps ('..')
            spec.containers[0].volumeDevices[2].name: Invalid value: "w": must be unique
            spec.containers[0].volumeDevices[2].name: Not found: "w"
            spec.containers[0].volumeDevices[2].devicePath: Required value"#]],
    );
}

#[test]
fn probes_and_handlers_do_one_thing() {
    check_container(
        json!({
            "livenessProbe": {"exec": {}, "httpGet": {"port": "TOO_LONG_A_PORT_NAME"}, "successThreshold": 2, "periodSeconds": -1},
            "readinessProbe": {"httpGet": {"port": 0, "scheme": "FTP", "httpHeaders": [{"name": "a b", "value": ""}]}, "terminationGracePeriodSeconds": 0},
            "startupProbe": {"grpc": {"port": 70000}},
            "lifecycle": {"preStop": {"sleep": {"seconds": 31}}, "postStart": {}, "stopSignal": "SIGTERM"},
        }),
        expect![[r#"
            spec.containers[0].lifecycle.postStart: Required value: must specify a handler type
            spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)
            spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`
            spec.containers[0].livenessProbe.exec.command: Required value
            spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type
            spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0
            spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1
            spec.containers[0].readinessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive
            spec.containers[0].readinessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"
            spec.containers[0].readinessProbe.httpGet.httpHeaders: Invalid value: "a b": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')
            spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0
            spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 0: must not be set for readinessProbes
            spec.containers[0].startupProbe.grpc.port: Invalid value: 70000: must be between 1 and 65535, inclusive"#]],
    );
}

#[test]
fn init_containers_are_sidecars_or_end() {
    let probe = json!({"tcpSocket": {"port": 80}});
    check(
        json!({"initContainers": [
            container(json!({"name": "a", "livenessProbe": probe, "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}})),
            container(json!({"name": "b", "livenessProbe": probe, "restartPolicy": "Always"})),
            container(json!({"name": "c", "restartPolicy": "Sometimes"})),
        ]}),
        expect![[r#"
            spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always
            spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
            spec.initContainers[2].restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"
            spec.initContainers[2].name: Duplicate value: "c""#]],
    );
}

#[test]
fn containers_are_restarted_by_rules() {
    check_container(
        json!({"restartPolicyRules": [{"action": "x"}]}),
        expect![[r#"
        spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used
        spec.containers[0].restartPolicyRules[0].action: Unsupported value: "x": supported values: "Restart", "RestartAllContainers"
        spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified"#]],
    );
    check_container(
        json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "x", "values": [1]}}]}),
        expect![[
            r#"spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: "x": supported values: "In", "NotIn""#
        ]],
    );
}

#[test]
fn resources_keep_to_their_limits() {
    check_container(
        json!({"resources": {
            "limits": {"cpu": "1", "foo": "1", "example.com/x": "1.5", "requests.a.b/c": 1, "hugepages-2Mi": "3Mi", "a b": 1},
            "requests": {"cpu": "2", "memory": "-1", "example.com/y": 1},
            "claims": [{"name": "no"}, {"name": ""}],
        }}),
        expect![[r#"
            spec.containers[0].resources.limits[a b]: Invalid value: a b: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.containers[0].resources.limits[a b]: Invalid value: a b: must be a standard resource for containers
            spec.containers[0].resources.limits[example.com/x]: Invalid value: "1500m": must be an integer
            spec.containers[0].resources.limits[foo]: Invalid value: foo: must be a standard resource type or fully qualified
            spec.containers[0].resources.limits[foo]: Invalid value: foo: must be a standard resource for containers
            spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi
            spec.containers[0].resources.limits[requests.a.b/c]: Invalid value: requests.a.b/c: doesn't follow extended resource name standard
            spec.containers[0].resources.requests[a b]: Invalid value: a b: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.containers[0].resources.requests[a b]: Invalid value: a b: must be a standard resource for containers
            spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1
            spec.containers[0].resources.requests[example.com/x]: Invalid value: "1500m": must be an integer
            spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources
            spec.containers[0].resources.requests[foo]: Invalid value: foo: must be a standard resource type or fully qualified
            spec.containers[0].resources.requests[foo]: Invalid value: foo: must be a standard resource for containers
            spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi
            spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0
            spec.containers[0].resources.requests[requests.a.b/c]: Invalid value: requests.a.b/c: doesn't follow extended resource name standard
            spec.containers[0].resources.claims[0]: Not found: "no": must be one of the names in pod.spec.resourceClaims which is empty
            spec.containers[0].resources.claims[1]: Required value"#]],
    );
    check_container(
        json!({"resources": {"limits": {"hugepages-2Mi": "4Mi"}}}),
        expect!["spec.containers[0].resources: Forbidden: HugePages require cpu or memory"],
    );
    check(
        json!({
            "resourceClaims": [{"name": "a"}, {"name": "a", "resourceClaimName": "x"}, {"name": "B", "resourceClaimName": "x", "resourceClaimTemplateName": "Y"}],
            "containers": [container(json!({"resources": {"claims": [
                {"name": "a", "request": "r"}, {"name": "a", "request": "r"}, {"name": "a"}, {"name": "a", "request": "s"}, {"name": "z"},
            ]}}))],
        }),
        expect![[r#"
            spec.resourceClaims[0]: Invalid value: {"name":"a"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`
            spec.resourceClaims[1].name: Duplicate value: "a"
            spec.resourceClaims[2].name: Invalid value: "B": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.resourceClaims[2]: Invalid value: {"name":"B","resourceClaimName":"x","resourceClaimTemplateName":"Y"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified
            spec.resourceClaims[2].resourceClaimTemplateName: Invalid value: "Y": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.containers[0].resources.claims[1]: Duplicate value: "a/r"
            spec.containers[0].resources.claims[2]: Duplicate value: "a"
            spec.containers[0].resources.claims[3]: Duplicate value: "a"
            spec.containers[0].resources.claims[4]: Not found: "z": must be one of the names in pod.spec.resourceClaims: B, a"#]],
    );
    check_container(
        json!({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "x"}, {"resourceName": "cpu", "restartPolicy": "NotRequired"}, {"resourceName": "disk", "restartPolicy": ""}]}),
        expect![[r#"
            spec.containers[0].resizePolicy: Unsupported value: "x": supported values: "NotRequired", "RestartContainer"
            spec.containers[0].resizePolicy[1]: Duplicate value: cpu
            spec.containers[0].resizePolicy: Unsupported value: disk: supported values: "cpu", "memory"
            spec.containers[0].resizePolicy: Required value"#]],
    );
}

#[test]
fn a_pod_asks_for_at_least_what_its_containers_do() {
    let asking = |cpu: &str| container(json!({"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": "3"}}}));
    check(
        json!({
            "resources": {"requests": {"cpu": "100m", "disk": 1}, "limits": {"cpu": "2"}, "claims": []},
            "containers": [asking("500m")],
            "initContainers": [asking("1")],
        }),
        expect![[r#"
            spec.initContainers[0].name: Duplicate value: "c"
            spec.resources.requests[disk]: Invalid value: disk: must be a standard resource type or fully qualified
            spec.resources.requests[cpu]: Invalid value: "100m": must be greater than or equal to aggregate container requests of 1
            spec.resources.containers[0][cpu].limits: Invalid value: "3": must be less than or equal to pod limits of 2"#]],
    );
    filled(
        json!({"resources": {"limits": {"cpu": "4", "memory": "1Gi"}}, "containers": [asking("500m")]}),
        "/spec/resources",
        expect![[r#"{"limits":{"cpu":"4","memory":"1Gi"},"requests":{"cpu":"500m","memory":"1Gi"}}"#]],
    );
    filled(
        json!({"resources": {"limits": {"cpu": "4", "memory": "1Gi"}}, "containers": [asking("500m")]}),
        "/status/qosClass",
        expect![[r#""Burstable""#]],
    );
    filled(
        json!({"resources": {"requests": {"cpu": "4"}}, "containers": [asking("500m")]}),
        "/spec/resources",
        expect![[r#"{"limits":{"cpu":"3"},"requests":{"cpu":"4"}}"#]],
    );
}

#[test]
fn ephemeral_containers_only_look_on() {
    let looking = json!({"name": "c", "image": " i", "targetContainerName": "no", "ports": [{"containerPort": 1}],
        "resources": {"limits": {"cpu": 1}}, "volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "b"}]});
    check(
        json!({"ephemeralContainers": [looking], "volumes": [{"name": "v"}]}),
        expect![[r#"
        spec.ephemeralContainers[0].image: Invalid value: " i": must not have leading or trailing whitespace
        spec.ephemeralContainers[0].name: Duplicate value: "c"
        spec.ephemeralContainers[0].targetContainerName: Not found: "no"
        spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container
        spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container
        spec.ephemeralContainers[0].volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container
        spec.ephemeralContainers: Forbidden: cannot be set on create"#]],
    );
    filled(
        json!({"ephemeralContainers": [{"name": "e", "image": "i"}]}),
        "/spec/ephemeralContainers",
        expect![[
            r#"[{"image":"i","imagePullPolicy":"Always","name":"e","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}]"#
        ]],
    );
}
