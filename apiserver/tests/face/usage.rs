//! `metrics.k8s.io`: what is used, asked of the nodes.

use serde_json::json;

use crate::server::Server;

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";

/// A server whose one node tells of the pods `web` and `job`, both of namespace `default`.
async fn server() -> Server {
    let server = Server::new().await;
    let node = json!({"metadata": {"name": "n1", "labels": {"zone": "a"}}});
    server.post("/api/v1/nodes", &node).await;
    server.post("/api/v1/nodes", &json!({"metadata": {"name": "silent"}})).await;
    for name in ["web", "quiet"] {
        let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
        server.post("/api/v1/namespaces/default/pods", &json!({"metadata": {"name": name}, "spec": spec})).await;
    }
    server
}

#[tokio::test]
async fn usage_is_listed_as_the_nodes_tell_it() {
    let server = server().await;
    let all = server.get(&format!("{METRICS}/pods")).await;
    assert_eq!((all.code, all.text("/kind")), (200, "PodMetricsList"));
    assert_eq!(all.names(), ["job", "web"]);
    assert_eq!(all.json["items"][1]["containers"][0]["usage"], json!({"cpu": "1500u", "memory": "64Ki"}));
    assert!(all.json["items"][1]["kind"].is_null(), "{}", all.json);
    let selected = |query: &str| format!("{METRICS}/namespaces/default/pods?{query}");
    assert_eq!(server.get(&selected("labelSelector=app%3Dweb")).await.names(), ["web"]);
    assert_eq!(server.get(&selected("fieldSelector=metadata.name!%3Dweb")).await.names(), ["job"]);
    assert!(server.get(&format!("{METRICS}/namespaces/other/pods")).await.names().is_empty());
    let nodes = server.get(&format!("{METRICS}/nodes")).await;
    assert_eq!(nodes.names(), ["n1"]);
    assert_eq!(nodes.json["items"][0]["metadata"]["labels"]["zone"], "a");
    assert!(server.get(&format!("{METRICS}/nodes?labelSelector=zone%3Db")).await.names().is_empty());
}

#[tokio::test]
async fn usage_of_one_is_told_or_refused_as_by_metrics_server() {
    let server = server().await;
    let pods = format!("{METRICS}/namespaces/default/pods");
    let web = server.get(&format!("{pods}/web")).await;
    assert_eq!((web.code, web.text("/kind"), web.text("/window")), (200, "PodMetrics", "15s"));
    let quiet = server.get(&format!("{pods}/quiet")).await;
    assert_eq!(quiet.refusal(), (404, "podmetrics.metrics.k8s.io \"default/quiet\" not found"));
    assert_eq!(server.get(&format!("{pods}/absent")).await.refusal(), (404, "pods \"absent\" not found"));
    let silent = server.get(&format!("{METRICS}/nodes/silent")).await;
    assert_eq!(silent.refusal(), (404, "nodemetrics.metrics.k8s.io \"silent\" not found"));
    assert_eq!(server.get(&format!("{METRICS}/nodes/n1")).await.text("/usage/cpu"), "250m");
    assert_eq!(server.post(&pods, &json!({})).await.code, 405);
    assert_eq!(server.get(&format!("{pods}?watch=true")).await.code, 405);
}

#[tokio::test]
async fn usage_is_shown_in_a_table() {
    let server = server().await;
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
    let table = server.send(http::Method::GET, &format!("{METRICS}/pods"), &accept, "").await;
    let cells: Vec<_> = table.json["rows"].as_array().unwrap().iter().map(|row| row["cells"].clone()).collect();
    assert_eq!(json!(cells), json!([["job", "0", "0", "1s"], ["web", "1502u", "1088Ki", "15s"]]));
}
