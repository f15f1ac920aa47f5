//! `binding`: gives a pod to a node, once and for all.

use coracle_api::clock;
use coracle_api::failure::{About, Failure};
use serde_json::{Value, json};

use super::created;
use crate::admit::of_our_own;
use crate::answer::{Answer, Refused, refused};
use crate::body::{self, Expected};
use crate::machine::Call;
use crate::object::{self, map_mut, text};
use crate::options::Run;
use crate::options::write::parse;
use crate::store::{Action, Expect};
use crate::verbs::update::check_uid;
use crate::verbs::write::{self, Attempt};

/// How often a binding is tried anew on a pod that changes meanwhile.
const ATTEMPTS_MAX: usize = 64;

/// Binds the pod that the body names.
pub(super) async fn bind_named_by_body(mut call: Call) -> Answer {
    let options = parse(&call.query, "CreateOptions")?;
    let binding = decode(&call, options.validation)?;
    text(&binding, "name").clone_into(&mut call.path.name);
    bind_to(&call, &binding, options.run).await
}

/// Binds the pod that the path names.
pub(super) async fn bind(call: &Call) -> Answer {
    let options = parse(&call.query, "CreateOptions")?;
    let binding = decode(call, options.validation)?;
    if text(&binding, "name") != call.path.name {
        return Err(Refused::bad_request("name in URL does not match name in Binding object"));
    }
    bind_to(call, &binding, options.run).await
}

fn decode(call: &Call, validation: crate::options::write::FieldValidation) -> Result<Value, Refused> {
    let schema = Some("io.k8s.api.core.v1.Binding");
    let expected = Expected { api_version: "v1", kind: "Binding", schema };
    Ok(body::object(&call.body, &call.headers, &expected, validation)?.object)
}

async fn bind_to(call: &Call, binding: &Value, run: Run) -> Answer {
    let target = |field: &str| binding.pointer(&format!("/target/{field}")).and_then(Value::as_str).unwrap_or("");
    let (kind, node) = (target("kind"), target("name"));
    if !matches!(kind, "" | "Node") {
        let why = format!("target.kind: Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\"");
        return Err(Refused::unclassified(why));
    }
    if node.is_empty() {
        return Err(Refused::unclassified("target.name: Required value"));
    }
    for _ in 0..ATTEMPTS_MAX {
        let entry = call.existing()?;
        let old = entry.value();
        check_uid(call, binding, &old)?;
        let bound = bound(call, &old, binding, node)?;
        if run == Run::Dry {
            return created();
        }
        let put = Action::Put(write::encode(&of_our_own(bound))?);
        match write::commit(call, entry.key().clone(), Expect::At(entry.revision()), put).await? {
            Attempt::Done(_) => return created(),
            Attempt::Lost(_) => {}
        }
    }
    Err(Failure::modified(refused::about(&call.row, &call.path.name)).into())
}

/// The pod on its node.
fn bound(call: &Call, pod: &Value, binding: &Value, node: &str) -> Result<Value, Refused> {
    let name = &call.path.name;
    let conflict = |why: String| {
        let about = About { group: String::new(), kind: "pods/binding".to_owned(), name: name.clone() };
        Refused::from(Failure::Conflict { about, why, causes: Vec::new() })
    };
    if object::is_terminating(pod) {
        return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    if let Some(taken) = pod.pointer("/spec/nodeName").and_then(Value::as_str).filter(|n| !n.is_empty()) {
        return Err(conflict(format!("pod {name} is already assigned to node {taken:?}")));
    }
    if pod.pointer("/spec/schedulingGates").and_then(Value::as_array).is_some_and(|gates| !gates.is_empty()) {
        return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    let mut pod = pod.clone();
    map_mut(map_mut(&mut pod).entry("spec").or_insert(Value::Null)).insert("nodeName".to_owned(), node.into());
    if let Some(more) = binding.pointer("/metadata/annotations").and_then(Value::as_object) {
        let annotations = object::metadata_mut(&mut pod).entry("annotations").or_insert(Value::Null);
        map_mut(annotations).extend(more.clone());
    }
    set_scheduled(&mut pod);
    let counted = object::generation(&pod);
    if counted > 0 {
        object::set(&mut pod, "generation", counted + 1);
    }
    Ok(pod)
}

/// Sets the condition `PodScheduled` to true.
fn set_scheduled(pod: &mut Value) {
    let status = map_mut(map_mut(pod).entry("status").or_insert(Value::Null));
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    let is_it = |c: &Value| c.get("type").is_some_and(|t| t == "PodScheduled");
    if conditions.iter().any(|c| is_it(c) && c.get("status").is_some_and(|s| s == "True")) {
        return;
    }
    conditions.retain(|c| !is_it(c));
    let now = object::time(clock::now());
    conditions
        .push(json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}));
}
