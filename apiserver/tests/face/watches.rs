//! Watches: everything once, in order, and what to do when history is gone.

use coracle_apiserver::{Apiserver, Config, Identity};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};

use crate::server::{CONFIG_MAPS, Server, mounts};

fn config_map(name: &str, label: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"l": label}}})).unwrap()
}

fn told(event: &WatchEvent<ConfigMap>) -> String {
    let name = |o: &ConfigMap| o.metadata.name.clone().unwrap();
    match event {
        WatchEvent::Added(o) => format!("+{}", name(o)),
        WatchEvent::Modified(o) => format!("~{}", name(o)),
        WatchEvent::Deleted(o) => format!("-{}", name(o)),
        WatchEvent::Bookmark(_) => "bookmark".to_owned(),
        WatchEvent::Error(e) => format!("{} {}", e.code, e.reason),
    }
}

async fn watch(api: &Api<ConfigMap>, params: &WatchParams, from: &str, count: usize) -> Vec<String> {
    let events = api.watch(params, from).await.unwrap();
    events.take(count).map_ok(|e| told(&e)).try_collect().await.unwrap()
}

#[tokio::test]
async fn a_watch_tells_what_happens_after_a_list() {
    let server = Server::new().await;
    let api: Api<ConfigMap> = Api::default_namespaced(server.client.clone());
    let from = api.list(&kube::api::ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    api.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    api.create(&PostParams::default(), &config_map("b", "2")).await.unwrap();
    let moved = Patch::Merge(json!({"metadata": {"labels": {"l": "2"}}}));
    api.patch("a", &PatchParams::default(), &moved).await.unwrap();
    api.delete("b", &DeleteParams::default()).await.unwrap();
    let all = WatchParams::default();
    assert_eq!(watch(&api, &all, &from, 4).await, ["+a", "+b", "~a", "-b"]);
    assert_eq!(watch(&api, &all.clone().labels("l=1"), &from, 2).await, ["+a", "-a"]);
    assert_eq!(watch(&api, &all.clone().labels("l=2"), &from, 3).await, ["+b", "+a", "-b"]);
    assert_eq!(watch(&api, &all.fields("metadata.name=b"), &from, 2).await, ["+b", "-b"]);
}

#[tokio::test]
async fn a_watch_can_begin_with_what_is_there() {
    let server = Server::new().await;
    server.config_map("a", "1").await;
    let query =
        "watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let answer = server.get(&format!("{CONFIG_MAPS}?{query}")).await;
    let lines: Vec<Value> =
        answer.json.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["type"], "ADDED");
    assert_eq!(lines[1]["type"], "BOOKMARK");
    assert_eq!(lines[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

/// The events of a watch that ends by itself.
async fn events(server: &Server, path: &str, accept: &str) -> Vec<Value> {
    let answer = server.get_as(path, accept).await;
    assert_eq!(answer.code, 200, "{}", answer.json);
    match &answer.json {
        Value::String(lines) => lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        one => vec![one.clone()],
    }
}

fn brief(events: &[Value]) -> Vec<String> {
    let told = |e: &Value| {
        format!("{} {}", e["type"].as_str().unwrap(), e["object"]["metadata"]["name"].as_str().unwrap_or("-"))
    };
    events.iter().map(told).collect()
}

#[tokio::test]
async fn a_watch_that_cannot_begin_says_why_as_an_event() {
    let server = Server::new().await;
    let future = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=999999999";
    let told = events(&server, &format!("{CONFIG_MAPS}?{future}"), "application/json").await;
    assert_eq!((told.len(), &told[0]["type"]), (1, &json!("ERROR")));
    assert_eq!(told[0]["object"]["code"], 504);
    assert_eq!(told[0]["object"]["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

#[tokio::test]
async fn the_end_of_what_was_there_brings_the_list_to_be_made_of_it() {
    use base64::Engine;
    let server = Server::new().await;
    let query =
        "watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let blueprint = async |shape: &str, metadata: &str| {
        let accept = format!("application/json{shape}");
        let told = events(&server, &format!("{CONFIG_MAPS}?{query}"), &accept).await;
        let annotations = &told[0].pointer(metadata).unwrap()["annotations"];
        let text = annotations["kubernetes.io/initial-events-list-blueprint"].as_str().unwrap();
        let list = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        serde_json::from_slice::<Value>(&list).unwrap()["kind"].clone()
    };
    assert_eq!(blueprint("", "/object/metadata").await, "ConfigMapList");
    let table = ";as=Table;v=v1;g=meta.k8s.io";
    assert_eq!(blueprint(table, "/object/rows/0/object/metadata").await, "ConfigMapList");
    let metadata = ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    assert_eq!(blueprint(metadata, "/object/metadata").await, "PartialObjectMetadataList");
}

#[tokio::test]
async fn watches_come_as_json_only() {
    let server = Server::new().await;
    let refused = server.get_as(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1"), "application/yaml").await;
    assert_eq!(refused.code, 406);
    assert!(
        refused.json.as_str().is_some_and(|said| said.contains("reason: NotAcceptable")),
        "told in YAML: {refused:?}"
    );
    let stream = "application/json;stream=watch";
    assert_eq!(server.get_as(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1"), stream).await.code, 200);
}

#[tokio::test]
async fn a_watch_from_the_future_waits_for_it() {
    let server = Server::new().await;
    let path = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&resourceVersion=999999999");
    assert_eq!(server.get(&path).await.json, json!(""));
}

#[tokio::test]
async fn the_old_paths_of_watches_lead_to_the_same_watches() {
    let server = Server::new().await;
    server.config_map("a", "1").await;
    server.config_map("b", "1").await;
    for (path, expected) in [
        ("/api/v1/watch/namespaces/default/configmaps/b", vec!["ADDED b"]),
        ("/api/v1/watch/namespaces/default/configmaps", vec!["ADDED a", "ADDED b"]),
        ("/api/v1/watch/configmaps", vec!["ADDED a", "ADDED b"]),
        ("/api/v1/namespaces/default/configmaps", vec!["ADDED a", "ADDED b"]),
    ] {
        let told = events(&server, &format!("{path}?watch=1&timeoutSeconds=1"), "application/json").await;
        assert_eq!(brief(&told), expected, "{path}");
    }
}

#[tokio::test]
async fn deleting_a_collection_is_told_object_by_object() {
    let server = Server::new().await;
    let from = server.config_map("a", "1").await.text("/metadata/resourceVersion").to_owned();
    server.config_map("b", "1").await;
    let deleted = server.delete(&format!("{CONFIG_MAPS}?labelSelector=l%3D1")).await;
    assert_eq!(deleted.code, 200);
    let path = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&resourceVersion={from}");
    let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let told = events(&server, &path, metadata).await;
    assert_eq!(brief(&told), ["ADDED b", "DELETED a", "DELETED b"]);
    assert!(told.iter().all(|e| e["object"]["kind"] == "PartialObjectMetadata" && e["object"].get("data").is_none()));
    let version = |e: &Value| e["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(version(&told[0]) < version(&told[1]) && version(&told[1]) < version(&told[2]));
}

#[tokio::test]
async fn an_object_that_leaves_a_selection_is_told_as_it_was() {
    let server = Server::new().await;
    let from = server.config_map("a", "1").await.text("/metadata/resourceVersion").to_owned();
    let moved = server.merge(&format!("{CONFIG_MAPS}/a"), &json!({"metadata": {"labels": {"l": "2"}}})).await;
    let path = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&resourceVersion={from}&labelSelector=l%3D1");
    let told = events(&server, &path, "application/json").await;
    assert_eq!(brief(&told), ["DELETED a"]);
    assert_eq!(told[0]["object"]["metadata"]["labels"]["l"], "1");
    assert_eq!(told[0]["object"]["metadata"]["resourceVersion"], moved.json["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_watch_ends_with_a_bookmark_if_it_has_any() {
    let server = Server::new().await;
    let made = server.config_map("a", "1").await;
    let path = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true");
    let told = events(&server, &path, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let last = told.last().unwrap();
    assert_eq!((&last["type"], &last["object"]["kind"]), (&json!("BOOKMARK"), &json!("Table")));
    let version = made.text("/metadata/resourceVersion");
    assert_eq!(last["object"]["rows"][0]["object"]["metadata"]["resourceVersion"], version);
}

#[tokio::test]
async fn reflectors_keep_up_by_lists_and_by_streams() {
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let server = Server::new().await;
        let api: Api<ConfigMap> = Api::default_namespaced(server.client.clone());
        api.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
        let mut seen = std::pin::pin!(watcher(api.clone(), config).applied_objects());
        assert_eq!(seen.try_next().await.unwrap().unwrap().metadata.name.as_deref(), Some("a"));
        api.create(&PostParams::default(), &config_map("b", "1")).await.unwrap();
        assert_eq!(seen.try_next().await.unwrap().unwrap().metadata.name.as_deref(), Some("b"));
    }
}

#[tokio::test]
async fn a_table_watch_states_its_columns_once() {
    let server = Server::new().await;
    server.config_map("a", "1").await;
    server.config_map("b", "1").await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let answer = server.get_as(&format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1"), accept).await;
    let lines: Vec<Value> =
        answer.json.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["object"]["columnDefinitions"].is_array());
    assert!(lines[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(lines[1]["object"]["rows"][0]["cells"][0], "b");
}

#[tokio::test]
async fn large_objects_are_told_whole() {
    let server = Server::new().await;
    let api: Api<ConfigMap> = Api::default_namespaced(server.client.clone());
    let mut large = config_map("a", "1");
    large.data = Some([("k".to_owned(), "x".repeat(300_000))].into());
    let made = api.create(&PostParams::default(), &large).await.unwrap();
    let events = api.watch(&WatchParams::default(), "0").await.unwrap();
    let mut objects = std::pin::pin!(events.try_filter_map(async |e| Ok(match e {
        WatchEvent::Added(o) => Some(o),
        _ => None,
    })));
    assert_eq!(objects.try_next().await.unwrap(), Some(made));
}

#[tokio::test]
async fn watches_end_when_the_server_stops() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { secure_port: 0, ..Config::new(dir.path()) };
    let server = Apiserver::build(config, mounts()).await.unwrap();
    let api: Api<ConfigMap> = Api::default_namespaced(server.client(Identity::admin()));
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    let shutdown = tokio_util::sync::CancellationToken::new();
    shutdown.cancel();
    server.run(shutdown).await;
    assert!(events.try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn the_service_of_the_api_follows_its_port() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let config = Config { secure_port: 0, ..Config::new(dir.path()) };
        let server = Apiserver::build(config, mounts()).await.unwrap();
        let services: Api<Service> = Api::default_namespaced(server.client(Identity::admin()));
        let service = services.get("kubernetes").await.unwrap();
        let port = service.spec.unwrap().ports.unwrap()[0].target_port.clone();
        assert_eq!(port, Some(IntOrString::Int(i32::from(server.addr().port()))));
        let shutdown = tokio_util::sync::CancellationToken::new();
        shutdown.cancel();
        server.run(shutdown).await;
    }
}

#[tokio::test]
async fn a_watch_from_before_the_server_started_is_told_410() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { secure_port: 0, ..Config::new(dir.path()) };
    let first = Apiserver::build(config.clone(), mounts()).await.unwrap();
    let api: Api<ConfigMap> = Api::default_namespaced(first.client(Identity::admin()));
    let made = api.create(&PostParams::default(), &config_map("a", "1")).await.unwrap();
    api.create(&PostParams::default(), &config_map("b", "1")).await.unwrap();
    let shutdown = tokio_util::sync::CancellationToken::new();
    shutdown.cancel();
    drop(api);
    first.run(shutdown).await;
    let second = Apiserver::build(config, mounts()).await.unwrap();
    let api: Api<ConfigMap> = Api::default_namespaced(second.client(Identity::admin()));
    assert_eq!(api.get("a").await.unwrap(), made);
    let from = made.metadata.resource_version.unwrap();
    assert_eq!(watch(&api, &WatchParams::default(), &from, 1).await, ["410 Expired"]);
}
