//! The OpenAPI documents as clients use them: whole, each under its hash, and true to what the server serves.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::Value;

use crate::server::Server;

/// All documents of version 3, by path.
async fn documents(server: &Server) -> BTreeMap<String, Value> {
    let index = server.get("/openapi/v3").await.json;
    let mut documents = BTreeMap::new();
    for (path, place) in index["paths"].as_object().unwrap() {
        let answer = server.get(place["serverRelativeURL"].as_str().unwrap()).await;
        assert_eq!(answer.code, 200, "{path}");
        documents.insert(path.clone(), answer.json);
    }
    documents
}

/// Every operation of a document: method, path, operation.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, told)| {
            let methods = told.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters");
            methods.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
        })
        .collect()
}

fn references<'a>(value: &'a Value, into: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| references(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}

/// What `path` names of the parameters of an operation and of its path.
fn parameters<'a>(document: &'a Value, path: &str, method: &str) -> BTreeSet<&'a str> {
    let told = &document["paths"][path];
    let of = |value: &'a Value| value.as_array().into_iter().flatten().filter_map(|p| p["name"].as_str());
    of(&told["parameters"]).chain(of(&told[method]["parameters"])).collect()
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
    let server = Server::new().await;
    let mut documents = documents(&server).await;
    documents.insert("v2".to_owned(), server.get("/openapi/v2").await.json);
    for (name, document) in &documents {
        let mut found = BTreeSet::new();
        references(document, &mut found);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{name}: {reference} leads nowhere");
        }
        let mut ids = BTreeSet::new();
        for (method, path, operation) in operations(document) {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{name}: {method} {path}: {id} is there twice");
            let variables = path.split('{').skip(1).filter_map(|part| part.split('}').next());
            for variable in variables {
                if name != "v2" {
                    assert!(parameters(document, path, method).contains(variable), "{name}: {path}: no {variable}");
                }
            }
        }
    }
}

