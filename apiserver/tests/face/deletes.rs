//! Objects go: at once, when nothing holds them, or when their node has stopped them.

use http::Method;
use serde_json::{Value, json};

use crate::server::{Answer, CONFIG_MAPS, Server};

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn delete_with(server: &Server, path: &str, options: &Value) -> Answer {
    let media = [("content-type", "application/json")];
    server.send(Method::DELETE, path, &media, &options.to_string()).await
}

#[tokio::test]
async fn a_plain_object_goes_at_once() {
    let server = Server::new().await;
    server.config_map("a", "1").await;
    let gone = server.delete(&format!("{CONFIG_MAPS}/a")).await;
    assert_eq!((gone.code, gone.text("/status"), gone.text("/details/name")), (200, "Success", "a"));
    let again = server.delete(&format!("{CONFIG_MAPS}/a")).await;
    assert_eq!(again.refusal(), (404, "configmaps \"a\" not found"));
}

#[tokio::test]
async fn a_finalizer_holds_an_object_until_it_is_removed() {
    let server = Server::new().await;
    let held = json!({"metadata": {"name": "a", "finalizers": ["x.example.com/a"]}});
    server.post(CONFIG_MAPS, &held).await;
    let path = format!("{CONFIG_MAPS}/a");
    let marked = server.delete(&path).await;
    assert!(!marked.text("/metadata/deletionTimestamp").is_empty());
    let more = json!({"metadata": {"finalizers": ["x.example.com/a", "x.example.com/b"]}});
    assert_eq!(server.merge(&path, &more).await.code, 422);
    assert_eq!(
        server.post(CONFIG_MAPS, &held).await.refusal().1,
        "object is being deleted: configmaps \"a\" already exists"
    );
    assert_eq!(server.merge(&path, &json!({"metadata": {"finalizers": null}})).await.code, 200);
    assert_eq!(server.get(&path).await.code, 404);
}

#[tokio::test]
async fn preconditions_hold() {
    let server = Server::new().await;
    let made = server.config_map("a", "1").await;
    let path = format!("{CONFIG_MAPS}/a");
    let other = json!({"preconditions": {"uid": "other"}});
    assert_eq!(delete_with(&server, &path, &other).await.code, 409);
    let (uid, version) = (made.text("/metadata/uid"), made.text("/metadata/resourceVersion"));
    let this = json!({"preconditions": {"uid": uid, "resourceVersion": version}});
    assert_eq!(delete_with(&server, &path, &this).await.code, 200);
}

#[tokio::test]
async fn a_propagation_policy_becomes_a_finalizer() {
    let server = Server::new().await;
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        server.config_map(&policy.to_lowercase(), "1").await;
        let path = format!("{CONFIG_MAPS}/{}?propagationPolicy={policy}", policy.to_lowercase());
        assert_eq!(server.delete(&path).await.text("/metadata/finalizers/0"), finalizer);
    }
}

async fn pod(server: &Server, name: &str, node: Option<&str>) {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    if let Some(node) = node {
        pod["spec"]["nodeName"] = node.into();
    }
    let made = server.post(PODS, &pod).await;
    assert_eq!(made.code, 201, "{}", made.json);
}

#[tokio::test]
async fn a_pod_on_a_node_goes_when_its_node_says_so() {
    let server = Server::new().await;
    pod(&server, "free", None).await;
    pod(&server, "bound", Some("n1")).await;
    server.delete(&format!("{PODS}/free")).await;
    assert_eq!(server.get(&format!("{PODS}/free")).await.code, 404);
    let stopping = server.delete(&format!("{PODS}/bound")).await;
    assert_eq!(stopping.json["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(server.get(&format!("{PODS}/bound")).await.code, 200);
    assert_eq!(server.delete(&format!("{PODS}/bound?gracePeriodSeconds=0")).await.code, 200);
    assert_eq!(server.get(&format!("{PODS}/bound")).await.code, 404);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let server = Server::new().await;
    for (name, label) in [("a", "1"), ("b", "1"), ("c", "2")] {
        server.config_map(name, label).await;
    }
    let deleted = server.delete(&format!("{CONFIG_MAPS}?labelSelector=l%3D1")).await;
    assert_eq!(deleted.names(), ["a", "b"]);
    assert_eq!(server.get(CONFIG_MAPS).await.names(), ["c"]);
}

#[tokio::test]
async fn a_namespace_is_emptied_before_it_goes() {
    let server = Server::new().await;
    server.post("/api/v1/namespaces", &json!({"metadata": {"name": "n"}})).await;
    let going = server.delete("/api/v1/namespaces/n").await;
    assert_eq!(going.text("/status/phase"), "Terminating");
    let refused = server.post("/api/v1/namespaces/n/configmaps", &json!({"metadata": {"name": "a"}})).await;
    let message =
        "configmaps \"a\" is forbidden: unable to create new content in namespace n because it is being terminated";
    assert_eq!(refused.refusal(), (403, message));
    assert_eq!(refused.text("/details/causes/0/reason"), "NamespaceTerminating");
    let empty = json!({"metadata": {"name": "n"}, "spec": {"finalizers": []}});
    assert_eq!(server.put("/api/v1/namespaces/n/finalize", &empty).await.code, 200);
    assert_eq!(server.get("/api/v1/namespaces/n").await.code, 404);
}

#[tokio::test]
async fn the_first_namespaces_stay() {
    let server = Server::new().await;
    for name in ["default", "kube-system", "kube-public"] {
        let message = format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted");
        let refused = server.delete(&format!("/api/v1/namespaces/{name}")).await;
        assert_eq!(refused.refusal(), (403, message.as_str()));
    }
}

#[tokio::test]
async fn the_address_of_a_deleted_service_is_free_again() {
    let server = Server::new().await;
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "127.43.0.77", "ports": [{"port": 80}]}});
    assert_eq!(server.post(services, &service).await.code, 201);
    let mut other = service.clone();
    other["metadata"]["name"] = "t".into();
    assert_eq!(server.post(services, &other).await.code, 422);
    server.delete(&format!("{services}/s")).await;
    assert_eq!(server.post(services, &other).await.code, 201);
}
