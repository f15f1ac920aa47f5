//! Options of a deletion, from its body and its query: grace, preconditions, what becomes of the dependents.

use coracle_api::field::FieldError;
use serde_json::Value;

use super::{Run, dry_run, number};
use crate::answer::Refused;
use crate::request::{is_true, pairs};

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
}

/// Reads the options: a body wins over the query, as upstream.
pub(crate) fn parse(query: &str, body: Option<&Value>) -> Result<DeleteOptions, Refused> {
    let mut errors = Vec::new();
    let mut options = DeleteOptions::default();
    let (mut policy, mut orphan, mut dry) = (None, None, Vec::new());
    match body {
        Some(body) => {
            let text = |path: &str| body.pointer(path).and_then(Value::as_str).map(str::to_owned);
            options.grace = body.get("gracePeriodSeconds").and_then(Value::as_i64);
            options.uid = text("/preconditions/uid");
            options.resource_version = text("/preconditions/resourceVersion");
            policy = text("/propagationPolicy");
            orphan = body.get("orphanDependents").and_then(Value::as_bool);
            let listed = body.get("dryRun").and_then(Value::as_array);
            dry = listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        None => {
            for (key, value) in pairs(query) {
                match key.as_str() {
                    "gracePeriodSeconds" => options.grace = Some(number(&value)?),
                    "propagationPolicy" => policy = Some(value),
                    "orphanDependents" => orphan = Some(is_true(Some(&value))),
                    "dryRun" => dry.push(value),
                    _ => {}
                }
            }
        }
    }
    if body.is_some() && dry.is_empty() {
        dry = pairs(query).filter(|(k, _)| k == "dryRun").map(|(_, v)| v).collect();
    }
    options.run = dry_run(dry.iter().map(String::as_str), &mut errors);
    options.propagation = propagation(policy.as_deref(), orphan, &mut errors);
    if errors.is_empty() { Ok(options) } else { Err(Refused::invalid_options("DeleteOptions", errors)) }
}

fn propagation(policy: Option<&str>, orphan: Option<bool>, errors: &mut Vec<FieldError>) -> Option<Propagation> {
    const AT: &str = "propagationPolicy";
    if let (Some(policy), Some(_)) = (policy, orphan) {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(FieldError::invalid(AT, policy, why));
        return None;
    }
    match (policy, orphan) {
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
