//! Probes: what a container's answers make of its pod, and what people read about it.

use coracle_tests::{Cluster, eventually};
use serde_json::{Value, json};

use crate::toolbox::{self, exec, pod};

fn status(cluster: &Cluster, pod: &str) -> Value {
    cluster.get(&format!("/api/v1/namespaces/default/pods/{pod}"))["status"]["containerStatuses"][0].clone()
}

/// Waits for an event that has this reason and message.
fn says(cluster: &Cluster, pod: &str, reason: &str, message: &str) {
    eventually(&format!("{pod}: {reason}: {message}"), || {
        let events = cluster.get("/api/v1/namespaces/default/events");
        let events = events["items"].as_array().unwrap();
        let about = events.iter().filter(|e| e["involvedObject"]["name"] == pod && e["reason"] == reason);
        let all: Vec<&str> = about.filter_map(|e| e["message"].as_str()).collect();
        if all.contains(&message) { Ok(()) } else { Err(all.join("\n")) }
    });
}

#[test]
fn a_container_is_ready_as_long_as_its_command_says_so() {
    let cluster = Cluster::start();
    toolbox::push(&cluster);
    // The startup probe makes what the readiness probe looks for; the liveness probe takes it away again, later.
    let spec = json!({
        "startupProbe": {"exec": exec(&["make", "ready"]), "periodSeconds": 1},
        "readinessProbe": {"exec": exec(&["has", "ready"]), "periodSeconds": 1, "failureThreshold": 1},
        "livenessProbe": {"exec": exec(&["remove", "ready"]), "initialDelaySeconds": 4, "failureThreshold": 1000},
    });
    pod(&cluster, "moody", "toolbox:1", spec);
    cluster.ready_pods("app=moody", 1);
    says(&cluster, "moody", "Unhealthy", "Readiness probe failed: ");
    eventually("an unready container", || {
        let status = status(&cluster, "moody");
        let unready = status["ready"] == false && status["started"] == true && status["restartCount"] == 0;
        if unready { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn a_container_that_fails_its_liveness_probe_is_restarted_and_kubectl_tells_why() {
    let cluster = Cluster::start();
    toolbox::push(&cluster);
    let probe = json!({"exec": exec(&["fail", "no pulse"]), "periodSeconds": 1, "failureThreshold": 2});
    pod(&cluster, "sick", "toolbox:1", json!({"livenessProbe": probe}));
    eventually("a restart", || {
        let status = status(&cluster, "sick");
        if status["restartCount"].as_u64() >= Some(1) { Ok(()) } else { Err(status.to_string()) }
    });
    let last = status(&cluster, "sick")["lastState"]["terminated"].clone();
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(143), &json!("Error")), "{last}");
    says(&cluster, "sick", "Unhealthy", "Liveness probe failed: no pulse");
    says(&cluster, "sick", "Killing", "Container box failed liveness probe, will be restarted");
    let described = cluster.kubectl("describe pod sick").ok();
    for line in ["Created container: box", "Started container box", "Liveness probe failed: no pulse"] {
        assert!(described.contains(line), "{line:?} is missing in\n{described}");
    }
    let probe = "exec [toolbox fail no pulse] delay=0s timeout=1s period=1s #success=1 #failure=2";
    assert!(described.contains(probe), "{described}");
}

#[test]
fn a_command_that_takes_too_long_has_failed() {
    let cluster = Cluster::start();
    toolbox::push(&cluster);
    let probe = json!({"exec": exec(&["spin"]), "periodSeconds": 1, "failureThreshold": 1});
    let never = json!({"restartPolicy": "Never"});
    toolbox::pod_with(&cluster, "slow", "toolbox:1", json!({"startupProbe": probe}), never);
    assert_eq!(cluster.terminated("slow")["exitCode"], 143);
    says(
        &cluster,
        "slow",
        "Unhealthy",
        r#"Startup probe failed: command timed out: "toolbox spin" timed out after 1s"#,
    );
    says(&cluster, "slow", "Killing", "Container box failed startup probe");
}

#[test]
fn a_server_is_probed_by_every_means() {
    let cluster = Cluster::start();
    cluster.push("hello");
    let ports = json!([{"name": "web", "containerPort": 8080}]);
    let spec = json!({
        "ports": ports.clone(),
        "startupProbe": {"tcpSocket": {"port": "web"}},
        "readinessProbe": {"grpc": {"port": 8080, "service": "hello"}},
        "livenessProbe": {"httpGet": {
            "port": "web", "path": "/probed?by=kubelet", "httpHeaders": [{"name": "Host", "value": "hello.example"}],
        }},
    });
    pod(&cluster, "well", "hello:1", spec);
    cluster.ready_pods("app=well", 1);
    eventually("the liveness probe in the log", || {
        let log = cluster.kubectl("logs well").ok();
        if log.contains("GET /probed?by=kubelet\n") { Ok(()) } else { Err(log.clone()) }
    });

    // The certificate is not for this name as the node sees it, and nobody vouches for it: a probe does not mind.
    let api = json!({"host": "kubernetes.default.svc", "port": 443, "scheme": "HTTPS", "path": "/livez"});
    pod(&cluster, "leans", "hello:1", json!({"readinessProbe": {"httpGet": api}}));
    cluster.ready_pods("app=leans", 1);

    let spec = json!({
        "ports": ports,
        "readinessProbe": {"httpGet": {"port": "web", "scheme": "HTTPS"}, "periodSeconds": 1},
        "livenessProbe": {"tcpSocket": {"port": 81}, "periodSeconds": 1, "failureThreshold": 1},
    });
    pod(&cluster, "ill", "hello:1", spec);
    let ip = eventually("an address", || {
        let pod = cluster.get("/api/v1/namespaces/default/pods/ill");
        pod["status"]["podIP"].as_str().map(str::to_owned).ok_or_else(|| pod["status"].to_string())
    });
    let plain = format!(r#"Get "https://{ip}:8080/": http: server gave HTTP response to HTTPS client"#);
    says(&cluster, "ill", "Unhealthy", &format!("Readiness probe failed: {plain}"));
    let refused = format!("dial tcp {ip}:81: connect: connection refused");
    says(&cluster, "ill", "Unhealthy", &format!("Liveness probe failed: {refused}"));
    says(&cluster, "ill", "Killing", "Container box failed liveness probe, will be restarted");
}

#[test]
fn a_probe_that_cannot_be_put_counts_neither_way() {
    let cluster = Cluster::start();
    cluster.push("hello");
    let spec = json!({
        "readinessProbe": {"httpGet": {"port": "none"}, "periodSeconds": 1},
        "livenessProbe": {"exec": {"command": ["check"]}, "periodSeconds": 1, "failureThreshold": 1},
    });
    pod(&cluster, "odd", "hello:1", spec);
    let unknown = |probe: &str, why: &str| format!("{probe} probe errored and resulted in unknown state: {why}");
    says(&cluster, "odd", "Unhealthy", &unknown("Readiness", r#"strconv.Atoi: parsing "none": invalid syntax"#));
    let why = r#"exec: "check": the program answers HTTP requests and has no command to run"#;
    says(&cluster, "odd", "Unhealthy", &unknown("Liveness", why));
    let status = status(&cluster, "odd");
    assert_eq!((&status["ready"], &status["restartCount"]), (&json!(false), &json!(0)), "{status}");
}

#[test]
fn a_probe_may_ask_the_nodes_own_tools() {
    let cluster = Cluster::start();
    cluster.push("hello");
    let container = json!({
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "readinessProbe": {"exec": {"command": ["cat", "/tmp/healthy"]}, "periodSeconds": 1},
    });
    toolbox::pod_with(&cluster, "asked", "hello:1", container, json!({"volumes": [{"name": "tmp", "emptyDir": {}}]}));
    let why = "Readiness probe failed: cat: /tmp/healthy: No such file or directory\n";
    says(&cluster, "asked", "Unhealthy", why);
    let file = cluster.file("healthy", "");
    cluster.kubectl(&format!("cp {file} asked:/tmp/healthy")).ok();
    cluster.ready_pods("app=asked", 1);
}

#[test]
fn a_server_without_commands_may_be_given_one_in_a_volume() {
    let cluster = Cluster::start();
    cluster.push("hello");
    let file = cluster.file("box.wasm", toolbox::wasm());
    cluster.kubectl(&format!("create configmap tools --from-file={file}")).ok();
    let probe = |arguments: &[&str]| {
        let command: Vec<&str> = ["/tools/box.wasm"].iter().chain(arguments).copied().collect();
        json!({"exec": {"command": command}, "periodSeconds": 1, "failureThreshold": 1})
    };
    let container = json!({
        "volumeMounts": [{"name": "tools", "mountPath": "/tools"}],
        "startupProbe": probe(&["make", "mark"]),
        "readinessProbe": probe(&["has", "mark"]),
    });
    let spec = json!({"volumes": [{"name": "tools", "configMap": {"name": "tools"}}]});
    toolbox::pod_with(&cluster, "served", "hello:1", container, spec);
    cluster.ready_pods("app=served", 1);
}
