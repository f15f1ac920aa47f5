//! `/metrics` as Prometheus reads it.

use http::Method;
use http_body_util::BodyExt;

use crate::server::{CONFIG_MAPS, Server};

/// The value of the series of this name that has all these labels; nothing if there is none.
async fn value(server: &Server, name: &str, labels: &[&str]) -> Option<f64> {
    let told = server.get("/metrics").await;
    assert_eq!(told.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = told.json.as_str().unwrap().to_owned();
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let series = text.lines().filter(of_name).find(|line| labels.iter().all(|label| line.contains(label)))?;
    series.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn requests_are_counted_under_upstreams_names() {
    let server = Server::new().await;
    server.config_map("a", "x").await;
    server.send(Method::POST, &format!("{CONFIG_MAPS}?dryRun=All"), &[], "{}").await;
    server.get(CONFIG_MAPS).await;
    server.get(CONFIG_MAPS).await;
    server.get("/apis/nope.example.com/v1/anything").await;
    let total = "apiserver_request_total";
    let lists = ["verb=\"LIST\"", "resource=\"configmaps\"", "scope=\"namespace\"", "version=\"v1\""];
    assert_eq!(value(&server, total, &lists).await, Some(2.0));
    let created = ["code=\"201\"", "resource=\"configmaps\"", "verb=\"POST\"", "scope=\"resource\""];
    assert_eq!(value(&server, total, &created).await, Some(1.0));
    assert_eq!(value(&server, total, &["dry_run=\"All\"", "verb=\"POST\""]).await, Some(1.0));
    assert_eq!(value(&server, total, &["anything"]).await, None);
    assert_eq!(value(&server, "apiserver_request_duration_seconds_count", &lists).await, Some(2.0));
    assert_eq!(
        value(&server, "apiserver_response_sizes_bucket", &[lists[0], lists[1], "le=\"10000\""]).await,
        Some(2.0)
    );
    // The request that asks is under way itself.
    let reading = value(&server, "apiserver_current_inflight_requests", &["readOnly"]).await;
    assert_eq!(reading, Some(1.0));
    assert_eq!(value(&server, "apiserver_current_inflight_requests", &["mutating"]).await, Some(0.0));
}

#[tokio::test]
async fn objects_and_watches_are_counted() {
    let server = Server::new().await;
    server.config_map("a", "x").await;
    let config_maps = ["resource=\"configmaps\""];
    let here = server.get("/api/v1/configmaps").await.names().len();
    let count = f64::from(u32::try_from(here).unwrap());
    assert_eq!(value(&server, "apiserver_resource_objects", &config_maps).await, Some(count));
    assert_eq!(value(&server, "apiserver_storage_objects", &config_maps).await, Some(count));
    let watch = http::Request::get(format!("{CONFIG_MAPS}?watch=true")).body(kube::client::Body::empty()).unwrap();
    let mut watch = server.client.send(watch).await.unwrap().into_body();
    watch.frame().await.unwrap().unwrap();
    assert_eq!(value(&server, "apiserver_longrunning_requests", &config_maps).await, Some(1.0));
    assert!(value(&server, "apiserver_watch_events_total", &config_maps).await >= Some(1.0));
    drop(watch);
    assert_eq!(value(&server, "apiserver_longrunning_requests", &config_maps).await, Some(0.0));
}

#[tokio::test]
async fn the_process_and_the_version_are_told() {
    let server = Server::new().await;
    assert_eq!(value(&server, "kubernetes_build_info", &["major=\"1\"", "git_version=\"v1."]).await, Some(1.0));
    assert!(value(&server, "process_resident_memory_bytes", &[]).await > Some(1e6));
    assert_eq!(value(&server, "others_total", &[]).await, Some(1.0), "what other parts count is told with it");
    assert!(value(&server, "process_open_fds", &[]).await > Some(0.0));
    assert!(value(&server, "process_start_time_seconds", &[]).await > Some(1.7e9));
}
