//! A connection to a cluster's API, with nothing between that would hide what it answers.
//!
//! Invariant: an answer is handed over as it came; only the calls that say "must" judge it.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::response::Parts;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::{Body, ConfigExt};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A client with a runtime of its own.
pub struct Api {
    client: kube::Client,
    runtime: tokio::runtime::Runtime,
}

impl Api {
    /// Connects as the person whose kubeconfig this is.
    pub fn connect(kubeconfig: &Path) -> Self {
        Self::connect_as(kubeconfig, |_| {})
    }

    /// Connects to the same server as nobody: without any credentials.
    pub fn anonymous(kubeconfig: &Path) -> Self {
        Self::connect_as(kubeconfig, |config| config.auth_info = AuthInfo::default())
    }

    fn connect_as(kubeconfig: &Path, change: impl FnOnce(&mut kube::Config)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let mut config = runtime.block_on(config(kubeconfig));
        change(&mut config);
        let client = runtime.block_on(async { kube::Client::try_from(config).expect("it makes a client") });
        Self { client, runtime }
    }

    /// A bare TLS connection, for requests that no client would send in this way.
    pub fn raw(kubeconfig: &Path, addr: SocketAddr) -> impl Read + Write + use<> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
        let tls = runtime.block_on(config(kubeconfig)).rustls_client_config().expect("it has certificates");
        let connection = ClientConnection::new(Arc::new(tls), addr.ip().into()).expect("it makes a connection");
        StreamOwned::new(connection, TcpStream::connect(addr).expect("the API listens"))
    }

    /// Runs a future to its end.
    pub fn wait_for<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The client, for what this page has no call for.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Sends a request; an error if there was no answer at all.
    pub fn send(&self, request: Request<Body>) -> Result<(u16, Value), String> {
        let (head, body) = self.wait_for(exchange(self.client(), request))?;
        // What is no JSON is handed over as text.
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        Ok((head.status.as_u16(), serde_json::from_slice(&body).unwrap_or_else(|_| text())))
    }

    /// Sends JSON; an error if there was no answer at all.
    pub fn try_call(&self, method: &Method, path: &str, object: &Value) -> Result<(u16, Value), String> {
        self.send(request(method, path, "application/json", object.to_string().into()))
    }

    /// Sends JSON; status and answer, which must come.
    #[track_caller]
    pub fn call(&self, method: &Method, path: &str, object: &Value) -> (u16, Value) {
        self.try_call(method, path, object).unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// Reads an object or a list that must be there.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let answer = self.send(request(&Method::GET, path, "application/json", Vec::new()));
        let (status, object) = answer.unwrap_or_else(|e| panic!("GET {path}: {e}"));
        assert_eq!(status, 200, "GET {path}: {object}");
        object
    }

    /// Reads with one more header; status and answer, which must come.
    #[track_caller]
    pub fn get_with(&self, path: &str, header: &str, value: &str) -> (u16, Value) {
        let request = Request::get(path).header(header, value).body(Body::from(Vec::new())).expect("a request");
        self.send(request).unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    /// Creates an object, which must succeed.
    #[track_caller]
    pub fn create(&self, path: &str, object: &Value) -> Value {
        let (status, answer) = self.call(&Method::POST, path, object);
        assert_eq!(status, 201, "POST {path}: {answer}");
        answer
    }

    /// Changes an object by a merge patch, which must succeed.
    #[track_caller]
    pub fn patch(&self, path: &str, patch: &Value) -> Value {
        let sent = self.send(request(&Method::PATCH, path, "application/merge-patch+json", patch.to_string().into()));
        let (status, answer) = sent.unwrap_or_else(|e| panic!("PATCH {path}: {e}"));
        assert_eq!(status, 200, "PATCH {path}: {answer}");
        answer
    }

    /// Deletes an object, which must be there.
    #[track_caller]
    pub fn delete(&self, path: &str) {
        let (status, answer) = self.call(&Method::DELETE, path, &Value::Null);
        assert!(matches!(status, 200 | 202), "DELETE {path}: {status} {answer}");
    }

    /// Pushes an image whose one layer is these bytes, whatever they are: what any OCI client can do.
    #[track_caller]
    pub fn push_layer(&self, repository: &str, tag: &str, layer: &[u8]) {
        self.push_layer_as(repository, tag, "application/wasm", layer);
    }

    /// The same with a layer that is said to be something else.
    #[track_caller]
    pub fn push_layer_as(&self, repository: &str, tag: &str, media_type: &str, layer: &[u8]) {
        let config = b"{\"architecture\":\"wasm\",\"os\":\"wasip2\"}";
        for blob in [layer, config] {
            self.push_blob(repository, blob);
        }
        let part =
            |media: &str, bytes: &[u8]| json!({"mediaType": media, "digest": digest(bytes), "size": bytes.len()});
        let config = part("application/vnd.wasm.config.v0+json", config);
        let layers = [part(media_type, layer)];
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let path = format!("/v2/{repository}/manifests/{tag}");
        let sent = self.send(request(&Method::PUT, &path, MANIFEST, manifest.to_string().into()));
        let (status, answer) = sent.expect("an answer");
        assert_eq!(status, 201, "PUT {path}: {answer}");
    }

    /// An upload in two requests, as the OCI distribution specification has it: begin, then all at once.
    #[track_caller]
    fn push_blob(&self, repository: &str, blob: &[u8]) {
        let begin = request(&Method::POST, &format!("/v2/{repository}/blobs/uploads/"), BLOB, Vec::new());
        let (head, _) = self.wait_for(exchange(self.client(), begin)).expect("an answer");
        let location = head.headers.get("location").and_then(|l| l.to_str().ok()).expect("where to upload to");
        let path = format!("{location}?digest={}", digest(blob));
        let (status, answer) = self.send(request(&Method::PUT, &path, BLOB, blob.to_vec())).expect("an answer");
        assert_eq!(status, 201, "PUT {path}: {answer}");
    }
}

const BLOB: &str = "application/octet-stream";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

async fn config(kubeconfig: &Path) -> kube::Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the kubeconfig can be read");
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("it is whole")
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn request(method: &Method, path: &str, kind: &str, body: Vec<u8>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    request.body(Body::from(body)).expect("a request")
}

async fn exchange(client: kube::Client, request: Request<Body>) -> Result<(Parts, Bytes), String> {
    let (head, body) = client.send(request).await.map_err(|e| e.to_string())?.into_parts();
    Ok((head, body.collect().await.map_err(|e| e.to_string())?.to_bytes()))
}
