//! An API server for tests: objects, lists and watches of any kind in memory.
//!
//! Its watches start where a list ended and miss nothing, as the real one's do; it checks nothing.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
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
/// Where ConfigMaps of the system are.
pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
/// Where Events of the system are.
pub(crate) const EVENTS: &str = "/api/v1/namespaces/kube-system/events";
/// Where namespaces are.
pub(crate) const NAMESPACES: &str = "/api/v1/namespaces";

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The server; its clones are the same server.
#[derive(Clone)]
pub(crate) struct FakeApi {
    history: Arc<watch::Sender<Vec<Change>>>,
    now: Arc<Mutex<HashMap<(&'static str, String), Value>>>,
    /// The messages of Events.
    pub(crate) told: Arc<watch::Sender<Vec<String>>>,
}

#[derive(Clone)]
struct Change {
    path: &'static str,
    kind: &'static str,
    object: Value,
}

impl FakeApi {
    pub(crate) fn new() -> Self {
        let told = Arc::new(watch::Sender::new(Vec::new()));
        Self { history: Arc::new(watch::Sender::new(Vec::new())), now: Arc::default(), told }
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

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        if head.method == http::Method::POST {
            let bytes = body.collect().await.unwrap().to_bytes();
            let object: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(head.uri.path(), EVENTS, "nothing else is written");
            self.told.send_modify(|told| told.push(object["message"].as_str().unwrap().to_owned()));
            return whole(bytes);
        }
        let query = head.uri.query().unwrap_or_default();
        let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        let path =
            [SERVICES, SLICES, NAMESPACES, CONFIG_MAPS].into_iter().find(|path| *path == head.uri.path()).unwrap();
        if value("watch").is_some() {
            let since = value("resourceVersion").unwrap().parse().unwrap();
            return Response::new(BodyExt::boxed_unsync(StreamBody::new(self.changes(path, since))));
        }
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
