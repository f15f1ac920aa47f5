//! When containers are started again, and when a whole pod is given up.

use coracle_tests::eventually;
use serde_json::json;

use super::{cluster, condition, container, create, pod, row, shows};

#[test]
fn a_container_may_have_a_policy_and_rules_of_its_own() {
    let cluster = cluster();
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let container_of = |code: &str| json!({"name": "main", "image": "files:1", "args": ["exit", code], "restartPolicy": "Never", "restartPolicyRules": rules});
    create(&cluster, "again", &json!({"containers": [container_of("42")]}));
    container(&cluster, "again", "containerStatuses", "main", |c| c["restartCount"].as_u64() >= Some(1));
    create(&cluster, "once", &json!({"containers": [container_of("41")]}));
    assert_eq!(cluster.terminated("once")["exitCode"], 41);
    assert_eq!(row(&cluster, "once"), ["0/1", "Error", "0"]);
    let ready = condition(&pod(&cluster, "once"), "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("PodFailed")));
}

#[test]
fn a_deadline_may_be_set_while_the_pod_runs() {
    let cluster = cluster();
    create(&cluster, "late", &json!({"containers": [{"name": "main", "image": "counter:1"}]}));
    shows(&cluster, "late", ["1/1", "Running", "0"]);
    cluster.kubectl("patch pod late -p {\"spec\":{\"activeDeadlineSeconds\":1}}").ok();
    eventually("the deadline", || {
        let status = pod(&cluster, "late")["status"].clone();
        if status["reason"] == "DeadlineExceeded" { Ok(()) } else { Err(status.to_string()) }
    });
    let status = pod(&cluster, "late")["status"].clone();
    assert_eq!(status["phase"], "Failed");
    assert_eq!(status["message"], "Pod was active on the node longer than the specified deadline");
    assert_eq!(
        cluster.event("late", "DeadlineExceeded"),
        "Pod was active on the node longer than the specified deadline"
    );
}

#[test]
fn readiness_gates_are_opened_by_others() {
    let cluster = cluster();
    let spec = json!({"readinessGates": [{"conditionType": "example.com/open"}],
        "containers": [{"name": "main", "image": "counter:1"}]});
    create(&cluster, "gated", &spec);
    let closed = eventually("the gate", || {
        let pod = pod(&cluster, "gated");
        let ready = condition(&pod, "Ready");
        if ready["reason"] == "ReadinessGatesNotReady" { Ok(ready) } else { Err(pod["status"].to_string()) }
    });
    assert_eq!(closed["message"], "corresponding condition of pod readiness gate \"example.com/open\" does not exist.");
    let set = |status: &str| {
        let patch = json!({"status": {"conditions": [{"type": "example.com/open", "status": status}]}});
        cluster.kubectl(&format!("patch pod gated --subresource=status -p {patch}")).ok();
    };
    let ready = |wanted: &str, message: Option<&str>| {
        eventually("readiness", || {
            let ready = condition(&pod(&cluster, "gated"), "Ready");
            let fits = ready["status"] == wanted && ready["message"].as_str() == message;
            if fits { Ok(()) } else { Err(ready.to_string()) }
        });
    };
    set("Unknown");
    ready("False", Some("the status of pod readiness gate \"example.com/open\" is not \"True\", but Unknown"));
    set("True");
    ready("True", None);
    let wide = cluster.kubectl("get pod gated -o wide --no-headers").ok();
    assert!(wide.trim_end().ends_with("1/1"), "{wide}");
}

#[test]
fn a_pod_for_another_system_is_turned_away() {
    let cluster = cluster();
    let spec = json!({"os": {"name": "windows"}, "containers": [{"name": "main", "image": "counter:1"}]});
    create(&cluster, "windows", &spec);
    shows(&cluster, "windows", ["0/1", "PodOSNotSupported", "0"]);
    let message = cluster.event("windows", "PodOSNotSupported");
    assert_eq!(message, "Failed to admit pod as the OS field doesn't match node OS");
    cluster.kubectl("delete pod windows").ok();
}
