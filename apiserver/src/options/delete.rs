//! Options of a deletion, from its body or its query: grace, preconditions, what becomes of the dependents.

use coracle_api::field::FieldError;
use serde_json::Value;

use super::{Run, dry_run, number};
use crate::answer::Refused;
use crate::request::pairs;

/// What becomes of the dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They are collected after the owner is gone.
    Background,
    /// The owner waits for them.
    Foreground,
    /// They stay.
    Orphan,
}

/// Whether an object that cannot be read is to be deleted all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum IgnoreReadError {
    /// No.
    #[default]
    No,
    /// Yes: `ignoreStoreReadErrorWithClusterBreakingPotential`.
    Yes,
}

/// The options of a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DeleteOptions {
    /// Whether it happens.
    pub(crate) run: Run,
    /// How long the object may take, in seconds.
    pub(crate) grace: Option<i64>,
    /// The uid that it must have.
    pub(crate) uid: Option<String>,
    /// The resource version that it must have.
    pub(crate) resource_version: Option<String>,
    /// What becomes of the dependents, if the request says so.
    pub(crate) propagation: Option<Propagation>,
    /// Whether the object may be unreadable.
    pub(crate) ignore_read_error: IgnoreReadError,
}

/// What a client said, before it is checked.
#[derive(Debug, Default)]
struct Said {
    grace: Option<i64>,
    uid: Option<String>,
    resource_version: Option<String>,
    policy: Option<String>,
    orphan: Option<bool>,
    dry: Vec<String>,
    ignore_read_error: Option<bool>,
}

/// Reads the options: if there is a body, the query counts for nothing but `dryRun`.
pub(crate) fn parse(query: &str, body: Option<&Value>) -> Result<DeleteOptions, Refused> {
    let mut said = match body {
        Some(body) => in_body(body).map_err(Refused::unclassified)?,
        None => in_query(query)?,
    };
    if body.is_some() && said.dry.is_empty() {
        // Upstream overlooks it here and deletes for real; nobody who writes it can want that.
        said.dry = pairs(query).filter(|(k, _)| k == "dryRun").map(|(_, v)| v).collect();
    }
    let mut errors = Vec::new();
    let propagation = propagation(&said, &mut errors);
    let run = dry_run(said.dry.iter().map(String::as_str), &mut errors);
    let ignore_read_error = ignore_read_error(&said, run, &mut errors);
    if !errors.is_empty() {
        return Err(Refused::invalid_options("DeleteOptions", errors));
    }
    let Said { grace, uid, resource_version, .. } = said;
    Ok(DeleteOptions { run, grace, uid, resource_version, propagation, ignore_read_error })
}

fn in_query(query: &str) -> Result<Said, Refused> {
    let mut said = Said::default();
    // Upstream reads anything as true that is not plainly false.
    let truth = |value: &str| !(value == "0" || value.eq_ignore_ascii_case("false"));
    for (key, value) in pairs(query) {
        match key.as_str() {
            "gracePeriodSeconds" => said.grace = Some(number(&value)?),
            "propagationPolicy" => said.policy = Some(value),
            "orphanDependents" => said.orphan = Some(truth(&value)),
            "dryRun" => said.dry.push(value),
            "ignoreStoreReadErrorWithClusterBreakingPotential" => said.ignore_read_error = Some(truth(&value)),
            _ => {}
        }
    }
    Ok(said)
}

fn in_body(body: &Value) -> Result<Said, String> {
    let preconditions = match body.get("preconditions") {
        None | Some(Value::Null) => &Value::Null,
        Some(map @ Value::Object(_)) => map,
        Some(other) => return Err(mistyped(other, "preconditions", "v1.Preconditions")),
    };
    Ok(Said {
        grace: field(body, "gracePeriodSeconds", "int64", Value::as_i64)?,
        uid: field(preconditions, "uid", "types.UID", text)
            .map_err(|e| e.replace("Options.", "Options.preconditions."))?,
        resource_version: field(preconditions, "resourceVersion", "string", text)
            .map_err(|e| e.replace("Options.", "Options.preconditions."))?,
        policy: field(body, "propagationPolicy", "v1.DeletionPropagation", text)?,
        orphan: field(body, "orphanDependents", "bool", Value::as_bool)?,
        dry: field(body, "dryRun", "[]string", texts)?.unwrap_or_default(),
        ignore_read_error: field(body, "ignoreStoreReadErrorWithClusterBreakingPotential", "bool", Value::as_bool)?,
    })
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}

