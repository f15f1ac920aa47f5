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

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_says_whom_it_speaks_for_and_what_it_is_bound_to() {
    let server = Server::new().await;
    server.post(ACCOUNTS, &json!({"metadata": {"name": "sa"}})).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "sa", "nodeName": "n1",
        "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(server.post(PODS, &pod).await.code, 201);
    let plain = server.post(&format!("{ACCOUNTS}/sa/token"), &json!({"spec": {}})).await;
    assert_eq!((plain.code, plain.text("/kind"), plain.text("/metadata/name")), (201, "TokenRequest", "sa"));
    assert_eq!(plain.json["spec"]["expirationSeconds"], 3600);
    let plain = claims(plain.text("/status/token"));
    assert_eq!(plain["sub"], "system:serviceaccount:default:sa");
    assert_eq!(plain["aud"], json!(["https://kubernetes.default.svc"]));
    let bound = json!({"spec": {"expirationSeconds": 3607, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}});
    let bound = server.post(&format!("{ACCOUNTS}/sa/token"), &bound).await;
    let bound = claims(bound.text("/status/token"));
    assert_eq!(bound["kubernetes.io"]["pod"]["name"], "p");
    assert_eq!(bound["kubernetes.io"]["node"], json!({"name": "n1"}));
    let lasts = bound["exp"].as_i64().unwrap() - bound["iat"].as_i64().unwrap();
    assert_eq!(lasts, 365 * 24 * 3600, "pods that think their token lasts forever get a year");
}

#[tokio::test]
async fn a_token_is_refused_for_what_makes_no_sense() {
    let server = Server::new().await;
    server.post(ACCOUNTS, &json!({"metadata": {"name": "sa"}})).await;
    pod(&server, "other", &["c"]).await;
    let bound =
        |kind: &str, name: &str| json!({"spec": {"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name}}});
    let mut stale = bound("Pod", "other");
    stale["metadata"] = json!({"uid": "1"});
    for (account, request, code, message) in [
        ("sa", json!({"spec": {"expirationSeconds": 599}}), 422, "may not specify a duration less than 10 minutes"),
        (
            "sa",
            json!({"spec": {"expirationSeconds": 4_294_967_297_i64}}),
            422,
            "may not specify a duration larger than 2^32 seconds",
        ),
        ("absent", json!({"spec": {}}), 404, "serviceaccounts \"absent\" not found"),
        ("sa", bound("Pod", "absent"), 404, "pods \"absent\" not found"),
        ("sa", bound("ConfigMap", "x"), 400, "cannot bind token to object of type /v1, Kind=ConfigMap"),
        (
            "sa",
            bound("Pod", "other"),
            400,
            "cannot bind token for serviceaccount \"sa\" to pod running with different serviceaccount name.",
        ),
        ("sa", stale, 409, "does not match the UID of the service account"),
        ("sa", json!({"metadata": {"name": "x"}, "spec": {}}), 422, "must match the service account name if specified"),
    ] {
        let refused = server.post(&format!("{ACCOUNTS}/{account}/token"), &request).await;
        assert!(refused.code == code && refused.text("/message").contains(message), "{}", refused.json);
    }
}
