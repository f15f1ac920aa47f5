//! Subresources: scale, binding, eviction, logs; and the image registry beside them.

use serde_json::json;

use crate::server::Server;

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(server: &Server, name: &str, containers: &[&str]) {
    let containers: Vec<_> = containers.iter().map(|c| json!({"name": c, "image": "i"})).collect();
    let made = server.post(PODS, &json!({"metadata": {"name": name}, "spec": {"containers": containers}})).await;
    assert_eq!(made.code, 201, "{}", made.json);
}

fn binding(name: &str, node: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "annotations": {"from": "binding"}},
        "target": {"kind": "Node", "name": node}})
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let server = Server::new().await;
    pod(&server, "p", &["c"]).await;
    assert_eq!(server.post(&format!("{PODS}/p/binding"), &binding("p", "n1")).await.code, 201);
    let bound = server.get(&format!("{PODS}/p")).await;
    assert_eq!((bound.text("/spec/nodeName"), bound.text("/metadata/annotations/from")), ("n1", "binding"));
    let condition = (bound.text("/status/conditions/0/type"), bound.text("/status/conditions/0/status"));
    assert_eq!(condition, ("PodScheduled", "True"));
    let again = server.post(&format!("{PODS}/p/binding"), &binding("p", "n2")).await;
    let message = "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"";
    assert_eq!(again.refusal(), (409, message));
}

#[tokio::test]
async fn logs_are_streamed_from_the_node() {
    let server = Server::new().await;
    pod(&server, "p", &["a", "b"]).await;
    let refused = server.get(&format!("{PODS}/p/log")).await;
    assert_eq!(refused.refusal(), (400, "a container name must be specified for pod p, choose one of: [a b]"));
    assert_eq!(
        server.get(&format!("{PODS}/p/log?container=x")).await.refusal().1,
        "container x is not valid for pod p"
    );
    assert_eq!(server.get(&format!("{PODS}/p/log?container=a")).await.code, 204);
    server.post(&format!("{PODS}/p/binding"), &binding("p", "n1")).await;
    let log = server.get(&format!("{PODS}/p/log?container=a&follow=true&tailLines=3")).await;
    assert_eq!(log.json, "kubelet /containerLogs/default/p/a?follow=true&tailLines=3");
}

#[tokio::test]
async fn an_eviction_deletes_politely() {
    let server = Server::new().await;
    pod(&server, "p", &["c"]).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    assert_eq!(server.post(&format!("{PODS}/p/eviction"), &eviction).await.code, 201);
    assert_eq!(server.get(&format!("{PODS}/p")).await.code, 404);
}

#[tokio::test]
async fn replicas_are_scaled_in_one_shape() {
    let server = Server::new().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server
        .post(path, &json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}))
        .await;
    let scaled = server.merge(&format!("{path}/d/scale"), &json!({"spec": {"replicas": 5}})).await;
    assert_eq!((scaled.text("/kind"), scaled.json["spec"]["replicas"].clone()), ("Scale", json!(5)));
    assert_eq!(server.get(&format!("{path}/d")).await.json["spec"]["replicas"], 5);
    let refused = server.merge(&format!("{path}/d/scale"), &json!({"spec": {"replicas": -1}})).await;
    assert_eq!(refused.code, 422);
    assert_eq!(server.delete(&format!("{path}/d/scale")).await.code, 405);
}

#[tokio::test]
async fn images_are_served_beside_the_api() {
    let server = Server::new().await;
    assert_eq!(server.get("/v2/hello/tags/list").await.json, "images /v2/hello/tags/list");
}
