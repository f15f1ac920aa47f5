//! A server for a test, and the few calls that tests are made of.

use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::meet::{Figures, HttpRequest, HttpResponse, HttpService, Nodes, body_of};
use coracle_api::names::NodeName;
use coracle_apiserver::{Apiserver, Config, Identity, Mounts};
use http::{Method, Request};
use serde_json::Value;
use tempfile::TempDir;

/// A kubelet that answers each request with its own path, and a registry that answers with its name.
struct Echo(&'static str);

/// What the kubelet answers who asks what is used.
const USAGE: &str = r#"{
    "node": {"metadata": {"name": "n1"}, "timestamp": "2026-01-01T00:00:00Z", "window": "15s",
        "usage": {"cpu": "250m", "memory": "1Gi"}},
    "pods": [
        {"metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
            "timestamp": "2026-01-01T00:00:00Z", "window": "15s", "containers": [
                {"name": "c", "usage": {"cpu": "1500u", "memory": "64Ki"}},
                {"name": "d", "usage": {"cpu": "2u", "memory": "1Mi"}}]},
        {"metadata": {"name": "job", "namespace": "default"},
            "timestamp": "2026-01-01T00:00:00Z", "window": "1s", "containers": [
                {"name": "c", "usage": {"cpu": "0", "memory": "0"}}]}]}"#;

#[async_trait]
impl HttpService for Echo {
    async fn serve(&self, request: HttpRequest) -> HttpResponse {
        if request.uri().path() == "/stats/usage" {
            return HttpResponse::new(body_of(USAGE));
        }
        HttpResponse::new(body_of(format!("{} {}", self.0, request.uri())))
    }
}

struct Others;

impl Figures for Others {
    fn figures(&self) -> String {
        "others_total 1\n".to_owned()
    }
}

struct OneNode;

impl Nodes for OneNode {
    fn kubelet(&self, node: &NodeName) -> Option<Arc<dyn HttpService>> {
        (node.as_str() == "n1").then(|| Arc::new(Echo("kubelet")) as Arc<dyn HttpService>)
    }
}

pub(crate) fn mounts() -> Mounts {
    Mounts { nodes: Arc::new(OneNode), images: Arc::new(Echo("images")), figures: Arc::new(Others) }
}

/// A server, its directory, and a client that may do everything.
pub(crate) struct Server {
    pub(crate) api: Apiserver,
    pub(crate) client: kube::Client,
    dir: TempDir,
}

impl Server {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A server whose configuration is another than the usual one.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::alone(dir.path());
        change(&mut config);
        let api = Apiserver::build(config, mounts()).await.unwrap();
        let client = api.client(Identity::admin());
        Self { api, client, dir }
    }

    /// A server that keeps its objects in this directory.
    pub(crate) async fn kept_in(dir: TempDir) -> Self {
        let config = Config { secure_port: 0, ..Config::new(dir.path()) };
        let api = Apiserver::build(config, mounts()).await.unwrap();
        let client = api.client(Identity::admin());
        Self { api, client, dir }
    }

    /// Stops the server; gives its directory back.
    pub(crate) async fn stop(self) -> TempDir {
        let Self { api, client, dir } = self;
        let shutdown = tokio_util::sync::CancellationToken::new();
        shutdown.cancel();
        drop(client);
        api.run(shutdown).await;
        dir
    }

    /// Sends a request; gives the code and the answer, a text if it is no JSON.
    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(kube::client::Body::from(body.as_bytes().to_vec())).unwrap();
        let response = self.client.send(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { code: head.status.as_u16(), headers: head.headers, json, bytes }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.send(Method::GET, path, &[("accept", accept)], "").await
    }

    pub(crate) async fn post(&self, path: &str, object: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], &object.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, object: &Value) -> Answer {
        self.send(Method::PUT, path, &[("content-type", "application/json")], &object.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, &[], "").await
    }

    pub(crate) async fn merge(&self, path: &str, patch: &Value) -> Answer {
        let media = [("content-type", "application/merge-patch+json")];
        self.send(Method::PATCH, path, &media, &patch.to_string()).await
    }

    /// Makes a ConfigMap in `default`.
    pub(crate) async fn config_map(&self, name: &str, label: &str) -> Answer {
        let object = serde_json::json!({"metadata": {"name": name, "labels": {"l": label}}, "data": {"k": label}});
        let made = self.post(CONFIG_MAPS, &object).await;
        assert_eq!(made.code, 201, "{}", made.json);
        made
    }
}

/// The ConfigMaps of `default`.
pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) json: Value,
    pub(crate) bytes: bytes::Bytes,
}

impl Answer {
    /// The text at a pointer; empty if there is none.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or("")
    }

    /// The code and message of a refusal.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.code, self.text("/message"))
    }

    /// The names of a list's items.
    pub(crate) fn names(&self) -> Vec<&str> {
        let items = self.json.pointer("/items").and_then(Value::as_array).unwrap();
        items.iter().filter_map(|i| i.pointer("/metadata/name").and_then(Value::as_str)).collect()
    }

    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.headers.get_all("warning").iter().filter_map(|w| w.to_str().ok()).collect()
    }
}
