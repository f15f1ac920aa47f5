//! As much of an API server as a node needs: objects in memory, merge patches, watches with a history.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Resource, namespace, name.
type Key = (String, String, String);

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    history: Vec<(u64, Key, &'static str, Value)>,
    writes: Vec<(Method, Key)>,
}

/// The fake API.
#[derive(Clone)]
pub(super) struct Api {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl Api {
    pub(super) fn new() -> Self {
        Self { state: Arc::default(), changed: watch::Sender::new(0) }
    }

    pub(super) fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    pub(super) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(&key(resource, namespace, name)).cloned()
    }

    pub(super) fn list(&self, resource: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        state.objects.iter().filter(|(k, _)| k.0 == resource).map(|(_, v)| v.clone()).collect()
    }

    /// How often something of the resource was patched.
    pub(super) fn patches(&self, resource: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.writes.iter().filter(|(method, key)| method == Method::PATCH && key.0 == resource).count()
    }

    /// Creates or replaces an object.
    pub(super) fn put(&self, resource: &str, namespace: &str, name: &str, mut object: Value) {
        object["metadata"]["name"] = name.into();
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = namespace.into();
        }
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-of-{name}").into();
        }
        let key = key(resource, namespace, name);
        let known = self.state.lock().unwrap().objects.contains_key(&key);
        self.store(key, if known { "MODIFIED" } else { "ADDED" }, object);
    }

    pub(super) fn patch(&self, resource: &str, namespace: &str, name: &str, patch: &Value) {
        let mut object = self.get(resource, namespace, name).unwrap();
        merge(&mut object, patch);
        self.store(key(resource, namespace, name), "MODIFIED", object);
    }

    /// Waits until `condition` holds of an object, and returns it.
    pub(super) async fn until(&self, resource: &str, name: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let namespace = if resource == "nodes" { "" } else { "default" };
        let found = || self.get(resource, namespace, name).filter(&condition);
        self.wait(found).await.unwrap_or_else(|| panic!("waited in vain: {:#?}", self.get(resource, namespace, name)))
    }

    pub(super) async fn until_gone(&self, resource: &str, name: &str) {
        let gone = || self.get(resource, "default", name).is_none().then_some(());
        self.wait(gone).await.unwrap();
    }

    pub(super) async fn wait<T>(&self, found: impl Fn() -> Option<T>) -> Option<T> {
        let mut changed = self.changed.subscribe();
        let search = async {
            loop {
                if let Some(found) = found() {
                    return found;
                }
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(30), search).await.ok()
    }

    fn store(&self, key: Key, what: &'static str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        let revision = u64::try_from(state.history.len()).unwrap() + 1;
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        if what == "DELETED" {
            state.objects.remove(&key);
        } else {
            state.objects.insert(key.clone(), object.clone());
        }
        state.history.push((revision, key, what, object));
        drop(state);
        self.changed.send_replace(revision);
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let (resource, namespace, name) = parse(parts.uri.path());
        let query = parts.uri.query().unwrap_or_default();
        let Some(name) = name else {
            return match parts.method {
                Method::GET if query.contains("watch=") => self.watch(&resource, query),
                Method::GET => self.answer_list(&resource),
                _ => {
                    let object: Value = serde_json::from_slice(&bytes).unwrap();
                    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                    self.put(&resource, &namespace, &name, object);
                    reply(StatusCode::CREATED, &self.get(&resource, &namespace, &name).unwrap())
                }
            };
        };
        let key = key(&resource, &namespace, &name);
        self.state.lock().unwrap().writes.push((parts.method.clone(), key.clone()));
        let Some(mut object) = self.get(&resource, &namespace, &name) else { return status(404, "NotFound") };
        match parts.method {
            Method::PATCH => {
                let patch: Value = serde_json::from_slice(&bytes).unwrap();
                let uid = &patch["metadata"]["uid"];
                if !uid.is_null() && *uid != object["metadata"]["uid"] {
                    return status(409, "Conflict");
                }
                merge(&mut object, &patch);
                self.store(key, "MODIFIED", object);
                reply(StatusCode::OK, &self.get(&resource, &namespace, &name).unwrap())
            }
            Method::DELETE => {
                self.store(key, "DELETED", object.clone());
                reply(StatusCode::OK, &object)
            }
            _ => reply(StatusCode::OK, &object),
        }
    }

    fn answer_list(&self, resource: &str) -> Response<Body> {
        let revision = self.state.lock().unwrap().history.len().to_string();
        let list = json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": revision }, "items": self.list(resource) });
        reply(StatusCode::OK, &list)
    }

    fn watch(&self, resource: &str, query: &str) -> Response<Body> {
        let version = query.split('&').find_map(|p| p.strip_prefix("resourceVersion=")).unwrap_or("0");
        let from: usize = version.parse().unwrap();
        let (api, resource) = (self.clone(), resource.to_owned());
        let events = futures::stream::unfold((from, self.changed.subscribe()), move |(next, mut changed)| {
            let (api, resource) = (api.clone(), resource.clone());
            async move {
                loop {
                    let entry = api.state.lock().unwrap().history.get(next).cloned();
                    match entry {
                        Some((_, key, what, object)) if key.0 == resource => {
                            let line = format!("{}\n", json!({ "type": what, "object": object }));
                            return Some((Ok(Frame::data(Bytes::from(line))), (next + 1, changed)));
                        }
                        Some(_) => return Some((Ok(Frame::data(Bytes::new())), (next + 1, changed))),
                        None => changed.changed().await.ok()?,
                    }
                }
            }
        });
        Response::new(StreamBody::new(events.boxed()).boxed_unsync())
    }
}

fn key(resource: &str, namespace: &str, name: &str) -> Key {
    (resource.to_owned(), namespace.to_owned(), name.to_owned())
}

/// Resource, namespace and name of a path; a subresource is the object.
fn parse(path: &str) -> (String, String, Option<String>) {
    let mut parts = path.trim_matches('/').split('/');
    let skipped = if parts.next() == Some("api") { 1 } else { 2 };
    let mut parts = parts.skip(skipped);
    let first = parts.next().unwrap();
    let (namespace, resource) = match (first, parts.clone().nth(1)) {
        ("namespaces", Some(resource)) => (parts.next().unwrap(), {
            parts.next();
            resource
        }),
        (resource, _) => ("", resource),
    };
    (resource.to_owned(), namespace.to_owned(), parts.next().map(str::to_owned))
}

fn reply(status: StatusCode, object: &Value) -> Response<Body> {
    let mut response = Response::new(Full::from(object.to_string()).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn status(code: u16, reason: &str) -> Response<Body> {
    let object = json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason });
    reply(StatusCode::from_u16(code).unwrap(), &object)
}

/// JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let fields = target.as_object_mut().unwrap();
    for (key, value) in changes {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
