//! An API server for tests: objects, lists and watches of any kind in memory, and a memory of what was created.
//!
//! Its watches start where a list ended and miss nothing, as the real one's do; it checks nothing.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Where Services are.
pub(crate) const SERVICES: &str = "/api/v1/services";
/// Where EndpointSlices are.
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
/// Where NetworkPolicies are.
pub(crate) const POLICIES: &str = "/apis/networking.k8s.io/v1/networkpolicies";
/// Where Namespaces are.
pub(crate) const NAMESPACES: &str = "/api/v1/namespaces";
/// Where pods are.
pub(crate) const PODS: &str = "/api/v1/pods";
/// Where Ingresses are.
pub(crate) const INGRESSES: &str = "/apis/networking.k8s.io/v1/ingresses";
/// Where their classes are.
pub(crate) const INGRESS_CLASSES: &str = "/apis/networking.k8s.io/v1/ingressclasses";
/// Where Secrets are.
pub(crate) const SECRETS: &str = "/api/v1/secrets";

/// Where Deployments are.
pub(crate) const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
/// Where StatefulSets are.
pub(crate) const STATEFUL_SETS: &str = "/apis/apps/v1/statefulsets";

/// What may be listed and watched.
const PATHS: [&str; 10] =
    [SERVICES, SLICES, POLICIES, NAMESPACES, PODS, INGRESSES, INGRESS_CLASSES, SECRETS, DEPLOYMENTS, STATEFUL_SETS];

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The server; its clones are the same server.
#[derive(Clone)]
pub(crate) struct FakeApi {
    history: Arc<watch::Sender<Vec<Change>>>,
    created: Arc<watch::Sender<Vec<Value>>>,
    now: Arc<Mutex<HashMap<(&'static str, String), Value>>>,
    listed: Arc<Mutex<HashSet<&'static str>>>,
}

#[derive(Clone)]
struct Change {
    path: &'static str,
    kind: &'static str,
    object: Value,
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        Self {
            history: Arc::new(watch::Sender::new(Vec::new())),
            created: Arc::new(watch::Sender::new(Vec::new())),
            now: Arc::default(),
            listed: Arc::default(),
        }
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Creates or replaces an object of the namespace `default`.
    pub(crate) fn put(&self, path: &'static str, name: &str, mut object: Value) {
        object["metadata"]["name"] = name.into();
        object["metadata"]["namespace"] = "default".into();
        object["metadata"]["uid"] = name.into();
        self.history.send_modify(|history| {
            object["metadata"]["resourceVersion"] = (history.len() + 1).to_string().into();
            let before = self.now.lock().unwrap().insert((path, name.to_owned()), object.clone());
            let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
            history.push(Change { path, kind, object });
        });
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, path: &'static str, name: &str) {
        self.history.send_modify(|history| {
            let object = self.now.lock().unwrap().remove(&(path, name.to_owned())).unwrap();
            history.push(Change { path, kind: "DELETED", object });
        });
    }

    /// Whether a kind was ever listed.
    pub(crate) fn was_listed(&self, path: &'static str) -> bool {
        self.listed.lock().unwrap().contains(path)
    }

    /// Waits for something to be created that `wanted` accepts; a patch is `{"patched": path, "patch": patch}`.
    pub(crate) async fn created(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut created = self.created.subscribe();
        let created = created.wait_for(|all| all.iter().any(&wanted)).await.unwrap();
        created.iter().find(|object| wanted(object)).unwrap().clone()
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        if head.method == Method::POST {
            let bytes = body.collect().await.unwrap().to_bytes();
            let object: Value = serde_json::from_slice(&bytes).unwrap();
            self.created.send_modify(|created| created.push(object));
            return whole(bytes);
        }
        if head.method == Method::PATCH {
            let bytes = body.collect().await.unwrap().to_bytes();
            let patch: Value = serde_json::from_slice(&bytes).unwrap();
            // A scale is answered as it was asked for; nobody reads the answers to others.
            let answer = if head.uri.path().ends_with("/scale") { patch.to_string() } else { "{}".to_owned() };
            let patched = json!({ "patched": head.uri.path(), "patch": patch });
            self.created.send_modify(|created| created.push(patched));
            return whole(answer);
        }
        let query = head.uri.query().unwrap_or_default();
        let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        let path = PATHS.into_iter().find(|path| *path == head.uri.path()).unwrap();
        if value("watch").is_some() {
            let since = value("resourceVersion").unwrap().parse().unwrap();
            return Response::new(BodyExt::boxed_unsync(StreamBody::new(self.changes(path, since))));
        }
        self.listed.lock().unwrap().insert(path);
        let history = self.history.borrow();
        let now = self.now.lock().unwrap();
        let items: Vec<_> = now.iter().filter(|((of, _), _)| *of == path).map(|(_, object)| object).collect();
        let list = json!({ "metadata": { "resourceVersion": history.len().to_string() }, "items": items });
        whole(list.to_string())
    }

    fn changes(
        &self,
        path: &'static str,
        since: usize,
    ) -> impl futures::Stream<Item = Result<http_body::Frame<Bytes>, Infallible>> + use<> {
        stream::unfold((self.history.subscribe(), since), |(mut history, at)| async move {
            let change = history.wait_for(|history| history.len() > at).await.ok()?.get(at)?.clone();
            Some((change, (history, at + 1)))
        })
        .filter(move |change| std::future::ready(change.path == path))
        .map(|change| {
            let line = format!("{}\n", json!({ "type": change.kind, "object": change.object }));
            Ok(http_body::Frame::data(line.into()))
        })
    }
}

fn whole(bytes: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(bytes.into()).boxed_unsync())
}
