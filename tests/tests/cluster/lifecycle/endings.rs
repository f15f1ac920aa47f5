//! How containers and pods end: their last words, and how long they may take.

use coracle_tests::eventually;
use serde_json::json;

use super::{cluster, create, pod, shows};

#[test]
fn a_container_leaves_a_termination_message() {
    let cluster = cluster();
    let spec = |container: serde_json::Value| json!({"restartPolicy": "Never", "containers": [container]});
    let file = json!({"name": "main", "image": "files:1", "env": [{"name": "DATA_DIR", "value": "/dev"}],
        "terminationMessagePath": "/dev/coracle.txt"});
    create(&cluster, "file", &spec(file));
    assert_eq!(cluster.terminated("file")["message"], "written to /dev/coracle.txt");

    let log = json!({"name": "main", "image": "files:1", "args": ["exit", "3"],
        "terminationMessagePolicy": "FallbackToLogsOnError"});
    create(&cluster, "log", &spec(log.clone()));
    let message = cluster.terminated("log")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("files: done, ending with 3"), "{message}");
    assert!(message.len() <= 2048, "{}", message.len());

    let mut well = log;
    well["args"] = json!(["exit", "0"]);
    create(&cluster, "well", &spec(well));
    assert!(cluster.terminated("well")["message"].is_null());
}

#[test]
fn a_pod_goes_at_once_when_it_is_deleted_by_force() {
    let cluster = cluster();
    let spec = json!({"terminationGracePeriodSeconds": 600, "containers": [{"name": "main", "image": "counter:1"}]});
    create(&cluster, "forced", &spec);
    shows(&cluster, "forced", ["1/1", "Running", "0"]);
    cluster.kubectl("delete pod forced --force --grace-period=0").ok_with_warnings();
    assert!(cluster.kubectl("get pod forced").refused().contains("not found"));
    eventually("an end of the directories", || {
        let left = std::fs::read_dir(cluster.data_dir().join("pods")).map(Iterator::count).unwrap_or_default();
        if left == 0 { Ok(()) } else { Err(format!("{left} are left")) }
    });
}

#[test]
fn a_pod_that_waits_for_its_image_is_deleted_at_once() {
    let cluster = cluster();
    let main = json!([{"name": "main", "image": "localhost:1/missing:1", "imagePullPolicy": "Never"}]);
    create(&cluster, "waits", &json!({"terminationGracePeriodSeconds": 600, "containers": main}));
    shows(&cluster, "waits", ["0/1", "ErrImageNeverPull", "0"]);
    cluster.kubectl("delete pod waits --timeout=20s").ok();
}

#[test]
fn a_second_deletion_shortens_the_first() {
    let cluster = cluster();
    // A hook that takes longer than anybody waits.
    let main = json!([{"name": "main", "image": "counter:1", "lifecycle": {"preStop": {"sleep": {"seconds": 500}}}}]);
    create(&cluster, "slow", &json!({"terminationGracePeriodSeconds": 600, "containers": main}));
    shows(&cluster, "slow", ["1/1", "Running", "0"]);
    cluster.kubectl("delete pod slow --wait=false").ok();
    shows(&cluster, "slow", ["1/1", "Terminating", "0"]);
    assert_eq!(pod(&cluster, "slow")["metadata"]["deletionGracePeriodSeconds"], 600);
    cluster.kubectl("delete pod slow --grace-period=1 --timeout=30s").ok();
}
