//! What a person does in containers, at a real terminal where that matters: `exec`, `attach`, `run`, `debug`, `cp`.

mod attach;
mod copy;
mod cut;
mod exec;

use coracle_tests::{Cluster, eventually};
use serde_json::{Value, json};

/// A cluster with the guest to talk to, as `talker:1`.
fn cluster() -> Cluster {
    let cluster = Cluster::start();
    let wasm = wat::parse_str(include_str!("terminal/talker.wat")).unwrap();
    let file = cluster.file("talker.wasm", wasm);
    cluster.coracle(&format!("image push {file} talker:1")).ok();
    cluster
}

/// Makes a pod `p` of one container `c`, and waits until it runs.
#[track_caller]
fn pod(cluster: &Cluster, container: Value, volumes: Value) {
    pod_that(cluster, "Never", container, volumes);
}

/// The same, with its restart policy.
#[track_caller]
fn pod_that(cluster: &Cluster, restarts: &str, container: Value, volumes: Value) {
    let mut all = json!({"name": "c", "image": "talker:1"});
    all.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let spec = json!({"containers": [all], "volumes": volumes, "restartPolicy": restarts});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
    cluster.kubectl_with("create -f -", &pod.to_string()).ok();
    cluster.kubectl("wait --for=condition=Ready pod/p --timeout=30s").ok();
}

/// A pod that only waits.
#[track_caller]
fn waiting_pod(cluster: &Cluster) {
    pod(cluster, json!({"args": ["wait"]}), json!([]));
}

/// The exit code of a container that has ended.
#[track_caller]
fn exit_code(cluster: &Cluster, pod: &str) -> i64 {
    eventually("the container's end", || {
        let object = cluster.get(&format!("/api/v1/namespaces/default/pods/{pod}"));
        let state = &object["status"]["containerStatuses"][0]["state"];
        state["terminated"]["exitCode"].as_i64().ok_or_else(|| state.to_string())
    })
}
