//! The toolbox: a guest of many calls (see `toolbox.wat`), and the pods that use it.

use coracle_tests::Cluster;
use serde_json::{Value, json};

/// Its binary.
pub(crate) fn wasm() -> Vec<u8> {
    wat::parse_str(include_str!("toolbox.wat")).unwrap()
}

/// Pushes it as `toolbox:1`.
pub(crate) fn push(cluster: &Cluster) {
    let file = cluster.file("toolbox.wasm", wasm());
    cluster.coracle(&format!("image push {file} toolbox:1")).ok();
}

/// A probe or hook that runs the toolbox with these arguments.
pub(crate) fn exec(arguments: &[&str]) -> Value {
    let command: Vec<&str> = ["toolbox"].iter().chain(arguments).copied().collect();
    json!({"command": command})
}

/// Creates a pod of one container `box`, labelled `app=<name>`, with what else is given of the container.
pub(crate) fn pod(cluster: &Cluster, name: &str, image: &str, more: Value) {
    pod_with(cluster, name, image, more, json!({}));
}

/// The same, with what else is given of the pod's spec.
pub(crate) fn pod_with(cluster: &Cluster, name: &str, image: &str, more: Value, spec: Value) {
    let container = merged(json!({"name": "box", "image": image}), more);
    let spec = merged(json!({"containers": [container]}), spec);
    let metadata = json!({"name": name, "labels": {"app": name}});
    cluster.api().create("/api/v1/namespaces/default/pods", &json!({"metadata": metadata, "spec": spec}));
}

fn merged(mut object: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("an object, not {more}") };
    object.as_object_mut().unwrap().extend(more);
    object
}
