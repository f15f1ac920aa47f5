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
