//! Volumes of all kinds: what each promises, and that none is a way out.
//!
//! The sample `disk` does in them what its arguments say. The tests look into the data directory as a person could.

mod attacks;
mod contract;
mod kept;
mod missing;

use coracle_tests::{Cluster, eventually};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A pod that does these steps with these volumes, each a pair of what it is and how it is mounted.
fn pod(name: &str, steps: &[&str], volumes: &[Value], mounts: &[Value]) -> Value {
    json!({"metadata": {"name": name, "labels": {"color": "blue"}}, "spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "disk", "image": "disk:1", "args": steps, "volumeMounts": mounts}],
        "volumes": volumes,
    }})
}

/// Waits until the pod's log has this line, and returns what it has said so far, one step a line.
#[track_caller]
fn said(cluster: &Cluster, pod: &str, line: &str) -> Vec<String> {
    eventually(&format!("{line:?} of {pod}"), || {
        let log = cluster.coracle(&format!("logs {pod}")).tried()?;
        let lines: Vec<String> = log.lines().map(str::to_owned).collect();
        if lines.iter().any(|l| l == line) { Ok(lines) } else { Err(log) }
    })
}

#[track_caller]
fn gone(cluster: &Cluster, pod: &str) {
    eventually(&format!("the end of {pod}"), || {
        let (status, object) = cluster.api().call(&http::Method::GET, &format!("{PODS}/{pod}"), &Value::Null);
        if status == 404 { Ok(()) } else { Err(object.to_string()) }
    });
}

/// The directory of a pod's volume.
fn directory(cluster: &Cluster, pod: &str, volume: &str) -> std::path::PathBuf {
    let uid = cluster.get(&format!("{PODS}/{pod}"))["metadata"]["uid"].as_str().unwrap().to_owned();
    cluster.data_dir().join("pods").join(uid).join("volumes").join(volume)
}
