//! Volumes behind claims: byte for byte there for the next pod, for one pod alone where it asks so, read-only where it
//! says so.

use coracle_tests::Cluster;
use serde_json::{Value, json};

use super::{PODS, gone, pod, said};

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";

fn claim(cluster: &Cluster, name: &str, mode: &str) {
    let spec = json!({"accessModes": [mode], "resources": {"requests": {"storage": "16Mi"}}});
    cluster.api().create(CLAIMS, &json!({"metadata": {"name": name}, "spec": spec}));
}

fn user(name: &str, steps: &[&str], claim: &str, more: &Value) -> Value {
    let mut source = json!({"claimName": claim});
    source.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let volume = json!({"name": "v", "persistentVolumeClaim": source});
    pod(name, steps, &[volume], &[json!({"name": "v", "mountPath": "/v"})])
}

#[test]
fn the_next_pod_finds_what_the_last_one_wrote() {
    let mut cluster = Cluster::start();
    cluster.push("disk");
    claim(&cluster, "kept", "ReadWriteOnce");
    cluster.api().create(PODS, &user("first", &["write /v/k first", "hold"], "kept", &json!({})));
    said(&cluster, "first", "hold: holding");
    let volume = cluster.get(&format!("{CLAIMS}/kept"))["spec"]["volumeName"].as_str().unwrap().to_owned();
    let file = cluster.data_dir().join("volumes").join(volume).join("k");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "first");
    cluster.kill_hard();
    cluster.restart();
    said(&cluster, "first", "hold: holding");
    cluster.api().delete(&format!("{PODS}/first"));
    gone(&cluster, "first");
    assert!(file.exists());
    let steps = ["read /v/k", "write /v/k second", "read /v/k"];
    cluster.api().create(PODS, &user("second", &steps, "kept", &json!({})));
    assert_eq!(
        said(&cluster, "second", "read /v/k: ok second"),
        ["read /v/k: ok first", "write /v/k second: ok", "read /v/k: ok second"]
    );
    let steps = ["read /v/k", "write /v/k third", "hold"];
    cluster.api().create(PODS, &user("reader", &steps, "kept", &json!({"readOnly": true})));
    assert_eq!(
        said(&cluster, "reader", "hold: holding"),
        ["read /v/k: ok second", "write /v/k third: Operation not permitted", "hold: holding"]
    );
    let node = cluster.get("/api/v1/nodes")["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    let summary = cluster.get(&format!("/api/v1/nodes/{node}/proxy/stats/summary"));
    let told = summary.to_string();
    assert!(told.contains(r#""pvcRef":{"name":"kept","namespace":"default"}"#), "{told}");
}

#[test]
fn a_claim_for_one_pod_alone_goes_from_one_to_the_next() {
    let cluster = Cluster::start();
    cluster.push("disk");
    claim(&cluster, "alone", "ReadWriteOncePod");
    let bound_to_node = |name: &str, node: Option<&str>| {
        let mut object = user(name, &["append /v/k x", "hold"], "alone", &json!({}));
        if let Some(node) = node {
            object["spec"]["nodeName"] = node.into();
        }
        cluster.api().create(PODS, &object);
    };
    bound_to_node("one", None);
    said(&cluster, "one", "hold: holding");
    // Past the scheduler, which would keep it from the node.
    let node = cluster.get(&format!("{PODS}/one"))["spec"]["nodeName"].as_str().unwrap().to_owned();
    bound_to_node("two", Some(&node));
    let told = cluster.event("two", "FailedMount");
    assert!(told.contains("uses the ReadWriteOncePod access mode and is already in use by another pod"), "{told}");
    cluster.api().delete(&format!("{PODS}/one"));
    said(&cluster, "two", "hold: holding");
}
