//! Deployments as kubectl drives them: made, scaled, updated, rolled back, and mended when something is deleted.

use coracle_tests::cluster::name;
use coracle_tests::{Cluster, eventually};
use serde_json::Value;

/// A cluster with `hello:1` and `hello:2` in its store, and a Deployment of the first.
fn with_hello(replicas: usize) -> Cluster {
    let cluster = Cluster::start();
    cluster.push_as("hello", "hello:1");
    cluster.push_as("hello", "hello:2");
    let made = cluster.kubectl(&format!("create deploy hello --image=hello:1 --replicas={replicas}")).ok();
    assert_eq!(made, "deployment.apps/hello created\n");
    cluster.ready_pods("app=hello", replicas);
    cluster
}

fn images(cluster: &Cluster) -> String {
    cluster.kubectl("get pods -l app=hello -o jsonpath={.items[*].spec.containers[0].image}").ok()
}

#[test]
fn a_deployment_is_scaled_updated_and_rolled_back() {
    let cluster = with_hello(1);
    assert_eq!(cluster.kubectl("scale deploy hello --replicas=10").ok(), "deployment.apps/hello scaled\n");
    cluster.ready_pods("app=hello", 10);
    // Its status follows its pods.
    cluster.kubectl("wait --for=jsonpath={.status.availableReplicas}=10 deploy/hello --timeout=30s").ok();

    assert_eq!(cluster.kubectl("set image deploy/hello hello=hello:2").ok(), "deployment.apps/hello image updated\n");
    // A quarter may be missing at a time, so 8 of 10 are there throughout.
    eventually("all ten updated, never fewer than eight available", || {
        let status = cluster.get("/apis/apps/v1/namespaces/default/deployments/hello")["status"].clone();
        let available = status["availableReplicas"].as_u64().unwrap_or(0);
        assert!(available >= 8, "only {available} available: {status}");
        let count = |field: &str| status[field].as_u64().unwrap_or(0);
        let done = count("updatedReplicas") == 10 && count("replicas") == 10 && available == 10;
        if done { Ok(()) } else { Err(status.to_string()) }
    });
    cluster.kubectl("rollout status deploy/hello --timeout=40s").ok();
    cluster.ready_pods("app=hello", 10);
    assert_eq!(images(&cluster), ["hello:2"; 10].join(" "));

    let history = cluster.kubectl("rollout history deploy/hello").ok();
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    assert_eq!(cluster.kubectl("rollout undo deploy/hello").ok(), "deployment.apps/hello rolled back\n");
    cluster.kubectl("rollout status deploy/hello --timeout=40s").ok();
    cluster.ready_pods("app=hello", 10);
    assert_eq!(images(&cluster), ["hello:1"; 10].join(" "));

    assert_eq!(cluster.kubectl("scale deploy hello --replicas=0").ok(), "deployment.apps/hello scaled\n");
    cluster.ready_pods("app=hello", 0);
}

#[test]
fn a_deleted_pod_is_replaced_and_a_deleted_replica_set_comes_back() {
    let cluster = with_hello(2);
    let before = cluster.ready_pods("app=hello", 2);
    let said = cluster.kubectl(&format!("delete pod {}", before[0])).ok();
    assert!(said.contains(&format!("pod \"{}\" deleted", before[0])), "{said}");
    let after = cluster.ready_pods("app=hello", 2);
    assert!(!after.contains(&before[0]) && after.contains(&before[1]), "{before:?} {after:?}");

    let uid = |cluster: &Cluster| cluster.kubectl("get rs -l app=hello -o jsonpath={.items[*].metadata.uid}").ok();
    let old = uid(&cluster);
    cluster.kubectl("delete rs -l app=hello").ok();
    eventually("another ReplicaSet", || {
        let new = uid(&cluster);
        if new.is_empty() || new.contains(&old) { Err(new) } else { Ok(()) }
    });
    let last = cluster.ready_pods("app=hello", 2);
    assert!(last.iter().all(|pod| !after.contains(pod)), "its pods went with it: {after:?} {last:?}");
}

