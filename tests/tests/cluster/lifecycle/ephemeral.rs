//! Looking into a pod: `kubectl debug`.

use serde_json::json;

use super::{cluster, container, create, pod, shows};

#[test]
fn a_debugger_runs_once_in_the_pod_and_its_log_can_be_read() {
    let cluster = cluster();
    create(&cluster, "app", &json!({"containers": [{"name": "main", "image": "counter:1"}]}));
    shows(&cluster, "app", ["1/1", "Running", "0"]);
    cluster.kubectl("debug app --image=files:1 -c debugger --target=main -- files exit 7").ok_with_warnings();
    let status =
        container(&cluster, "app", "ephemeralContainerStatuses", "debugger", |c| c["state"]["terminated"].is_object());
    assert_eq!((&status["state"]["terminated"]["exitCode"], &status["ready"]), (&json!(7), &json!(false)), "{status}");
    assert!(status["started"].is_null(), "{status}");
    let log = cluster.kubectl("logs app -c debugger").ok();
    assert!(log.contains("files: done, ending with 7"), "{log}");
    // It counts for nothing, and never runs again.
    shows(&cluster, "app", ["1/1", "Running", "0"]);
    assert_eq!(pod(&cluster, "app")["status"]["phase"], "Running");
    let described = cluster.kubectl("describe pod app").ok();
    assert!(described.contains("Ephemeral Containers:"), "{described}");
}

#[test]
fn a_debugger_runs_also_in_a_pod_whose_image_is_missing() {
    let cluster = cluster();
    let main = json!([{"name": "main", "image": "localhost:1/missing:1", "imagePullPolicy": "Never"}]);
    create(&cluster, "stuck", &json!({"containers": main}));
    shows(&cluster, "stuck", ["0/1", "ErrImageNeverPull", "0"]);
    cluster.kubectl("debug stuck --image=files:1 -c debugger").ok_with_warnings();
    container(&cluster, "stuck", "ephemeralContainerStatuses", "debugger", |c| {
        c["state"]["terminated"]["exitCode"] == 0
    });
}

#[test]
fn an_ephemeral_container_can_only_be_added() {
    let cluster = cluster();
    create(&cluster, "app", &json!({"containers": [{"name": "main", "image": "counter:1"}]}));
    cluster.kubectl("debug app --image=files:1 -c debugger").ok_with_warnings();
    let path = "patch pod app --subresource=ephemeralcontainers --type=json -p";
    let removed = cluster.kubectl(&format!("{path} [{{\"op\":\"remove\",\"path\":\"/spec/ephemeralContainers/0\"}}]"));
    let refusal = removed.refused();
    assert!(refusal.contains("existing ephemeral containers \"debugger\" may not be removed"), "{refusal}");
}
