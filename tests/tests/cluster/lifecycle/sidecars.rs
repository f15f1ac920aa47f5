//! Init containers that go on beside the pod's own.

use coracle_tests::{Cluster, eventually};
use serde_json::{Value, json};

use super::{cluster, condition, container, create, pod, row, shows};

fn sidecar(name: &str, image: &str) -> Value {
    json!({"name": name, "image": image, "restartPolicy": "Always"})
}

#[test]
fn a_sidecar_starts_before_the_others_counts_as_ready_and_stops_last() {
    let cluster = cluster();
    let mut web = sidecar("web", "hello:1");
    web["ports"] = json!([{"containerPort": 8080}]);
    web["startupProbe"] = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    web["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1});
    let setup = json!({"name": "setup", "image": "files:1"});
    let inits = json!([sidecar("first", "counter:1"), setup, web]);
    let main = json!([{"name": "main", "image": "counter:1"}]);
    create(&cluster, "side", &json!({"initContainers": inits, "containers": main}));
    shows(&cluster, "side", ["3/3", "Running", "0"]);
    let seen = pod(&cluster, "side");
    let started: Vec<(&str, bool, bool)> = seen["status"]["initContainerStatuses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["name"].as_str().unwrap(), c["started"].as_bool().unwrap(), c["ready"].as_bool().unwrap()))
        .collect();
    assert_eq!(started, [("first", true, true), ("setup", false, true), ("web", true, true)]);
    assert_eq!(condition(&seen, "Initialized")["status"], "True");
    assert_eq!(condition(&seen, "ContainersReady")["status"], "True");

    let mut watch = cluster.kubectl_stream("get pod side --watch -o jsonpath={range.status.initContainerStatuses[*]}{.name}={.state.terminated.finishedAt};{end}{.status.containerStatuses[*].state.terminated.exitCode}{\"\\n\"}");
    watch.until("the pod as it is", |line| line.contains("first="));
    cluster.kubectl("delete pod side").ok();
    let killed = || -> Vec<String> {
        let events = cluster.get("/api/v1/namespaces/default/events");
        let all = events["items"].as_array().unwrap().iter();
        let wanted = all.filter(|e| e["reason"] == "Killing" && e["involvedObject"]["name"] == "side");
        wanted.map(|e| e["involvedObject"]["fieldPath"].as_str().unwrap().to_owned()).collect()
    };
    eventually("the end of all three", || {
        let killed = killed();
        if killed.len() == 3 { Ok(()) } else { Err(format!("{killed:?}")) }
    });
    assert!(killed().contains(&"spec.initContainers{first}".to_owned()), "{:?}", killed());
}

#[test]
fn a_pod_is_done_when_its_own_containers_are_whatever_its_sidecars_do() {
    let cluster = cluster();
    let spec = |code: &str| {
        json!({"restartPolicy": "Never", "initContainers": [sidecar("proxy", "counter:1")],
            "containers": [{"name": "main", "image": "files:1", "args": ["exit", code]}]})
    };
    create(&cluster, "well", &spec("0"));
    create(&cluster, "badly", &spec("3"));
    for (name, phase, word) in [("well", "Succeeded", "Completed"), ("badly", "Failed", "Error")] {
        cluster.terminated(name);
        let status = pod(&cluster, name)["status"].clone();
        assert_eq!(status["phase"], phase, "{status}");
        assert!(status["initContainerStatuses"][0]["state"]["terminated"].is_object(), "{status}");
        assert_eq!(row(&cluster, name), ["0/2", word, "0"]);
        assert_eq!(cluster.event(name, "Killing"), "Stopping container proxy");
    }
}

#[test]
fn a_sidecar_that_ends_is_started_again_also_where_nothing_else_is() {
    let cluster = cluster();
    let crashing = json!({"name": "crashing", "image": "files:1", "args": ["exit", "1"], "restartPolicy": "Always"});
    let spec = json!({"restartPolicy": "Never", "initContainers": [crashing],
        "containers": [{"name": "main", "image": "counter:1"}]});
    create(&cluster, "crash", &spec);
    let status = container(&cluster, "crash", "initContainerStatuses", "crashing", |c| {
        c["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
    assert!(status["restartCount"].as_u64() >= Some(1), "{status}");
    container(&cluster, "crash", "containerStatuses", "main", |c| c["state"]["running"].is_object());
    assert_eq!(pod(&cluster, "crash")["status"]["phase"], "Running");
    let ready = condition(&pod(&cluster, "crash"), "ContainersReady");
    assert_eq!(ready["message"], "containers with unready status: [crashing]");
    // As upstream's printer has it.
    assert_eq!(&row(&cluster, "crash")[..2], ["1/2", "Init:CrashLoopBackOff"]);
}

#[test]
fn an_init_container_says_in_one_word_how_far_it_is() {
    let cluster = cluster();
    let failing = json!([sidecar("proxy", "counter:1"), {"name": "setup", "image": "files:1", "args": ["exit", "3"]}]);
    let main = json!([{"name": "main", "image": "counter:1"}]);
    let spec =
        |policy: &str, inits: &Value| json!({"restartPolicy": policy, "initContainers": inits, "containers": main});
    create(&cluster, "never", &spec("Never", &failing));
    shows(&cluster, "never", ["0/2", "Init:Error", "0"]);
    assert_eq!(pod(&cluster, "never")["status"]["phase"], "Failed");
    create(&cluster, "always", &spec("Always", &failing));
    eventually("a crash loop of always", || {
        let row = row(&cluster, "always");
        if row[1] == "Init:CrashLoopBackOff" { Ok(()) } else { Err(format!("{row:?}")) }
    });
    create(
        &cluster,
        "waits",
        &spec("Always", &json!([sidecar("proxy", "counter:1"), {"name": "slow", "image": "counter:1"}])),
    );
    shows(&cluster, "waits", ["1/2", "Init:1/2", "0"]);
    let initialized = condition(&pod(&cluster, "waits"), "Initialized");
    assert_eq!(initialized["reason"], "ContainersNotInitialized");
    assert_eq!(initialized["message"], "containers with incomplete status: [slow]");
}

#[test]
fn counts_and_order_outlive_a_server_that_was_killed() {
    let mut cluster: Cluster = cluster();
    let spec = json!({"initContainers": [sidecar("proxy", "counter:1"), {"name": "setup", "image": "files:1"}],
        "containers": [{"name": "main", "image": "counter:1"}]});
    create(&cluster, "lasts", &spec);
    shows(&cluster, "lasts", ["2/2", "Running", "0"]);
    cluster.kubectl("debug lasts --image=files:1 -c looks -- from debug").ok_with_warnings();
    container(&cluster, "lasts", "ephemeralContainerStatuses", "looks", |c| c["state"]["terminated"]["exitCode"] == 0);
    cluster.kill_hard();
    cluster.restart();
    for (list, name) in [("initContainerStatuses", "proxy"), ("containerStatuses", "main")] {
        let status = container(&cluster, "lasts", list, name, |c| c["restartCount"] == 1 && c["ready"] == true);
        assert_eq!(status["lastState"]["terminated"]["reason"], "ContainerStatusUnknown", "{status}");
    }
    let looks = container(&cluster, "lasts", "ephemeralContainerStatuses", "looks", |_| true);
    assert_eq!((&looks["restartCount"], &looks["state"]["terminated"]["exitCode"]), (&json!(0), &json!(0)));
}
