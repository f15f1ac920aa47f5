//! Guests and what becomes of them: what they are given, how they end, and those that cannot begin.

mod burn;
mod refused;

use coracle_tests::{Cluster, eventually};
use serde_json::json;

const PODS: &str = "/api/v1/namespaces/default/pods";

#[test]
fn a_command_finds_what_its_pod_lists_and_ends() {
    let cluster = Cluster::start();
    cluster.push("files");
    cluster.coracle("apply -f samples/files/files.yaml").ok();
    let end = cluster.terminated("files");
    assert_eq!((&end["exitCode"], &end["reason"]), (&json!(0), &json!("Completed")), "{end}");
    assert!(end["startedAt"].is_string() && end["finishedAt"].is_string(), "{end}");
    let pod = cluster.get(&format!("{PODS}/files"));
    assert_eq!(pod["status"]["phase"], "Succeeded");

    let log = cluster.coracle("logs files").ok();
    for line in [
        "arg 1: from",
        "arg 2: files",
        "arg 3: two words",
        "env POD_NAME=files",
        "env HOSTNAME=files",
        "env DATA_DIR=/data",
        "read /coracle.txt: written to /coracle.txt",
        "read /data/coracle.txt: written to /data/coracle.txt",
        "config color: blue",
        "config motd: A boat light enough to carry on one's back.",
        "files: done, ending with 0",
    ] {
        assert!(log.lines().any(|l| l == line), "{line:?} is missing in\n{log}");
    }
    let row = cluster.coracle("get pod files --no-headers").ok();
    assert!(row.contains("0/1") && row.contains("Completed"), "{row}");
}

