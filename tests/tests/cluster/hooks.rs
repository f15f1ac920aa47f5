//! Hooks: what is done after a container's start and before its stop, and how pods end.

use coracle_tests::Cluster;
use serde_json::{Value, json};

use crate::toolbox::{self, exec, pod, pod_with};

fn get(cluster: &Cluster, pod: &str) -> Value {
    cluster.get(&format!("/api/v1/namespaces/default/pods/{pod}"))
}

fn says_nothing(cluster: &Cluster, pod: &str, reason: &str) {
    let events = cluster.get("/api/v1/namespaces/default/events");
    let all = events["items"].as_array().unwrap();
    let said = all.iter().find(|e| e["involvedObject"]["name"] == pod && e["reason"] == reason);
    assert_eq!(said, None);
}

#[test]
fn a_container_does_not_count_as_running_before_its_post_start_hook_is_done() {
    let cluster = Cluster::start();
    cluster.push("counter");
    let sleeps = json!({"lifecycle": {"postStart": {"sleep": {"seconds": 3600}}}});
    pod_with(&cluster, "hooked", "counter:1", sleeps, json!({"terminationGracePeriodSeconds": 7200}));
    assert_eq!(cluster.event("hooked", "Started"), "Started container box");
    let status = get(&cluster, "hooked")["status"].clone();
    let container = &status["containerStatuses"][0];
    assert_eq!((&status["phase"], &container["started"]), (&json!("Pending"), &json!(false)), "{status}");
    assert_eq!(container["state"]["waiting"]["reason"], "ContainerCreating", "{status}");
    cluster.kubectl("delete pod hooked").ok();

    pod(&cluster, "quick", "counter:1", json!({"lifecycle": {"postStart": {"sleep": {"seconds": 1}}}}));
    cluster.ready_pods("app=quick", 1);
}

#[test]
fn a_container_whose_post_start_hook_fails_is_restarted_and_no_secret_is_told() {
    let cluster = Cluster::start();
    toolbox::push(&cluster);
    pod(&cluster, "unhooked", "toolbox:1", json!({"lifecycle": {"postStart": {"exec": exec(&["fail", "secret"])}}}));
    cluster.waiting("unhooked", &["CrashLoopBackOff"]);
    assert_eq!(cluster.event("unhooked", "FailedPostStartHook"), "PostStartHook failed");
    assert_eq!(cluster.event("unhooked", "Killing"), "FailedPostStartHook");
    let status = get(&cluster, "unhooked")["status"]["containerStatuses"][0].clone();
    assert!(status["restartCount"].as_u64() >= Some(1), "{status}");
}

#[test]
fn a_server_hears_of_its_start_and_of_its_stop() {
    let cluster = Cluster::start();
    cluster.push("hello");
    let ask = |path: &str| json!({"httpGet": {"port": 80, "path": path, "scheme": "HTTPS"}});
    let spec = json!({"lifecycle": {"postStart": ask("/begin"), "preStop": ask("/end")}});
    pod(&cluster, "polite", "hello:1", spec);
    cluster.ready_pods("app=polite", 1);
    let mut log = cluster.kubectl_stream("logs -f polite");
    log.until("the postStart hook", |line| line == "GET /begin");
    cluster.kubectl("delete pod polite").ok();
    let rest = log.to_the_end();
    assert_eq!(rest.last().map(String::as_str), Some("GET /end"), "{rest:?}");
    assert_eq!(cluster.event("polite", "Killing"), "Stopping container box");
    says_nothing(&cluster, "polite", "FailedPreStopHook");
}

#[test]
fn a_pre_stop_hook_has_the_grace_period_and_no_more() {
    let cluster = Cluster::start();
    toolbox::push(&cluster);
    let spins = json!({"lifecycle": {"preStop": {"exec": exec(&["spin"])}}});
    pod_with(&cluster, "stubborn", "toolbox:1", spins, json!({"terminationGracePeriodSeconds": 1}));
    let fails = json!({"lifecycle": {"preStop": {"exec": exec(&["fail", "secret"])}}});
    pod(&cluster, "clumsy", "toolbox:1", fails.clone());
    pod_with(
        &cluster,
        "done",
        "toolbox:1",
        json!({"args": ["true"], "lifecycle": fails["lifecycle"]}),
        json!({
            "restartPolicy": "Never",
        }),
    );
    let sleeps = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 20}}}});
    pod(&cluster, "forced", "toolbox:1", sleeps);
    for name in ["stubborn", "clumsy", "forced"] {
        cluster.ready_pods(&format!("app={name}"), 1);
    }
    cluster.terminated("done");
    cluster.kubectl("delete pod stubborn clumsy done").ok();
    cluster.kubectl("delete pod forced --force --grace-period=0").ok_with_warnings();
    assert_eq!(cluster.event("clumsy", "FailedPreStopHook"), "PreStopHook failed");
    says_nothing(&cluster, "done", "FailedPreStopHook");
    says_nothing(&cluster, "forced", "FailedPreStopHook");
}