fn field<T>(body: &Value, name: &str, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>, String> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| mistyped(value, name, wanted)),
    }
}

/// A value of the wrong type, in the words of Go's decoder.
fn mistyped(value: &Value, name: &str, wanted: &str) -> String {
    let is = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if wanted == "int64" => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    format!("json: cannot unmarshal {is} into Go struct field DeleteOptions.{name} of type {wanted}")
}

fn propagation(said: &Said, errors: &mut Vec<FieldError>) -> Option<Propagation> {
    const AT: &str = "propagationPolicy";
    if let (Some(policy), Some(_)) = (&said.policy, said.orphan) {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(FieldError::invalid(AT, policy.as_str(), why));
    }
    match (said.policy.as_deref(), said.orphan) {
        (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
        (Some("Foreground"), _) => Some(Propagation::Foreground),
        (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
        (None, None) => None,
        (Some(other), _) => {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            errors.push(FieldError::not_supported(AT, other, &supported));
            None
        }
    }
}

/// A deletion by force is about nothing else.
fn ignore_read_error(said: &Said, run: Run, errors: &mut Vec<FieldError>) -> IgnoreReadError {
    const AT: &str = "ignoreStoreReadErrorWithClusterBreakingPotential";
    if said.ignore_read_error != Some(true) {
        return IgnoreReadError::No;
    }
    for (name, set) in [
        ("dryRun", run == Run::Dry),
        ("propagationPolicy", said.policy.is_some()),
        ("orphanDependents", said.orphan.is_some()),
        ("gracePeriodSeconds", said.grace.is_some()),
        ("preconditions", said.uid.is_some() || said.resource_version.is_some()),
    ] {
        if set {
            errors.push(FieldError::invalid(AT, true, format!("cannot be set together with .{name}")));
        }
    }
    IgnoreReadError::Yes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(query: &str, body: Option<Value>) -> String {
        match parse(query, body.as_ref()) {
            Ok(options) => format!("{:?} {:?} {:?}", options.run, options.grace, options.propagation),
            Err(refused) => refused.json()["message"].as_str().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn a_body_takes_the_place_of_the_query() {
        assert_eq!(told("gracePeriodSeconds=5&propagationPolicy=Orphan", None), "Real Some(5) Some(Orphan)");
        assert_eq!(told("gracePeriodSeconds=5&propagationPolicy=Orphan", Some(json!({}))), "Real None None");
        assert_eq!(told("dryRun=All", Some(json!({"gracePeriodSeconds": 1}))), "Dry Some(1) None");
        assert_eq!(told("orphanDependents=False", None), "Real None Some(Background)");
        assert_eq!(told("orphanDependents", None), "Real None Some(Orphan)");
        assert_eq!(told("gracePeriodSeconds=x", None), "strconv.ParseInt: parsing \"x\": invalid syntax");
    }

    #[test]
    fn options_that_make_no_sense_are_told_in_upstreams_words() {
        let refused = |body: Value, expected: &str| assert!(told("", Some(body.clone())).contains(expected), "{body}");
        refused(
            json!({"gracePeriodSeconds": "x"}),
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        );
        refused(
            json!({"preconditions": {"uid": 1}}),
            "Go struct field DeleteOptions.preconditions.uid of type types.UID",
        );
        refused(json!({"propagationPolicy": "Orphan", "orphanDependents": true}), "cannot be both set");
        let force = |more: Value| {
            let mut body = json!({"ignoreStoreReadErrorWithClusterBreakingPotential": true});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        refused(force(json!({"dryRun": ["All"]})), "cannot be set together with .dryRun");
        refused(force(json!({"gracePeriodSeconds": 0})), "cannot be set together with .gracePeriodSeconds");
        refused(force(json!({"preconditions": {"uid": "u"}})), "cannot be set together with .preconditions");
    }
}
