//! Every way a pod lives, as a person sees it: by the real kubectl, in its words.

mod endings;
mod ephemeral;
mod restarts;
mod sidecars;

use coracle_tests::{Cluster, eventually};
use serde_json::{Value, json};

/// A cluster with the samples that these stories use.
fn cluster() -> Cluster {
    let cluster = Cluster::start();
    for sample in ["files", "counter", "hello"] {
        cluster.push(sample);
    }
    cluster
}

/// Makes a pod of this name by `kubectl create`.
#[track_caller]
fn create(cluster: &Cluster, name: &str, spec: &Value) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
    cluster.kubectl_with("create -f -", &pod.to_string()).ok();
}

fn pod(cluster: &Cluster, name: &str) -> Value {
    cluster.get(&format!("/api/v1/namespaces/default/pods/{name}"))
}

/// The first three cells of a pod: READY, STATUS, RESTARTS.
fn row(cluster: &Cluster, name: &str) -> Vec<String> {
    let line = cluster.kubectl(&format!("get pod {name} --no-headers")).ok();
    line.split_whitespace().skip(1).take(3).map(str::to_owned).collect()
}

/// Waits until the row of a pod is this.
#[track_caller]
fn shows(cluster: &Cluster, name: &str, expected: [&str; 3]) {
    eventually(&format!("{name} shown as {expected:?}"), || {
        let row = row(cluster, name);
        if row == expected { Ok(()) } else { Err(format!("{row:?}")) }
    });
}

/// Waits until the status of a container of a pod is as wanted, and returns it.
#[track_caller]
fn container(cluster: &Cluster, name: &str, list: &str, container: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("the status of {container} of {name}"), || {
        let pod = pod(cluster, name);
        let all = pod["status"][list].as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|c| c["name"] == container && wanted(c));
        found.ok_or_else(|| pod["status"].to_string())
    })
}

/// A condition of a pod.
fn condition(pod: &Value, kind: &str) -> Value {
    let all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|c| c["type"] == kind).unwrap_or_default()
}
