//! `SubjectAccessReview` and its kin: may somebody, or the one who asks, do something? What may one do at all?

use coracle_api::field::FieldError;
use serde_json::{Map, Value, json};

use super::{invalid, with_status};
use crate::answer::Refused;
use crate::authorizer::{Attributes, Decision, Resource, Target};
use crate::identity::{Extra, Identity};
use crate::machine::Call;

/// Whether a user may do it, anywhere.
pub(super) fn of_anybody(call: &Call, asked: Value) -> Result<Value, Refused> {
    let mut errors = attributes_errors(&asked);
    errors.extend(user_error(&asked));
    errors.extend(metadata_error(&asked));
    invalid(call, errors)?;
    let user = user(&asked);
    Ok(decided(call, &user, asked))
}

/// Whether a user may do it in this namespace.
pub(super) fn of_anybody_here(call: &Call, asked: Value) -> Result<Value, Refused> {
    let mut errors = attributes_errors(&asked);
    errors.extend(user_error(&asked));
    if let Some(namespace) = asked.pointer("/spec/resourceAttributes").map(|r| text(r, "namespace"))
        && namespace != call.path.namespace
    {
        let path = "spec.resourceAttributes.namespace";
        errors.push(FieldError::invalid(path, namespace, "must match metadata.namespace"));
    }
    if let Some(attributes) = asked.pointer("/spec/nonResourceAttributes") {
        let detail = "disallowed on this kind of request";
        errors.push(FieldError::invalid("spec.nonResourceAttributes", attributes.clone(), detail));
    }
    invalid(call, errors)?;
    let user = user(&asked);
    Ok(decided(call, &user, asked))
}

/// Whether the one who asks may do it.
pub(super) fn of_oneself(call: &Call, asked: Value) -> Result<Value, Refused> {
    let mut errors = attributes_errors(&asked);
    errors.extend(metadata_error(&asked));
    invalid(call, errors)?;
    Ok(decided(call, &call.user, asked))
}

/// What the one who asks may do in a namespace.
pub(super) fn rules(call: &Call, mut asked: Value) -> Result<Value, Refused> {
    let namespace = asked.pointer("/spec/namespace").and_then(Value::as_str).unwrap_or("").to_owned();
    if namespace.is_empty() {
        return Err(Refused::bad_request("no namespace on request"));
    }
    let (resources, paths) = call.machine.authorizer.rules_for(&call.user, &namespace);
    let status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false});
    // Upstream answers with the rules alone.
    crate::object::map_mut(&mut asked).insert("spec".to_owned(), json!({}));
    Ok(with_status(asked, status))
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or("")
}

fn attributes_errors(asked: &Value) -> Vec<FieldError> {
    match (asked.pointer("/spec/resourceAttributes"), asked.pointer("/spec/nonResourceAttributes")) {
        (Some(_), Some(path)) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            vec![FieldError::invalid("spec.nonResourceAttributes", path.clone(), detail)]
        }
        (None, None) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            vec![FieldError::invalid("spec.resourceAttributes", Value::Null, detail)]
        }
        (Some(_), None) | (None, Some(_)) => Vec::new(),
    }
}

fn user_error(asked: &Value) -> Option<FieldError> {
    let spec = asked.get("spec")?;
    let groups = spec.get("groups").and_then(Value::as_array).is_some_and(|g| !g.is_empty());
    let nobody = text(spec, "user").is_empty() && !groups;
    nobody.then(|| FieldError::invalid("spec.user", "", "at least one of user or group must be specified"))
}

fn metadata_error(asked: &Value) -> Option<FieldError> {
    let metadata = asked.get("metadata").filter(|m| m.as_object().is_some_and(|m| !m.is_empty()))?;
    Some(FieldError::invalid("metadata", metadata.clone(), "must be empty"))
}

/// The user that the question is about.
fn user(asked: &Value) -> Identity {
    let empty = Value::Null;
    let spec = asked.get("spec").unwrap_or(&empty);
    let texts = |list: Option<&Value>| -> Vec<String> {
        let list = list.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let extra = spec.get("extra").and_then(Value::as_object).into_iter().flatten();
    let extra: Extra = extra.map(|(key, values)| (key.to_lowercase(), texts(Some(values)))).collect();
    Identity::exactly(text(spec, "user").to_owned(), texts(spec.get("groups")))
        .with_uid(text(spec, "uid"))
        .with_extra(extra)
}

fn decided(call: &Call, user: &Identity, asked: Value) -> Value {
    let (verb, target) = match (asked.pointer("/spec/resourceAttributes"), asked.pointer("/spec/nonResourceAttributes"))
    {
        (Some(of), _) => {
            let resource = Resource {
                group: text(of, "group"),
                namespace: text(of, "namespace"),
                resource: text(of, "resource"),
                subresource: text(of, "subresource"),
                name: text(of, "name"),
            };
            (text(of, "verb"), Target::Resource(resource))
        }
        (None, Some(of)) => (text(of, "verb"), Target::Path(text(of, "path"))),
        (None, None) => ("", Target::Path("")),
    };
    let mut status = Map::new();
    let (allowed, reason) = match call.machine.authorizer.authorize(&Attributes { user, verb, target }) {
        Decision::Allow(reason) => (true, reason),
        Decision::Deny(reason) => (false, reason),
    };
    status.insert("allowed".to_owned(), allowed.into());
    if !reason.is_empty() {
        status.insert("reason".to_owned(), reason.into());
    }
    with_status(asked, Value::Object(status))
}