#[tokio::test]
async fn operations_are_named_as_upstream_names_them() {
    let server = Server::new().await;
    let documents = documents(&server).await;
    let named = |document: &str, path: &str| -> String {
        operations(&documents[document])
            .into_iter()
            .filter(|(_, at, _)| *at == path)
            .map(|(method, _, operation)| {
                let text = |key: &str| operation[key].as_str().unwrap_or("-").to_owned();
                let kind = operation["x-kubernetes-group-version-kind"]["kind"].as_str().unwrap_or("-");
                format!("{method} {} {} {kind}\n", text("operationId"), text("x-kubernetes-action"))
            })
            .collect()
    };
    let of_pod = "/api/v1/namespaces/{namespace}/pods/{name}";
    let mut told = String::new();
    for path in [
        "/api/v1/",
        "/api/v1/pods",
        "/api/v1/namespaces/{namespace}/pods",
        of_pod,
        &format!("{of_pod}/status"),
        &format!("{of_pod}/log"),
        &format!("{of_pod}/eviction"),
        "/api/v1/namespaces/{namespace}/bindings",
        "/api/v1/namespaces/{name}/finalize",
        "/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token",
        "/api/v1/watch/namespaces/{namespace}/pods",
        "/api/v1/watch/nodes",
    ] {
        told += &named("api/v1", path);
    }
    told += &named("apis/apps/v1", "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale");
    expect_test::expect![[r#"
        get getCoreV1APIResources - -
        get listCoreV1PodForAllNamespaces list Pod
        delete deleteCoreV1CollectionNamespacedPod deletecollection Pod
        get listCoreV1NamespacedPod list Pod
        post createCoreV1NamespacedPod post Pod
        delete deleteCoreV1NamespacedPod delete Pod
        get readCoreV1NamespacedPod get Pod
        patch patchCoreV1NamespacedPod patch Pod
        put replaceCoreV1NamespacedPod put Pod
        get readCoreV1NamespacedPodStatus get Pod
        patch patchCoreV1NamespacedPodStatus patch Pod
        put replaceCoreV1NamespacedPodStatus put Pod
        get readCoreV1NamespacedPodLog get Pod
        post createCoreV1NamespacedPodEviction post Eviction
        post createCoreV1NamespacedBinding post Binding
        put replaceCoreV1NamespaceFinalize put Namespace
        post createCoreV1NamespacedServiceAccountToken post TokenRequest
        get watchCoreV1NamespacedPodList watchlist Pod
        get watchCoreV1NodeList watchlist Node
        get readAppsV1NamespacedDeploymentScale get Scale
        patch patchAppsV1NamespacedDeploymentScale patch Scale
        put replaceAppsV1NamespacedDeploymentScale put Scale
    "#]]
    .assert_eq(&told);
}

#[tokio::test]
async fn kubectl_finds_the_parameters_that_it_looks_for() {
    let server = Server::new().await;
    let documents = documents(&server).await;
    let all = "/apis/apps/v1/namespaces/{namespace}/deployments";
    let one = &format!("{all}/{{name}}");
    let told: String =
        [(all, "get"), (all, "post"), (all, "delete"), (one, "get"), (one, "put"), (one, "patch"), (one, "delete")]
            .into_iter()
            .map(|(path, method)| {
                let names: Vec<&str> = parameters(&documents["apis/apps/v1"], path, method).into_iter().collect();
                format!("{method} {}\n", names.join(" "))
            })
            .collect();
    expect_test::expect![[r#"
        get allowWatchBookmarks continue fieldSelector labelSelector limit namespace pretty resourceVersion resourceVersionMatch sendInitialEvents timeoutSeconds watch
        post dryRun fieldManager fieldValidation namespace pretty
        delete continue dryRun fieldSelector gracePeriodSeconds ignoreStoreReadErrorWithClusterBreakingPotential labelSelector limit namespace orphanDependents pretty propagationPolicy resourceVersion resourceVersionMatch sendInitialEvents timeoutSeconds
        get name namespace pretty
        put dryRun fieldManager fieldValidation name namespace pretty
        patch dryRun fieldManager fieldValidation force name namespace pretty
        delete dryRun gracePeriodSeconds ignoreStoreReadErrorWithClusterBreakingPotential name namespace orphanDependents pretty propagationPolicy
    "#]].assert_eq(&told);
}

#[tokio::test]
async fn all_that_discovery_names_is_described() {
    let server = Server::new().await;
    let documents = documents(&server).await;
    for (name, document) in &documents {
        let told = server.get(&format!("/{name}")).await.json;
        for resource in told["resources"].as_array().into_iter().flatten() {
            let resource_name = resource["name"].as_str().unwrap();
            let (plural, subresource) = resource_name.split_once('/').unwrap_or((resource_name, ""));
            let scope = if resource["namespaced"] == true { "/namespaces/{namespace}" } else { "" };
            for verb in resource["verbs"].as_array().unwrap() {
                let (method, named) = match verb.as_str().unwrap() {
                    "create" => ("post", !subresource.is_empty()),
                    "deletecollection" => ("delete", false),
                    "list" | "watch" => ("get", false),
                    "update" => ("put", true),
                    verb => (verb, true),
                };
                let one = if named { "/{name}" } else { "" };
                let below = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
                let path = format!("/{name}{scope}/{plural}{one}{below}");
                assert!(document["paths"][&path][method].is_object(), "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_document_is_kept_under_its_hash_and_asked_for_once() {
    let server = Server::new().await;
    let index = server.get("/openapi/v3").await;
    let url = index.json["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let (path, hash) = url.split_once("?hash=").unwrap();
    let told = server.get(url).await;
    assert_eq!(told.headers["cache-control"], "public, immutable");
    assert_eq!(told.headers["etag"].to_str().unwrap(), format!("\"{hash}\""));
    let tag = format!("\"{hash}\"");
    let again = server.send(Method::GET, path, &[("if-none-match", &tag)], "").await;
    assert_eq!(again.code, 304);
    let old = server.get(&format!("{path}?hash=OLD")).await;
    assert_eq!((old.code, old.headers["location"].to_str().unwrap()), (301, url));
    assert_eq!(server.get_as(path, "application/com.github.proto-openapi.spec.v3@v1.0+protobuf").await.code, 406);
    assert_eq!(server.get("/openapi/v3/apis/nope/v1").await.code, 404);
}

#[tokio::test]
async fn version_2_is_told_in_protobuf_to_those_who_ask_so() {
    let server = Server::new().await;
    let asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let told = server.get_as("/openapi/v2", asked).await;
    assert_eq!(told.headers["content-type"], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    let tag = told.headers["etag"].to_str().unwrap().to_owned();
    let again = server.send(Method::GET, "/openapi/v2", &[("accept", asked), ("if-none-match", &tag)], "").await;
    assert_eq!(again.code, 304);
    let json = server.get("/openapi/v2").await;
    assert_eq!((json.code, json.text("/swagger")), (200, "2.0"));
    assert_ne!(json.headers["etag"].to_str().unwrap(), tag);
    let pod = &json.json["definitions"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.core.v1.PodSpec");
    assert!(!json.json["definitions"].to_string().contains("\"default\":{}"));
    assert_eq!(server.get_as("/openapi/v2", "text/html").await.code, 406);
}