#[test]
fn a_rollout_to_an_image_that_is_missing_keeps_the_old_pods_serving() {
    let cluster = with_hello(2);
    let before = cluster.ready_pods("app=hello", 2);
    cluster.kubectl("set image deploy/hello hello=nowhere:9").ok();
    let stuck = eventually("a new pod that waits for its image", || {
        let pods = cluster.pods("app=hello");
        let waits = |p: &&Value| p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] != Value::Null;
        pods.iter().find(waits).map(name).ok_or_else(|| format!("{} pods", pods.len()))
    });
    assert!(!before.contains(&stuck));
    let status = cluster.get("/apis/apps/v1/namespaces/default/deployments/hello")["status"].clone();
    assert_eq!(status["availableReplicas"], 2, "{status}");
    cluster.kubectl("rollout undo deploy/hello").ok();
    cluster.kubectl("rollout status deploy/hello --timeout=40s").ok();
    assert_eq!(cluster.ready_pods("app=hello", 2), before);
}

#[test]
fn a_restart_replaces_every_pod_and_recreate_never_mixes_two_versions() {
    let cluster = with_hello(2);
    let before = cluster.ready_pods("app=hello", 2);
    assert_eq!(cluster.kubectl("rollout restart deploy/hello").ok(), "deployment.apps/hello restarted\n");
    cluster.kubectl("rollout status deploy/hello --timeout=40s").ok();
    let after = cluster.ready_pods("app=hello", 2);
    assert!(after.iter().all(|pod| !before.contains(pod)), "{before:?} {after:?}");

    let recreate = r#"{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}"#;
    cluster.kubectl(&format!("patch deploy hello -p '{recreate}'")).ok();
    cluster.kubectl("set image deploy/hello hello=hello:2").ok();
    eventually("two pods of the second image, never beside one of the first", || {
        let pods = cluster.pods("app=hello");
        // A pod that has ended is still seen for a moment, and does not count upstream either.
        let lives = |p: &&Value| !["Succeeded", "Failed"].contains(&p["status"]["phase"].as_str().unwrap_or_default());
        let of = |image| pods.iter().filter(lives).filter(|p| p["spec"]["containers"][0]["image"] == image).count();
        assert!(of("hello:1") == 0 || of("hello:2") == 0, "{} and {}", of("hello:1"), of("hello:2"));
        if of("hello:2") == 2 { Ok(()) } else { Err(format!("{} pods", pods.len())) }
    });
    cluster.ready_pods("app=hello", 2);
}

#[test]
fn deleting_a_deployment_takes_its_pods_unless_they_are_orphaned() {
    let cluster = with_hello(2);
    cluster.kubectl("delete deploy hello --cascade=orphan").ok();
    let orphans = cluster.kubectl("get rs -l app=hello -o jsonpath={.items[*].metadata.ownerReferences}").ok();
    assert_eq!(orphans, "");
    let pods = cluster.ready_pods("app=hello", 2);
    // A Deployment that selects them adopts them again, and starts nothing anew.
    cluster.kubectl("create deploy hello --image=hello:1 --replicas=2").ok();
    cluster.kubectl("rollout status deploy/hello --timeout=40s").ok();
    assert_eq!(cluster.ready_pods("app=hello", 2), pods);

    // In the foreground, the owner is there until its dependents are gone.
    cluster.kubectl("delete deploy hello --cascade=foreground").ok();
    assert_eq!(cluster.kubectl("get rs,pods -l app=hello -o name").ok(), "");
}

#[test]
fn a_hundred_replicas_come_and_go_and_leave_nothing_behind() {
    let cluster = with_hello(1);
    cluster.kubectl("scale deploy hello --replicas=100").ok();
    cluster.ready_pods("app=hello", 100);
    let uids: Vec<String> =
        cluster.pods("app=hello").iter().map(|pod| pod["metadata"]["uid"].as_str().unwrap().to_owned()).collect();
    let addresses: std::collections::BTreeSet<String> =
        cluster.pods("app=hello").iter().map(|pod| pod["status"]["podIP"].as_str().unwrap().to_owned()).collect();
    assert_eq!(addresses.len(), 100, "each has an address of its own");
    cluster.kubectl("delete deploy hello").ok();
    cluster.ready_pods("app=hello", 0);
    eventually("no file of a pod that is gone", || {
        let left = remains(&cluster.data_dir(), &uids);
        if left.is_empty() { Ok(()) } else { Err(format!("{} paths, such as {}", left.len(), left[0])) }
    });
}

/// Paths under a folder whose names hold one of these.
fn remains(folder: &std::path::Path, uids: &[String]) -> Vec<String> {
    let mut left = Vec::new();
    // A folder may go while we look.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if uids.iter().any(|uid| name.contains(uid.as_str())) {
            left.push(entry.path().display().to_string());
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            left.extend(remains(&entry.path(), uids));
        }
    }
    left
}
