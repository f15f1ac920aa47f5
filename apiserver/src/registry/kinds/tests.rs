//! Each kind by example: what is filled in, what is refused, what may change.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use crate::registry::{Registry, Row};

fn row(kind: &str) -> std::sync::Arc<Row> {
    Registry::builtin().rows().iter().find(|r| r.kind == kind).cloned().unwrap()
}

/// The object as it is created.
fn created(kind: &str, mut object: Value) -> Value {
    let row = row(kind);
    object["apiVersion"] = json!(row.api_version());
    object["kind"] = json!(kind);
    let mut object = row.strategy.default(object).unwrap();
    row.strategy.prepare_for_create(&mut object);
    object
}

fn defaults(kind: &str, object: Value, pointer: &str, expected: Expect) {
    let object = created(kind, object);
    expected.assert_eq(&object.pointer(pointer).cloned().unwrap_or_default().to_string());
}

fn refused(kind: &str, object: Value, expected: Expect) {
    let errors = row(kind).strategy.validate(&created(kind, object));
    expected.assert_eq(&errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

/// What is told when `patch` is merged into the object.
fn change(kind: &str, object: Value, patch: Value, expected: Expect) {
    let row = row(kind);
    let old = created(kind, object);
    let new = crate::patch::Patch::merge(patch.to_string().as_bytes()).unwrap().apply(&old, "").unwrap();
    let mut new = row.strategy.default(new).unwrap();
    row.strategy.prepare_for_update(&mut new, &old);
    let errors = row.strategy.validate_update(&new, &old);
    let told = errors.iter().map(|e| e.to_string().chars().take(120).collect::<String>());
    expected.assert_eq(&told.collect::<Vec<_>>().join("\n"));
}

fn pod(spec: Value) -> Value {
    let mut all = json!({"containers": [{"name": "c", "image": "i:1"}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"metadata": {"name": "x"}, "spec": all})
}

fn deployment(spec: Value) -> Value {
    let mut all = json!({
        "selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
    });
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"metadata": {"name": "x"}, "spec": all})
}

#[test]
fn pods_are_filled_in() {
    defaults(
        "Pod",
        pod(json!({})),
        "/spec",
        expect![[
            r#"{"containers":[{"image":"i:1","imagePullPolicy":"IfNotPresent","name":"c","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","enableServiceLinks":true,"restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}"#
        ]],
    );
    defaults(
        "Pod",
        pod(
            json!({"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}}}]}),
        ),
        "/spec/containers/0/resources",
        expect![[r#"{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1","memory":"1Gi"}}"#]],
    );
    defaults(
        "Pod",
        pod(
            json!({"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}}}]}),
        ),
        "/status",
        expect![[r#"{"phase":"Pending","qosClass":"Guaranteed"}"#]],
    );
    defaults(
        "Pod",
        pod(json!({"volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "x"}}]})),
        "/spec/volumes",
        expect![[r#"[{"emptyDir":{},"name":"a"},{"configMap":{"defaultMode":420,"name":"x"},"name":"b"}]"#]],
    );
    defaults(
        "Pod",
        pod(json!({"containers": [{"name": "c", "image": "i", "livenessProbe": {"httpGet": {"port": 80}}}]})),
        "/spec/containers/0/livenessProbe",
        expect![[
            r#"{"failureThreshold":3,"httpGet":{"path":"/","port":80,"scheme":"HTTP"},"periodSeconds":10,"successThreshold":1,"timeoutSeconds":1}"#
        ]],
    );
}

#[test]
fn pods_that_break_rules_are_refused() {
    refused("Pod", json!({"metadata": {"name": "x"}}), expect!["spec.containers: Required value"]);
    refused(
        "Pod",
        pod(json!({"containers": [{}]})),
        expect![[r#"
        spec.containers[0].name: Required value
        spec.containers[0].image: Required value"#]],
    );
    refused(
        "Pod",
        pod(json!({"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]})),
        expect![[r#"spec.containers[1].name: Duplicate value: "a""#]],
    );
    refused(
        "Pod",
        pod(json!({"restartPolicy": "Sometimes", "dnsPolicy": "None", "activeDeadlineSeconds": 0})),
        expect![[r#"
            spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"
            spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None
            spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"#]],
    );
    refused(
        "Pod",
        pod(
            json!({"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "no", "mountPath": "/a"}], "ports": [{"containerPort": 0}], "env": [{"name": "A=", "value": "b"}]}]}),
        ),
        expect![[r#"
            spec.containers[0].ports[0].containerPort: Required value
            spec.containers[0].env[0].name: Invalid value: "A=": a valid environment variable name must consist only of printable ASCII characters other than '='
            spec.containers[0].volumeMounts[0].name: Not found: "no""#]],
    );
    refused(
        "Pod",
        pod(
            json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]}),
        ),
        expect![[
            r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#
        ]],
    );
    refused(
        "Pod",
        pod(json!({"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]})),
        expect![[
            r#"spec.tolerations[0].operator: Invalid value: "x": value must be empty when `operator` is 'Exists'"#
        ]],
    );
}

#[test]
fn of_a_pod_the_image_may_change_and_little_else() {
    change("Pod", pod(json!({})), json!({"spec": {"containers": [{"name": "c", "image": "i:2"}]}}), expect![[""]]);
    change(
        "Pod",
        pod(json!({})),
        json!({"spec": {"restartPolicy": "Never"}}),
        expect![
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
        ],
    );
    change(
        "Pod",
        pod(json!({})),
        json!({"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]}}),
        expect!["spec.containers: Forbidden: pod updates may not add or remove containers"],
    );
    change(
        "Pod",
        pod(json!({"activeDeadlineSeconds": 5})),
        json!({"spec": {"activeDeadlineSeconds": 9}}),
        expect!["spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value"],
    );
}

#[test]
fn workloads_are_filled_in_and_checked() {
    defaults(
        "Deployment",
        deployment(json!({})),
        "/spec/strategy",
        expect![[r#"{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"}"#]],
    );
    defaults("Deployment", deployment(json!({"replicas": null})), "/spec/replicas", expect!["1"]);
    defaults("ReplicaSet", deployment(json!({})), "/spec/template/spec/restartPolicy", expect![[r#""Always""#]]);
    refused(
        "Deployment",
        deployment(json!({"selector": {"matchLabels": {"app": "y"}}, "replicas": -1})),
        expect![[r#"
            spec.replicas: Invalid value: -1: must be greater than or equal to 0
            spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`"#]],
    );
    refused(
        "Deployment",
        deployment(json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}})),
        expect![[
            r#"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0"#
        ]],
    );
    refused(
        "Deployment",
        deployment(json!({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": "10"}}})),
        expect!["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    );
    refused(
        "ReplicaSet",
        json!({"metadata": {"name": "x"}}),
        expect![[r#"
            spec.selector: Required value
            spec.template.metadata.labels: Invalid value: {}: `selector` does not match template `labels`
            spec.template.spec.containers: Required value"#]],
    );
    change(
        "Deployment",
        deployment(json!({})),
        json!({"spec": {"selector": {"matchLabels": {"app": "y"}}}}),
        expect![[r#"
            spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`
            spec.selector: Invalid value: {"matchLabels":{"app":"y"}}: field is immutable"#]],
    );
}

#[test]
fn services_are_filled_in_and_checked() {
    let service = |spec: Value| json!({"metadata": {"name": "x"}, "spec": spec});
    defaults(
        "Service",
        service(json!({"ports": [{"port": 80}]})),
        "/spec",
        expect![[
            r#"{"internalTrafficPolicy":"Cluster","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{"port":80,"protocol":"TCP","targetPort":80}],"sessionAffinity":"None","type":"ClusterIP"}"#
        ]],
    );
    defaults(
        "Service",
        service(json!({"clusterIP": "None", "selector": {"a": "b"}})),
        "/spec",
        expect![[
            r#"{"clusterIP":"None","clusterIPs":["None"],"internalTrafficPolicy":"Cluster","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","selector":{"a":"b"},"sessionAffinity":"None","type":"ClusterIP"}"#
        ]],
    );
    refused("Service", service(json!({})), expect!["spec.ports: Required value"]);
    refused(
        "Service",
        service(json!({"ports": [{"port": 0}, {"port": 81, "nodePort": 30000}]})),
        expect![[r#"
        spec.ports[0].name: Required value
        spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive
        spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive
        spec.ports[1].name: Required value
        spec.ports[1].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"#]],
    );
    refused(
        "Service",
        service(json!({"type": "ExternalName", "clusterIP": "10.0.0.1"})),
        expect![[r#"
        spec.clusterIPs: Forbidden: may not be set for ExternalName services
        spec.externalName: Required value"#]],
    );
    refused(
        "Service",
        service(json!({"ports": [{"port": 80}], "ipFamilies": ["IPv6"], "ipFamilyPolicy": "RequireDualStack"})),
        expect![[r#"
            spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster
            spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#]],
    );
    change(
        "Service",
        service(json!({"ports": [{"port": 80}], "clusterIP": "10.0.0.1"})),
        json!({"spec": {"clusterIP": "10.0.0.2"}}),
        expect![[r#"spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set"#]],
    );
    change(
        "Service",
        service(json!({"ports": [{"port": 80}], "clusterIP": "10.0.0.1"})),
        json!({"spec": {"clusterIP": null, "clusterIPs": null}}),
        expect![[""]],
    );
}

#[test]
fn settings_are_checked() {
    let named = |more: Value| {
        let mut object = json!({"metadata": {"name": "x"}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    refused(
        "ConfigMap",
        named(json!({"data": {"a b": "x", "c": "y"}, "binaryData": {"c": "AA=="}})),
        expect![[r#"
        data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
        data[c]: Invalid value: "c": duplicate of key present in binaryData"#]],
    );
    change(
        "ConfigMap",
        named(json!({"data": {"a": "b"}, "immutable": true})),
        json!({"data": {"a": "c"}, "immutable": false}),
        expect![[r#"
            immutable: Forbidden: field is immutable when `immutable` is set
            data: Forbidden: field is immutable when `immutable` is set"#]],
    );
    defaults(
        "Secret",
        named(json!({"data": {"a": "Yg=="}, "stringData": {"b": "text"}})),
        "/data",
        expect![[r#"{"a":"Yg==","b":"dGV4dA=="}"#]],
    );
    refused(
        "Secret",
        named(json!({"type": "kubernetes.io/tls"})),
        expect![[r#"
        data[tls.crt]: Required value
        data[tls.key]: Required value"#]],
    );
    change(
        "Secret",
        named(json!({})),
        json!({"type": "other"}),
        expect![[r#"type: Invalid value: "other": field is immutable"#]],
    );
    refused(
        "PersistentVolumeClaim",
        named(json!({"spec": {"accessModes": ["X"]}})),
        expect![[r#"
        spec.accessModes: Unsupported value: "X": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
        spec.resources[storage]: Required value"#]],
    );
    defaults(
        "Namespace",
        named(json!({"spec": {"finalizers": ["a.b/c"]}})),
        "/spec",
        expect![[r#"{"finalizers":["a.b/c","kubernetes"]}"#]],
    );
    refused(
        "Node",
        named(json!({"spec": {"taints": [{"key": "a", "effect": "X"}], "podCIDR": "x", "podCIDRs": ["x"]}})),
        expect![[r#"
            metadata.taints[0].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"
            spec.podCIDRs[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#]],
    );
    refused(
        "EndpointSlice",
        named(json!({"addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1"]}]})),
        expect![[r#"endpoints[0].addresses[0]: Invalid value: "fd00::1": must be a valid IPv4 address"#]],
    );
    refused(
        "Lease",
        named(json!({"spec": {"leaseDurationSeconds": -1}})),
        expect!["spec.leaseDurationSeconds: Invalid value: -1: must be greater than 0"],
    );
}

#[test]
fn what_is_of_a_wrong_type_is_told_by_its_place() {
    let told = |kind: &str, object: Value| row(kind).strategy.default(object).unwrap_err().0;
    expect!["spec.containers: must be a list, not a string"].assert_eq(&told("Pod", pod(json!({"containers": "x"}))));
    expect!["quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"]
        .assert_eq(&told("Pod", pod(json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "abc"}}}]}))));
    expect!["illegal base64 data at input byte 0"].assert_eq(&told("ConfigMap", json!({"binaryData": {"a": "!!"}})));
}

#[test]
fn what_has_no_effect_in_wasm_is_warned_about() {
    let object = created(
        "Pod",
        pod(json!({"hostPID": true, "runtimeClassName": "r", "nodeSelector": {"beta.kubernetes.io/os": "x"},
        "containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}, "env": [{"name": "A"}, {"name": "A"}]}]})),
    );
    expect![[r#"
        spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
        spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply"#]]
    .assert_eq(&row("Pod").strategy.warnings(&object).join("\n"));
}