#[test]
fn a_command_that_fails_says_with_what() {
    let cluster = Cluster::start();
    cluster.push("files");
    let spec = json!({"restartPolicy": "Never", "containers": [
        {"name": "files", "image": "files:1", "args": ["exit", "42"]},
    ]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fails"}, "spec": spec});
    cluster.api().create(PODS, &pod);
    let end = cluster.terminated("fails");
    assert_eq!((&end["exitCode"], &end["reason"]), (&json!(42), &json!("Error")), "{end}");
    assert_eq!(cluster.get(&format!("{PODS}/fails"))["status"]["phase"], "Failed");
}

#[test]
fn a_pod_waits_for_the_config_map_that_it_names() {
    let cluster = Cluster::start();
    cluster.push("hello");
    let greeting = json!({"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "greeting"}}});
    let spec = json!({"containers": [{"name": "hello", "image": "hello:1", "env": [greeting]}]});
    let metadata = json!({"name": "waits", "labels": {"app": "waits"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    cluster.api().create(PODS, &pod);
    let message = cluster.waiting("waits", &["CreateContainerConfigError"]);
    assert_eq!(message, "configmap \"late\" not found");
    let map = json!({"metadata": {"name": "late"}, "data": {"greeting": "moin"}});
    cluster.api().create("/api/v1/namespaces/default/configmaps", &map);
    cluster.ready_pods("app=waits", 1);
}

#[test]
fn a_command_that_ended_is_started_again_where_the_pod_says_so() {
    let cluster = Cluster::start();
    cluster.push("files");
    let pod = |name: &str, policy: &str, code: &str| {
        let container = json!({"name": "files", "image": "files:1", "args": ["exit", code]});
        let spec = json!({"restartPolicy": policy, "containers": [container]});
        cluster.api().create(PODS, &json!({"metadata": {"name": name}, "spec": spec}));
    };
    pod("always", "Always", "0");
    pod("on-failure", "OnFailure", "1");
    pod("on-failure-well", "OnFailure", "0");
    pod("never", "Never", "1");
    let restarted = |name: &str| {
        eventually(&format!("a restart of {name}"), || {
            let pod = cluster.get(&format!("{PODS}/{name}"));
            let count = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
            if count >= Some(1) { Ok(()) } else { Err(pod["status"].to_string()) }
        });
    };
    restarted("always");
    restarted("on-failure");
    for (name, phase) in [("on-failure-well", "Succeeded"), ("never", "Failed")] {
        cluster.terminated(name);
        let status = cluster.get(&format!("{PODS}/{name}"))["status"].clone();
        assert_eq!((&status["phase"], &status["containerStatuses"][0]["restartCount"]), (&json!(phase), &json!(0)));
    }
}

#[test]
fn init_containers_run_in_order_before_the_others_start() {
    let cluster = Cluster::start();
    cluster.push("files");
    cluster.push("hello");
    let step = |name: &str, code: &str| json!({"name": name, "image": "files:1", "args": ["exit", code]});
    let pod = |name: &str, second: &str| {
        let main = json!({"name": "main", "image": "hello:1"});
        let inits = json!([step("first", "0"), step("second", second)]);
        let spec = json!({"restartPolicy": "Never", "initContainers": inits, "containers": [main]});
        let metadata = json!({"name": name, "labels": {"app": name}});
        cluster.api().create(PODS, &json!({"metadata": metadata, "spec": spec}));
    };
    pod("good", "0");
    pod("bad", "7");
    cluster.ready_pods("app=good", 1);
    let good = cluster.get(&format!("{PODS}/good"))["status"].clone();
    let ended = |n: usize| good["initContainerStatuses"][n]["state"]["terminated"].clone();
    let began = good["containerStatuses"][0]["state"]["running"]["startedAt"].as_str().unwrap();
    assert_eq!((&ended(0)["exitCode"], &ended(1)["exitCode"]), (&json!(0), &json!(0)), "{good}");
    assert!(ended(0)["finishedAt"].as_str() <= ended(1)["startedAt"].as_str(), "{good}");
    assert!(ended(1)["finishedAt"].as_str() <= Some(began), "{good}");

    let bad = eventually("a pod that failed", || {
        let status = cluster.get(&format!("{PODS}/bad"))["status"].clone();
        if status["phase"] == "Failed" { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!(bad["initContainerStatuses"][1]["state"]["terminated"]["exitCode"], 7, "{bad}");
    assert!(bad["containerStatuses"][0]["state"]["running"].is_null(), "what comes after never ran: {bad}");
    let row = cluster.coracle("get pod bad --no-headers").ok();
    assert!(row.contains("Init:Error"), "{row}");
}

#[test]
fn a_trap_ends_its_container_and_nothing_else() {
    let cluster = Cluster::start();
    let traps = r#"(component
        (core module $m (func (export "run") (result i32) unreachable))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $cli (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $cli)))"#;
    cluster.api().push_layer("traps", "1", &wat::parse_str(traps).unwrap());
    cluster.push("counter");
    let containers = json!([{"name": "traps", "image": "traps:1"}, {"name": "counter", "image": "counter:1"}]);
    let spec = json!({"restartPolicy": "Never", "containers": containers});
    cluster.api().create(PODS, &json!({"metadata": {"name": "pair"}, "spec": spec}));
    let end = eventually("the end of the one that traps", || {
        let pod = cluster.get(&format!("{PODS}/pair"));
        let statuses = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        let of = |name: &str| statuses.iter().find(|s| s["name"] == name).map(|s| s["state"].clone());
        match (of("traps"), of("counter")) {
            (Some(trap), Some(other)) if trap["terminated"].is_object() && other["running"].is_object() => {
                Ok(trap["terminated"].clone())
            }
            _ => Err(pod["status"].to_string()),
        }
    });
    assert_eq!(end["reason"], "Error", "{end}");
    assert!(end["exitCode"].as_i64() > Some(0), "{end}");
    let log = cluster.coracle("logs pair -c traps").ok();
    assert!(log.contains("unreachable"), "the log tells what happened: {log}");
    let mut other = cluster.coracle_stream("logs -f pair -c counter");
    other.until("a tick after the trap", |line| line == "tick 2");
}
