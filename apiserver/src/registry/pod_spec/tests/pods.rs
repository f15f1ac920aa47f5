//! Pods as a whole: policies, names, gates, annotations, and what may change.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::{check, created, filled, pod, row, told};

/// What is told when `patch` is merged into a pod with this spec.
fn change(spec: Value, patch: Value, expected: Expect) {
    change_of(pod(spec), json!({"spec": patch}), expected);
}

fn change_of(old: Value, patch: Value, expected: Expect) {
    let strategy = &row("Pod").strategy;
    let mut new = old.clone();
    json_patch_merge(&mut new, &patch);
    let mut new = strategy.default(new).unwrap();
    strategy.prepare_for_update(&mut new, &old);
    let errors = strategy.validate_update(&new, &old);
    expected.assert_eq(&errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

fn json_patch_merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(key);
                } else {
                    json_patch_merge(target.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

#[test]
fn policies_are_those_that_there_are() {
    check(
        json!({"restartPolicy": "Sometimes", "dnsPolicy": "X", "preemptionPolicy": "X", "activeDeadlineSeconds": 0,
            "priorityClassName": "A", "runtimeClassName": "B", "os": {"name": "plan9"}}),
        expect![[r#"
            spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"
            spec.dnsPolicy: Unsupported value: "X": supported values: "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"
            spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive
            spec.priorityClassName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.runtimeClassName: Invalid value: "B": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.preemptionPolicy: Unsupported value: "X": supported values: "PreemptLowerPriority", "Never"
            spec.os: Unsupported value: "plan9": supported values: "linux", "windows""#]],
    );
}

#[test]
fn names_are_looked_up_within_limits() {
    check(
        json!({"dnsPolicy": "None", "dnsConfig": {}}),
        expect![
            "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"
        ],
    );
    check(
        json!({
            "dnsConfig": {"nameservers": ["1.1.1.1", "x", "1.1.1.2", "::1"], "searches": ["_tcp.example.com", ".", "a..b"], "options": [{"value": "x"}]},
            "hostAliases": [{"ip": "x", "hostnames": ["A"]}],
            "hostname": "a.b",
            "subdomain": "_",
            "serviceAccountName": "A",
            "nodeName": "A",
            "hostnameOverride": "Y",
            "setHostnameAsFQDN": true,
        }),
        expect![[r#"
            spec.dnsConfig.nameservers: Invalid value: ["1.1.1.1","x","1.1.1.2","::1"]: must not have more than 3 nameservers
            spec.dnsConfig.nameservers[1]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.dnsConfig.searches[2]: Invalid value: "a..b": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.dnsConfig.options[0]: Required value: must not be empty
            spec.serviceAccountName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.nodeName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.hostname: Invalid value: "a.b": must not contain dots
            spec.subdomain: Invalid value: "_": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.hostnameOverride: Forbidden: may not be specified when `setHostnameAsFQDN` is true
            spec.hostnameOverride: Invalid value: "Y": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
            spec.hostAliases[0].hostnames[0]: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
    );
    check(
        json!({"dnsConfig": {"searches": vec!["a".repeat(63); 33]}}),
        expect![[r#"
        spec.dnsConfig.searches: Invalid value: ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]: must not have more than 32 search paths
        spec.dnsConfig.searches: Invalid value: ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]: must not have more than 2048 characters (including spaces) in the search list"#]],
    );
}

#[test]
fn gates_have_names_of_their_own() {
    check(
        json!({"schedulingGates": [{"name": "a"}, {"name": "a"}, {"name": "a b"}], "readinessGates": [{"conditionType": "a/b/c"}], "nodeName": "n"}),
        expect![[r#"
            spec.readinessGates[0].conditionType: Invalid value: "a/b/c": a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')
            spec.schedulingGates[1]: Duplicate value: "a"
            spec.schedulingGates[2]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"#]],
    );
    filled(
        json!({"schedulingGates": [{"name": "a"}]}),
        "/status/conditions",
        expect![[
            r#"[{"lastProbeTime":null,"lastTransitionTime":null,"message":"Scheduling is blocked due to non-empty scheduling gates","reason":"SchedulingGated","status":"False","type":"PodScheduled"}]"#
        ]],
    );
}

#[test]
fn a_template_leaves_host_ports_open() {
    let ports =
        json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]});
    filled(
        ports.clone(),
        "/spec/containers/0/ports",
        expect![[r#"[{"containerPort":80,"hostPort":80,"protocol":"TCP"}]"#]],
    );
    let deployment = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": ports}}});
    let strategy = &row("Deployment").strategy;
    let made = strategy.default(deployment).unwrap();
    assert_eq!(made.pointer("/spec/template/spec/containers/0/ports/0/hostPort"), None);
    assert_eq!(strategy.validate(&made), []);
    check(
        json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 81}]}]}),
        expect![
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"
        ],
    );
}

#[test]
fn annotations_that_mean_something_are_checked() {
    let annotations = json!({
        "kubernetes.io/config.mirror": "x",
        "controller.kubernetes.io/pod-deletion-cost": "+1",
        "scheduler.alpha.kubernetes.io/tolerations": "[{\"operator\": \"Equal\"}]",
        "seccomp.security.alpha.kubernetes.io/pod": "x",
        "container.seccomp.security.alpha.kubernetes.io/c": "localhost/../x",
        "container.apparmor.security.beta.kubernetes.io/d": "x",
    });
    let spec = json!({"containers": [{"name": "c", "image": "i"}]});
    told(
        &created(json!({"metadata": {"name": "x", "annotations": annotations}, "spec": spec})),
        expect![[r#"
        metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set
        metadata.annotations.scheduler.alpha.kubernetes.io/tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"
        metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "+1": must be a 32bit integer
        metadata.annotations.container.seccomp.security.alpha.kubernetes.io/c: Invalid value: "../x": must not contain '..'
        metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: "x": must be a valid seccomp profile
        metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: "d": container not found
        metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: "x": invalid AppArmor profile name: "x""#]],
    );
    let spec = json!({"containers": [{"name": "c", "image": "i", "securityContext": {
        "seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Localhost", "localhostProfile": "a"}}}]});
    let annotations = json!({
        "container.seccomp.security.alpha.kubernetes.io/c": "runtime/default",
        "container.apparmor.security.beta.kubernetes.io/c": "localhost/b",
    });
    told(
        &created(json!({"metadata": {"name": "x", "annotations": annotations}, "spec": spec})),
        expect![[r#"
        spec.containers[0].securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match
        spec.containers[0].securityContext.appArmorProfile.localhostProfile: Forbidden: apparmor profile in annotation and field must match"#]],
    );
    let annotated = json!({"metadata": {"name": "x", "annotations": {"container.apparmor.security.beta.kubernetes.io/c": "runtime/default"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = created(annotated);
    assert_eq!(
        made["spec"]["containers"][0]["securityContext"],
        json!({"appArmorProfile": {"type": "RuntimeDefault"}})
    );
    change_of(
        made,
        json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": null}}}),
        expect![
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: Forbidden: may not remove or update AppArmor annotations"
        ],
    );
}

#[test]
fn what_a_pod_may_reach_outside_is_checked_and_stays() {
    let with = |key: &str, value: &str| {
        created(
            json!({"metadata": {"name": "x", "annotations": {key: value}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
        )
    };
    told(
        &with("coracle.dev/allow-outside", "no"),
        expect![[r#"metadata.annotations[coracle.dev/allow-outside]: Invalid value: "no": must be "true" or "false""#]],
    );
    told(
        &with("coracle.dev/allowed-hosts", "http://a"),
        expect![[
            r#"metadata.annotations[coracle.dev/allowed-hosts]: Invalid value: "http://a": "http://a" is no host: write a name, '*.' and a domain, or an address, and ':' and a port where only that is allowed, as in api.example.com, *.example.org:443 or [2001:db8::1]:443"#
        ]],
    );
    let stays = "may not be changed: what a pod may reach outside is fixed when it is created";
    for value in [json!(null), json!("b.example")] {
        let patch = json!({"metadata": {"annotations": {"coracle.dev/allowed-hosts": value}}});
        let strategy = &row("Pod").strategy;
        let (old, mut new) =
            (with("coracle.dev/allowed-hosts", "a.example"), with("coracle.dev/allowed-hosts", "a.example"));
        json_patch_merge(&mut new, &patch);
        let errors = strategy.validate_update(&new, &old);
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [format!("metadata.annotations[coracle.dev/allowed-hosts]: Forbidden: {stays}")]
        );
    }
}

#[test]
fn little_of_a_pod_may_change() {
    change(json!({}), json!({"containers": [{"name": "c", "image": "j:2"}]}), expect![[""]]);
    change(
        json!({}),
        json!({"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "i"}]}),
        expect!["spec.containers: Forbidden: pod updates may not add or remove containers"],
    );
    change(
        json!({}),
        json!({"containers": [{"name": "c", "image": ""}]}),
        expect![[r#"
        spec.containers[0].image: Required value
        spec.containers[0].image: Required value"#]],
    );
    change(
        json!({}),
        json!({"hostname": "a", "containers": [{"name": "c", "image": "i:1", "args": ["x"]}]}),
        expect![[r#"
            spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
            + 	containers[0].args: ["x"]
            + 	hostname: "a""#]],
    );
    change(
        json!({"activeDeadlineSeconds": 5}),
        json!({"activeDeadlineSeconds": 6}),
        expect!["spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"],
    );
    change(
        json!({"activeDeadlineSeconds": 5}),
        json!({"activeDeadlineSeconds": null}),
        expect![[
            r#"spec.activeDeadlineSeconds: Invalid value: "null": must not update from a positive integer to nil value"#
        ]],
    );
    change(
        json!({"tolerations": [{"key": "a"}]}),
        json!({"tolerations": [{"key": "a", "value": "x"}]}),
        expect!["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
    );
    change(json!({"tolerations": [{"key": "a"}]}), json!({"tolerations": [{"key": "b"}, {"key": "a"}]}), expect![[""]]);
    change(
        json!({}),
        json!({"schedulingGates": [{"name": "g"}]}),
        expect!["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"],
    );
}

#[test]
fn a_pod_that_is_not_placed_yet_may_be_narrowed_down() {
    let terms = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let exists = |key: &str| json!({"key": key, "operator": "Exists"});
    let gated = json!({"schedulingGates": [{"name": "g"}], "nodeSelector": {"a": "b"}, "affinity": terms(json!([{"matchExpressions": [exists("a")]}]))});
    change(gated.clone(), json!({"nodeSelector": {"c": "d"}, "schedulingGates": null}), expect![[""]]);
    change(
        gated.clone(),
        json!({"nodeSelector": {"a": "x"}}),
        expect![[
            r#"spec.nodeSelector: Invalid value: {"a":"x"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"#
        ]],
    );
    change(
        gated.clone(),
        json!({"affinity": terms(json!([{"matchExpressions": [exists("a"), exists("b")]}]))}),
        expect![[""]],
    );
    change(
        gated.clone(),
        json!({"affinity": terms(json!([{"matchExpressions": [exists("b")]}]))}),
        expect![[
            r#"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]: Invalid value: {"matchExpressions":[{"key":"b","operator":"Exists"}]}: only additions are allowed (no mutations or deletions)"#
        ]],
    );
    change(
        gated,
        json!({"affinity": terms(json!([{"matchExpressions": [exists("a")]}, {}]))}),
        expect![[
            r#"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Invalid value: [{"matchExpressions":[{"key":"a","operator":"Exists"}]},{}]: no additions/deletions to non-empty NodeSelectorTerms list are allowed"#
        ]],
    );
    change(
        json!({"schedulingGates": [{"name": "g"}]}),
        json!({"affinity": terms(json!([{"matchExpressions": [exists("a")]}]))}),
        expect![[""]],
    );
    change(
        json!({}),
        json!({"nodeSelector": {"a": "b"}}),
        expect![[r#"
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        + 	nodeSelector: {"a":"b"}"#]],
    );
}

#[test]
fn what_has_ended_does_not_start_again() {
    let strategy = &row("Pod").strategy;
    let status = |state: Value| json!({"qosClass": "BestEffort", "containerStatuses": [{"name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state}]});
    let mut old = pod(json!({"restartPolicy": "Never"}));
    old["status"] = status(json!({"terminated": {"exitCode": 1}}));
    let mut new = old.clone();
    new["status"] = status(json!({"running": {}}));
    new["status"]["qosClass"] = json!("Burstable");
    new["status"]["podIPs"] = json!([{"ip": "1.1.1.1"}, {"ip": "1.1.1.2"}]);
    new["status"]["hostIPs"] = json!([{"ip": "1.1.1.1"}]);
    new["status"]["conditions"] = json!([{"type": "a b", "status": "True"}]);
    let errors = strategy.validate_status_update(&new, &old);
    let told = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    expect![[r#"
        metadata.conditions[0].Type: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
        status.qosClass: Invalid value: "Burstable": field is immutable
        status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state
        status.podIPs: Invalid value: [{"ip":"1.1.1.1"},{"ip":"1.1.1.2"}]: may specify no more than one IP for each IP family
        status.hostIPs[0].ip: Invalid value: "1.1.1.1": must be equal to `hostIP`"#]].assert_eq(&told);
}
