//! Usage: `metrics.k8s.io`, what nodes and pods use now. It is asked of the nodes and never kept.
//!
//! Guarantee: who lists gets what the nodes that answer tell. A node that does not answer, and a pod without a rate
//! yet, are left out, as by metrics-server.

use std::time::Duration;

use coracle_api::failure::{About, Failure};
use coracle_api::meet::body_of;
use coracle_api::names::NodeName;
use coracle_api::selector::FieldRelation;
use futures::future::join_all;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use crate::answer::{self, Answer, shape};
use crate::machine::{Call, Shown};
use crate::object;
use crate::options::list::{ListOptions, Use, parse};
use crate::registry::Row;
use crate::request::Verb;
use crate::store::{Key, Prefix};

/// How long a node may take: it answers within two seconds, or something is wrong with it.
const NODE_PATIENCE: Duration = Duration::from_secs(10);

/// What usage is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Whole nodes.
    Nodes,
    /// Pods, container by container.
    Pods,
}

/// Of what this resource tells the usage, if it does.
pub(crate) fn of(row: &Row) -> Option<Of> {
    match (row.group, row.plural) {
        ("metrics.k8s.io", "nodes") => Some(Of::Nodes),
        ("metrics.k8s.io", "pods") => Some(Of::Pods),
        _ => None,
    }
}

/// Answers a get or a list.
pub(crate) async fn answer(verb: Verb, call: &Call, of: Of) -> Answer {
    match verb {
        Verb::Get => get(call, of).await,
        Verb::List => list(call, of).await,
        Verb::Watch | Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => {
            Err(Failure::MethodNotAllowed.into())
        }
    }
}

async fn get(call: &Call, of: Of) -> Answer {
    let (name, namespace) = (&call.path.name, &call.path.namespace);
    let core = |plural: &str| Key::new("", plural, namespace, name);
    let (plural, kind, shown) = match of {
        Of::Nodes => ("nodes", "nodemetrics", name.clone()),
        Of::Pods => ("pods", "podmetrics", format!("{namespace}/{name}")),
    };
    let Some(entry) = call.machine.store.get(&core(plural)) else {
        let about = About { group: String::new(), kind: plural.to_owned(), name: name.clone() };
        return Err(Failure::NotFound { about }.into());
    };
    let nodes = match of {
        Of::Nodes => vec![name.clone()],
        Of::Pods => {
            entry.value().pointer("/spec/nodeName").and_then(Value::as_str).map(str::to_owned).into_iter().collect()
        }
    };
    let query = format!("namespace={namespace}&pod={name}");
    let told = told(call, of, nodes, &query).await;
    match told.into_iter().find(|usage| object::text(usage, "name") == name) {
        Some(usage) => call.show(StatusCode::OK, &Shown::Value(&usage)),
        None => {
            let about = About { group: call.row.group.to_owned(), kind: kind.to_owned(), name: shown };
            Err(Failure::NotFound { about }.into())
        }
    }
}

async fn list(call: &Call, of: Of) -> Answer {
    let wanted = call.wanted()?;
    let options = parse(&call.query, &call.row, Use::List)?;
    let nodes = call.machine.store.stretch(&Prefix::namespace("", "nodes", ""), "", usize::MAX).entries;
    let nodes = nodes.iter().map(|entry| entry.key().name().to_owned()).collect();
    let query = format!("namespace={}&pod={}", call.path.namespace, options.single_name().unwrap_or_default());
    let mut all = told(call, of, nodes, &query).await;
    let namespace = &call.path.namespace;
    all.retain(|usage| namespace.is_empty() || object::text(usage, "namespace") == namespace);
    all.retain(|usage| selects(&options, usage));
    let place = |usage: &Value| (object::text(usage, "namespace").to_owned(), object::text(usage, "name").to_owned());
    all.sort_by_cached_key(place);
    let now = coracle_api::clock::now();
    let mut bytes = shape::list_head(&call.row, wanted, &Value::Object(Map::new())).into_bytes();
    for (at, usage) in all.iter().enumerate() {
        if at > 0 {
            bytes.push(b',');
        }
        shape::put_item(&mut bytes, &call.row, wanted, usage.to_string().as_bytes(), now);
    }
    bytes.extend_from_slice(b"]}\n");
    Ok(answer::encoded(StatusCode::OK, bytes.into(), wanted.encoding))
}

/// What these nodes tell, as objects of the kind.
async fn told(call: &Call, of: Of, nodes: Vec<String>, query: &str) -> Vec<Value> {
    let answers = join_all(nodes.iter().map(|node| ask(call, node, query))).await;
    let mut all = Vec::new();
    for (node, answer) in nodes.iter().zip(answers) {
        let Some(mut answer) = answer else { continue };
        match of {
            Of::Pods => {
                all.extend(answer.get_mut("pods").and_then(Value::as_array_mut).into_iter().flat_map(std::mem::take))
            }
            Of::Nodes => {
                all.extend(answer.get_mut("node").filter(|n| !n.is_null()).map(|n| labelled(call, node, n.take())))
            }
        }
    }
    for usage in &mut all {
        let fields = object::map_mut(usage);
        fields.insert("apiVersion".to_owned(), call.row.api_version().into());
        fields.insert("kind".to_owned(), call.row.kind.into());
    }
    all
}

/// A node's usage with the labels of the node, by which it is selected.
fn labelled(call: &Call, node: &str, mut usage: Value) -> Value {
    let entry = call.machine.store.get(&Key::new("", "nodes", "", node));
    let labels: Map<String, Value> =
        entry.iter().flat_map(|e| e.labels().iter()).map(|(name, value)| (name.to_owned(), value.into())).collect();
    if !labels.is_empty() {
        object::metadata_mut(&mut usage).insert("labels".to_owned(), labels.into());
    }
    usage
}

async fn ask(call: &Call, node: &str, query: &str) -> Option<Value> {
    let kubelet = call.machine.nodes.kubelet(&NodeName::new(node).ok()?)?;
    let request = Request::get(format!("/stats/usage?{query}")).body(body_of("")).ok()?;
    let answered = async {
        let answer = kubelet.serve(request).await;
        let bytes = answer.into_body().collect().await.ok()?.to_bytes();
        serde_json::from_slice(&bytes).ok()
    };
    let answer = tokio::time::timeout(NODE_PATIENCE, answered).await.ok().flatten();
    if answer.is_none() {
        tracing::debug!(node, "the node does not tell what it uses");
    }
    answer
}

fn selects(options: &ListOptions, usage: &Value) -> bool {
    let metadata = |name: &str| object::text(usage, name);
    let label = |name: &str| usage.get("metadata")?.get("labels")?.get(name)?.as_str();
    let field = |path: &str| match path {
        "metadata.name" => metadata("name"),
        "metadata.namespace" => metadata("namespace"),
        _ => "",
    };
    options.labels.matches_with(label)
        && options.fields.iter().all(|f| (field(&f.path) == f.value) == (f.relation == FieldRelation::Equal))
}
