//! What is allowed but odd.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{created, row};

fn warned(metadata: Value, spec: Value, expected: Expect) {
    let mut all = json!({"containers": [{"name": "c", "image": "i:1"}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let object = created(json!({"metadata": metadata, "spec": all}));
    expected.assert_eq(&row("Pod").strategy.warnings(&object).join("\n"));
}

#[test]
fn a_plain_pod_is_not_odd() {
    warned(json!({"name": "x"}), json!({"hostPID": true, "runtimeClassName": "r"}), expect![[""]]);
}

#[test]
fn a_pods_name_becomes_a_host_name() {
    warned(
        json!({"name": "a.b"}),
        json!({}),
        expect![
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
        ],
    );
    warned(
        json!({"name": "a".repeat(64)}),
        json!({}),
        expect![
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must be no more than 63 characters]"
        ],
    );
}

#[test]
fn what_is_of_the_past_is_told() {
    warned(
        json!({"name": "x", "annotations": {
            "scheduler.alpha.kubernetes.io/critical-pod": "", "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
            "container.seccomp.security.alpha.kubernetes.io/c": "unconfined"}}),
        json!({
            "nodeSelector": {"beta.kubernetes.io/os": "x"},
            "affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "beta.kubernetes.io/arch", "operator": "Exists"}]}]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["x y"]}]}}],
            }},
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "node-role.kubernetes.io/master", "whenUnsatisfiable": "DoNotSchedule"}],
            "volumes": [{"name": "a", "gitRepo": {"repository": "x"}}, {"name": "b", "rbd": {"monitors": ["a"], "image": "b"}}],
        }),
        expect![[r#"
            spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/arch is deprecated since v1.14; use "kubernetes.io/arch" instead
            spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: x y is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            spec.topologySpreadConstraints[0].topologyKey: node-role.kubernetes.io/master is use "node-role.kubernetes.io/control-plane" instead
            spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod
            metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead
            spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+
            spec.volumes[1].rbd: deprecated in v1.28, non-functional in v1.31+
            metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead
            metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: non-functional in v1.27+; use the "seccompProfile" field instead"#]],
    );
}

#[test]
fn what_stands_twice_is_told() {
    let port = |more: Value| {
        let mut port = json!({"containerPort": 80});
        port.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        port
    };
    warned(
        json!({"name": "x"}),
        json!({
            "hostAliases": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}],
            "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {"name": ""}],
            "overhead": {"memory": "1m"},
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "t"}]}},
            "volumes": [{"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "a"}}, {"configMap": {"name": "m", "items": [{"key": "k", "path": "a"}]}}]}}],
            "containers": [
                {"name": "c", "image": "i", "resources": {"requests": {"memory": "100m"}}, "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"}],
                 "ports": [port(json!({})), port(json!({"hostPort": 1})), port(json!({"hostPort": 1, "hostIP": "1.1.1.1"})), port(json!({"hostIP": "1.1.1.1"}))]},
                {"name": "d", "image": "i", "ports": [port(json!({}))]},
            ],
        }),
        expect![[r#"
            spec.volumes[0].projected.sources.configMap[0]: has duplicated path with ServiceAccountToken "a"
            spec.hostAliases[1].ip: duplicate ip "1.1.1.1"
            spec.imagePullSecrets[1].name: duplicate name "a"
            spec.imagePullSecrets[2].name: invalid empty name ""
            spec.overhead[memory]: fractional byte value "1m" is invalid, must be an integer
            spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer
            spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply
            spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]
            spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[0]
            spec.containers[0].ports[2]: dangerously ambiguous port definition with spec.containers[0].ports[1]
            spec.containers[0].ports[3]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.1.1.1}
            spec.containers[0].ports[3]: overlapping port definition with spec.containers[0].ports[0]
            spec.containers[0].ports[3]: overlapping port definition with spec.containers[0].ports[1]
            spec.containers[0].ports[3]: overlapping port definition with spec.containers[0].ports[2]
            spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]
            spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[1]
            spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[2]
            spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[3]
            spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod"#]],
    );
}

#[test]
fn a_change_of_a_workload_is_looked_at_and_one_of_a_pod_is_not() {
    let odd = json!({"containers": [{"name": "c", "image": "i"}], "nodeSelector": {"beta.kubernetes.io/os": "x"}});
    let object = created(json!({"metadata": {"name": "x"}, "spec": odd}));
    assert_eq!(row("Pod").strategy.update_warnings(&object, &object), Vec::<String>::new());
    for kind in ["Deployment", "ReplicaSet"] {
        let strategy = &row(kind).strategy;
        let workload = |replicas: i32| {
            json!({"metadata": {"name": "a.b"}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": odd}}})
        };
        let (one, two) = (strategy.default(workload(1)).unwrap(), strategy.default(workload(2)).unwrap());
        assert_eq!(strategy.warnings(&one).len(), 2, "{kind}");
        assert_eq!(strategy.update_warnings(&two, &one).len(), 1, "{kind}");
        assert_eq!(strategy.update_warnings(&one, &one), Vec::<String>::new(), "{kind}");
    }
}
