//! What clients find out: resources, versions, schemas, health; and what is not there.

use coracle_apiserver::Identity;
use http::Method;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use serde_json::Value;

use crate::server::Server;

fn resources(list: &Value) -> Vec<&str> {
    list["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect()
}

#[tokio::test]
async fn discovery_tells_the_registry() {
    let server = Server::new().await;
    let core = server.get("/api/v1").await.json;
    for name in ["bindings", "configmaps", "namespaces/finalize", "pods/binding", "pods/log", "pods/status"] {
        assert!(resources(&core).contains(&name), "{name}");
    }
    assert_eq!(server.get("/apis/apps").await.text("/preferredVersion/groupVersion"), "apps/v1");
    assert!(resources(&server.get("/apis/apps/v1").await.json).contains(&"deployments/scale"));
}

#[tokio::test]
async fn aggregated_discovery_is_told_once_and_then_not_modified() {
    let server = Server::new().await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let told = server.get_as("/apis", accept).await;
    assert_eq!(told.text("/kind"), "APIGroupDiscoveryList");
    let tag = told.headers["etag"].to_str().unwrap().to_owned();
    let again = server.send(Method::GET, "/apis", &[("accept", accept), ("if-none-match", &tag)], "").await;
    assert_eq!(again.code, 304);
    assert_eq!(server.get("/apis").await.text("/kind"), "APIGroupList");
}

#[tokio::test]
async fn openapi_describes_what_kubectl_asks_for() {
    let server = Server::new().await;
    let index = server.get("/openapi/v3").await;
    let url = index.json["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let document = server.get(&url).await.json;
    assert!(document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    let path = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(path["x-kubernetes-action"], "patch");
    assert_eq!(path["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    let parameters: Vec<&str> =
        path["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert!(parameters.contains(&"fieldValidation") && parameters.contains(&"dryRun"));
}

#[tokio::test]
async fn what_is_not_there_is_said_so() {
    let server = Server::new().await;
    let check = async |method: Method, path: &str, code: u16, message: &str| {
        let answer = server.send(method, path, &[], "").await;
        let text = answer.json.as_str().map_or_else(|| answer.text("/message").to_owned(), str::to_owned);
        assert_eq!((answer.code, text.as_str()), (code, message), "{path}");
    };
    let missing = "the server could not find the requested resource";
    let refused = "the server does not allow this method on the requested resource";
    check(Method::GET, "/nope", 404, "404 page not found\n").await;
    check(Method::GET, "/apis/nope.example.com/v1", 404, "404 page not found\n").await;
    check(Method::GET, "/apis/apps/v9", 404, missing).await;
    check(Method::GET, "/apis/apps/v1/namespaces/default/nopes", 404, missing).await;
    check(Method::GET, "/api/v1/namespaces/default/pods/p/nosub", 404, missing).await;
    check(Method::POST, "/api/v1/pods", 405, refused).await;
    check(Method::DELETE, "/api/v1/namespaces", 405, refused).await;
    check(Method::GET, "/apis/apps/v1/namespaces/default/deployments/x", 404, "deployments.apps \"x\" not found").await;
}

#[tokio::test]
async fn health_and_metrics_are_told() {
    let server = Server::new().await;
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(server.get(path).await.json, "ok");
    }
    assert!(server.get("/readyz?verbose").await.json.as_str().unwrap().contains("[+]store ok"));
    let metrics = server.get("/metrics").await;
    assert!(metrics.json.as_str().unwrap().contains("apiserver_request_total{verb=\"GET\""));
    assert_eq!(server.get("/version").await.text("/major"), "1");
}

#[tokio::test]
async fn strangers_may_find_out_but_not_touch() {
    let server = Server::new().await;
    let eve = server.api.client(Identity::user("eve"));
    let refused = Api::<Pod>::default_namespaced(eve).get("p").await.unwrap_err();
    let kube::Error::Api(status) = refused else { panic!("{refused}") };
    let message =
        r#"pods "p" is forbidden: User "eve" cannot get resource "pods" in API group "" in the namespace "default""#;
    assert_eq!((status.code, status.message.as_str()), (403, message));
}

#[tokio::test]
async fn the_api_is_a_service_of_the_cluster() {
    let server = Server::new().await;
    let service = Api::<Service>::default_namespaced(server.client.clone()).get("kubernetes").await.unwrap();
    assert_eq!(service.spec.unwrap().cluster_ip.as_deref(), Some("127.43.0.1"));
    let endpoints = server.get("/api/v1/namespaces/default/endpoints/kubernetes").await;
    assert_eq!(endpoints.json["subsets"][0]["ports"][0]["port"], server.api.addr().port());
}
