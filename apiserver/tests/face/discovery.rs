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
async fn resources_are_told_by_name_with_their_storage_version() {
    let server = Server::new().await;
    let core = server.get("/api/v1/").await.json;
    let names = resources(&core);
    assert!(names.is_sorted(), "{names:?}");
    let find = |name: &str| core["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap().clone();
    let config_maps = serde_json::json!({
        "name": "configmaps", "singularName": "configmap", "namespaced": true, "kind": "ConfigMap",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": ["cm"], "storageVersionHash": "qFsyl6wFWjQ="});
    assert_eq!(find("configmaps"), config_maps);
    let eviction = serde_json::json!({
        "name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy", "version": "v1",
        "kind": "Eviction", "verbs": ["create"]});
    assert_eq!(find("pods/eviction"), eviction);
    assert!(find("bindings").get("storageVersionHash").is_none());
}

#[tokio::test]
async fn the_old_and_the_new_form_tell_the_same() {
    let server = Server::new().await;
    for root in ["/api", "/apis"] {
        let told = server.get_as(root, AGGREGATED).await.json;
        for group in told["items"].as_array().unwrap() {
            for version in group["versions"].as_array().unwrap() {
                let group =
                    group["metadata"]["name"].as_str().map_or_else(|| root.to_owned(), |g| format!("{root}/{g}"));
                let old = server.get(&format!("{group}/{}", version["version"].as_str().unwrap())).await.json;
                let mut new = Vec::new();
                for resource in version["resources"].as_array().unwrap() {
                    let name = resource["resource"].as_str().unwrap();
                    new.push(name.to_owned());
                    let below = resource["subresources"].as_array().into_iter().flatten();
                    new.extend(below.map(|s| format!("{name}/{}", s["subresource"].as_str().unwrap())));
                }
                assert_eq!(resources(&old), new);
            }
        }
    }
}

#[tokio::test]
async fn the_paths_of_the_server_lead_somewhere() {
    let server = Server::new().await;
    let index = server.get("/").await.json;
    let paths: Vec<&str> = index["paths"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for wanted in ["/api/v1", "/apis/apps", "/healthz/ping", "/livez/etcd", "/openid/v1/jwks", "/readyz/shutdown"] {
        assert!(paths.contains(&wanted), "{wanted}");
    }
    for path in paths {
        assert_eq!(server.get(path).await.code, 200, "{path}");
    }
    for path in ["/api", "/apis", "/version", "/openapi/v2"] {
        assert_eq!(server.send(Method::POST, path, &[], "").await.code, 405, "{path}");
    }
}

#[tokio::test]
async fn kube_rs_discovers_the_api_in_both_forms() {
    let server = Server::new().await;
    let discovery = || kube::discovery::Discovery::new(server.client.clone());
    for discovered in [discovery().run().await.unwrap(), discovery().run_aggregated().await.unwrap()] {
        let scaler = discovered.get("autoscaling").unwrap();
        assert_eq!(scaler.preferred_version_or_latest(), "v2");
        let (resource, can) = discovered.get("apps").unwrap().recommended_kind("Deployment").unwrap();
        assert_eq!((resource.plural.as_str(), resource.api_version.as_str()), ("deployments", "apps/v1"));
        let below: Vec<&str> = can.subresources.iter().map(|(below, _)| below.plural.as_str()).collect();
        assert_eq!(below.len(), 2, "{below:?}");
    }
}

#[tokio::test]
async fn documents_come_as_the_client_wants_them() {
    let server = Server::new().await;
    assert!(server.get_as("/apis/apps/v1", "application/yaml").await.json.as_str().unwrap().starts_with("apiVersion:"));
    assert_eq!(server.get_as("/apis/apps", "application/vnd.kubernetes.protobuf").await.code, 406);
    assert_eq!(server.get_as("/apis", "application/vnd.kubernetes.protobuf,application/json").await.code, 200);
    let v9 = AGGREGATED.replace("v=v2", "v=v9");
    assert_eq!(server.get_as("/apis", &v9).await.code, 406);
    assert_eq!(server.get_as("/apis", &format!("{v9},application/json")).await.text("/kind"), "APIGroupList");
    let address = server.get("/api").await.json["serverAddressByClientCIDRs"][0].clone();
    assert_eq!(address["serverAddress"], server.api.addr().to_string());
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

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
async fn health_is_told() {
    let server = Server::new().await;
    for path in ["/healthz", "/livez", "/readyz", "/readyz/etcd", "/livez/ping?verbose"] {
        assert_eq!(server.get(path).await.json, "ok", "{path}");
    }
    assert_eq!(server.get("/readyz/nope").await.code, 404);
    let told = server.get("/readyz?verbose&exclude=etcd&exclude=nope").await.json;
    expect_test::expect![[r#"
        [+]ping ok
        [+]log ok
        [+]etcd excluded: ok
        [+]etcd-readiness ok
        [+]poststarthook/start-system-namespaces-controller ok
        [+]shutdown ok
        warn: some health checks cannot be excluded: no matches for "nope"
        readyz check passed
    "#]]
    .assert_eq(told.as_str().unwrap());
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
