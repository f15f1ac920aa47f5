//! Claims and volumes: what binds to what, who makes volumes, and what becomes of them.
//!
//! The tests look into the data directory as a person could: a volume is a directory there, named as its object.

mod binding;
mod kills;
mod provisioning;

use std::path::PathBuf;

use coracle_tests::{Cluster, eventually};
use serde_json::{Value, json};

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const VOLUMES: &str = "/api/v1/persistentvolumes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";

fn claim(name: &str, size: &str, more: &Value) -> Value {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": spec})
}

fn class(name: &str, mode: &str, policy: &str) -> Value {
    json!({"metadata": {"name": name}, "provisioner": "coracle.dev/local-path", "volumeBindingMode": mode,
        "reclaimPolicy": policy, "allowVolumeExpansion": true})
}

/// A pod that uses a claim. Its image need not be there: what is looked at is where it goes.
fn user(name: &str, claim: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "hello:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
    }})
}

/// An object, if it is there.
fn found(cluster: &Cluster, path: &str) -> Option<Value> {
    let (status, object) = cluster.api().call(&http::Method::GET, path, &Value::Null);
    (status == 200).then_some(object)
}

#[track_caller]
fn gone(cluster: &Cluster, path: &str) {
    eventually(&format!("the end of {path}"), || found(cluster, path).map_or(Ok(()), |object| Err(object.to_string())));
}

/// Waits until an object has this phase, and returns it.
#[track_caller]
fn in_phase(cluster: &Cluster, path: &str, phase: &str) -> Value {
    eventually(&format!("{path} {phase}"), || match found(cluster, path) {
        Some(object) if object["status"]["phase"] == phase => Ok(object),
        Some(object) => Err(object.to_string()),
        None => Err("not there".to_owned()),
    })
}

/// Waits until a claim is bound, and returns its volume's name and directory.
#[track_caller]
fn bound(cluster: &Cluster, claim: &str) -> (String, PathBuf) {
    let claim = in_phase(cluster, &format!("{CLAIMS}/{claim}"), "Bound");
    let volume = claim["spec"]["volumeName"].as_str().unwrap().to_owned();
    let dir = directories(cluster).join(&volume);
    (volume, dir)
}

fn directories(cluster: &Cluster) -> PathBuf {
    cluster.data_dir().join("volumes")
}

#[track_caller]
fn no_directory(dir: &std::path::Path) {
    eventually("the end of the directory", || if dir.exists() { Err(dir.display().to_string()) } else { Ok(()) });
}
