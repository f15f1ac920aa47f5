//! The objects that the API's benches write: such as people have, not the smallest that pass.
//!
//! Invariant: an object of a number is always the same, so that what was acknowledged can be told from what was lost.

use serde_json::json;

/// A ReplicaSet's pod of a small service: two labels, an owner, one container with ports, environment and resources.
pub fn pod(number: usize) -> String {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d59d67564", "controller": true,
        "blockOwnerDeletion": true, "uid": "6f7a3a0e-0c66-4a4f-9df2-0d7f5f7f4c1b"});
    let container = json!({"name": "web", "image": "web:1.2.3",
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [{"name": "LOG_LEVEL", "value": "info"},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 5}});
    let labels = json!({"app": "web", "pod-template-hash": "5d59d67564", "shard": (number % 100).to_string()});
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod_name(number), "labels": labels, "ownerReferences": [owner]},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 5}})
    .to_string()
}

/// The name of a pod.
pub fn pod_name(number: usize) -> String {
    format!("web-5d59d67564-{number:06}")
}

/// A ConfigMap with three entries, some 300 bytes.
pub fn config_map(number: usize) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("settings-{number:06}")},
        "data": {"LOG_LEVEL": "info", "number": number.to_string(),
            "application.properties": "server.port=8080\nserver.threads=16\ncache.size=1000\n"}})
    .to_string()
}
