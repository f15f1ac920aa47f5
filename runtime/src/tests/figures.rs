//! What the kubelet's API tells of pods and of what they use.

use super::*;

async fn told(rig: &Rig, path: &str) -> String {
    let response = rig.kubelet.serve(Request::get(path).body(body_of("")).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn json_of(rig: &Rig, path: &str) -> Value {
    serde_json::from_str(&told(rig, path).await).unwrap()
}

#[tokio::test]
async fn a_running_pod_is_measured_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    rig.push("waits", "1", &guests::prints_environment_and_waits()).await;
    rig.pod("p", "Always", &json!({ "image": "waits:1", "resources": {"limits": {"memory": "32Mi"}} }));
    rig.api.until("pods", "p", |p| condition(p, "Ready") == "True").await;

    let summary = json_of(&rig, "/stats/summary").await;
    assert_eq!(summary["node"]["nodeName"], "localhost");
    assert!(summary["node"]["cpu"]["usageNanoCores"].as_u64() > Some(0), "{summary}");
    assert!(summary["node"]["fs"]["capacityBytes"].as_u64() > Some(0), "{summary}");
    let pod = &summary["pods"][0];
    assert_eq!(pod["podRef"]["name"], "p");
    let container = &pod["containers"][0];
    assert!(container["cpu"]["usageNanoCores"].is_u64(), "{container}");
    let (used, left) = (&container["memory"]["workingSetBytes"], &container["memory"]["availableBytes"]);
    assert_eq!(used.as_u64().unwrap() + left.as_u64().unwrap(), 32 << 20);
    assert!(container["logs"]["usedBytes"].as_u64() > Some(0), "{container}");
    assert!(pod["ephemeral-storage"]["usedBytes"].as_u64() > container["logs"]["usedBytes"].as_u64(), "{pod}");

    let usage = json_of(&rig, "/stats/usage?namespace=default&pod=p").await;
    assert_eq!(usage["pods"][0]["containers"][0]["name"], "c");
    assert_eq!(json_of(&rig, "/stats/usage?namespace=other").await["pods"], json!([]));
    let series = told(&rig, "/metrics/resource").await;
    assert!(series.contains("container_memory_working_set_bytes{container=\"c\",namespace=\"default\",pod=\"p\"}"));
    assert!(told(&rig, "/metrics").await.contains("\nkubelet_running_pods 1\n"));
    assert_eq!(json_of(&rig, "/runningpods/").await["items"][0]["status"]["phase"], "Running");
    assert!(json_of(&rig, "/configz").await["kubeletconfig"]["maxPods"].as_u64() > Some(0));

    let deleted =
        json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0 } });
    rig.api.patch("pods", "default", "p", &deleted);
    rig.api.until_gone("pods", "p").await;
    while json_of(&rig, "/pods").await["items"] != json!([]) {
        tokio::task::yield_now().await;
    }
    assert!(!told(&rig, "/metrics/resource").await.contains("pod=\"p\""));
    rig.stop().await;
}

#[tokio::test]
async fn a_node_that_is_short_of_disk_lets_go_of_the_pod_that_matters_least() {
    let dir = tempfile::tempdir().unwrap();
    let thresholds = Thresholds { disk: u64::MAX, ..Thresholds::default() };
    let rig = Rig::start_with(Config { thresholds, ..Config::default() }, dir.path(), Api::new()).await;
    rig.push("waits", "1", &guests::prints_environment_and_waits()).await;
    let pod = |name: &str, priority: i32| {
        let spec = json!({
            "nodeName": "localhost", "priority": priority, "containers": [{ "name": "c", "image": "waits:1" }],
        });
        rig.api.put("pods", "default", name, json!({ "metadata": {}, "spec": spec }));
    };
    pod("critical", 2_000_000_000);
    rig.api.until("pods", "critical", |p| condition(p, "Ready") == "True").await;
    pod("least", 0);
    let evicted = rig.api.until("pods", "least", |p| p["status"]["phase"] == "Failed").await;
    assert_eq!(evicted["status"]["reason"], "Evicted");
    let message = evicted["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("The node was low on resource: ephemeral-storage. Threshold quantity: "), "{message}");
    assert_eq!(condition(&evicted, "DisruptionTarget"), "True");
    assert_eq!(condition(&rig.api.get("pods", "default", "critical").unwrap(), "Ready"), "True");
    assert!(told(&rig, "/metrics").await.contains("\nkubelet_evictions{eviction_signal=\"nodefs.available\"} 1\n"));
    rig.stop().await;
}
