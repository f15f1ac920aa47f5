//! `coracle apply -f`: makes objects be as their files say, and leaves alone what the files never said.
//!
//! As kubectl's client-side apply: what was applied last stands in an annotation; the patch is made of three states
//! (last applied, file, server). A list counts as a whole: it becomes what the file says.

mod three_way;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use coracle_api::wellknown::ANNOTATION_LAST_APPLIED;
use http::{Request, header};
use kube::Client;
use serde_json::{Value, json};

use crate::call::{self, ServerError};
use crate::resources::Resources;
use crate::target::{self, Identity, Scope};
use crate::{connect, output};

/// Whom the server records as the author.
const FIELD_MANAGER: &str = "coracle-client-side-apply";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Files, folders, or - for standard input
    #[arg(short, long, required = true, value_name = "FILE")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    scope: Scope,
    /// What happens to fields that the kind does not have
    #[arg(long, value_enum, default_value_t = Validate::Strict, num_args = 0..=1, default_missing_value = "strict")]
    validate: Validate,
    /// Let the server go through all steps but keep nothing
    #[arg(long, value_parser = ["server"], value_name = "server")]
    dry_run: Option<String>,
}

impl Arguments {
    /// As `apply` has it without flags, for objects that are not in files.
    pub(crate) fn strict(scope: Scope) -> Self {
        Self { filename: Vec::new(), scope, validate: Validate::Strict, dry_run: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Validate {
    /// Refuse them
    #[value(alias = "true")]
    Strict,
    /// Warn of them
    Warn,
    /// Drop them
    #[value(alias = "false")]
    Ignore,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let objects = target::read_objects(&arguments.filename)?;
    let client = connect::client().await?;
    let resources = Resources::discover(&client).await?;
    let mut failed = false;
    for object in objects {
        // One object that is refused must not keep the others from being applied.
        match apply(&client, &resources, &arguments, object).await {
            Ok(line) => output::line(&line),
            Err(error) => {
                failed = true;
                let head = if error.is::<ServerError>() { "" } else { "error: " };
                output::error(&format!("{head}{error:#}"));
            }
        }
    }
    if failed {
        std::process::exit(1);
    }
    Ok(())
}

/// Applies one object; returns what is said of it.
pub(crate) async fn apply(
    client: &Client,
    resources: &Resources,
    arguments: &Arguments,
    object: Value,
) -> anyhow::Result<String> {
    let id = target::identify(&object, resources, &arguments.scope, client)?;
    let modified = with_last_applied(object, &id)?;
    let path = id.resource.path(&id.namespace, &id.name);
    let query = query(arguments);
    let outcome = match call::get::<Value>(client, &path).await {
        Ok(current) => {
            let patch = patch(&modified, &current)?;
            if patch.as_object().is_some_and(serde_json::Map::is_empty) {
                return Ok(said(&id, "unchanged", arguments));
            }
            let request = Request::patch(format!("{path}?{query}"))
                .header(header::CONTENT_TYPE, "application/merge-patch+json")
                .body(serde_json::to_vec(&patch)?)?;
            let after: Value = call::call(client, request).await?;
            if ours(after) == ours(current) { "unchanged" } else { "configured" }
        }
        Err(error) if ServerError::is_not_found(&error) => {
            let request = Request::post(format!("{}?{query}", id.resource.collection(&id.namespace)))
                .header(header::CONTENT_TYPE, "application/json")
                .body(serde_json::to_vec(&without_nulls(modified))?)?;
            call::call::<Value>(client, request).await?;
            "created"
        }
        Err(error) => return Err(error),
    };
    Ok(said(&id, outcome, arguments))
}

fn said(id: &Identity<'_>, outcome: &str, arguments: &Arguments) -> String {
    let dry = if arguments.dry_run.is_some() { " (server dry run)" } else { "" };
    format!("{} {outcome}{dry}", id.resource.shown(&id.name))
}

/// The object without members that are null: in a new object they say nothing, and kubectl does not send them either.
fn without_nulls(object: Value) -> Value {
    match object {
        Value::Object(map) => {
            let stated = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(stated.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        other => other,
    }
}

/// The part of an object that applying can change: a status that the cluster wrote meanwhile is not ours.
fn ours(mut object: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    object
}

fn query(arguments: &Arguments) -> String {
    let validation = match arguments.validate {
        Validate::Strict => "Strict",
        Validate::Warn => "Warn",
        Validate::Ignore => "Ignore",
    };
    let dry = if arguments.dry_run.is_some() { "&dryRun=All" } else { "" };
    format!("fieldManager={FIELD_MANAGER}&fieldValidation={validation}{dry}")
}

/// The object with the annotation that says what was applied: the object itself, without that annotation.
fn with_last_applied(mut object: Value, id: &Identity<'_>) -> anyhow::Result<Value> {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        bail!("metadata of {} must be a map", id.name);
    };
    if id.resource.namespaced {
        metadata.insert("namespace".into(), id.namespace.clone().into());
    }
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if annotations.is_null() {
        *annotations = json!({});
    }
    let map = annotations.as_object_mut().with_context(|| format!("annotations of {} must be a map", id.name))?;
    map.remove(ANNOTATION_LAST_APPLIED);
    let applied = serde_json::to_string(&object)? + "\n";
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.insert(ANNOTATION_LAST_APPLIED.to_owned(), applied.into());
    }
    Ok(object)
}

fn patch(modified: &Value, current: &Value) -> anyhow::Result<Value> {
    let annotations = current.pointer("/metadata/annotations");
    let last = annotations.and_then(|a| a.get(ANNOTATION_LAST_APPLIED)).and_then(Value::as_str);
    let original: Value = match last {
        Some(text) => serde_json::from_str(text).context("the last-applied annotation on the server is no JSON")?,
        None => Value::Null,
    };
    Ok(three_way::merge_patch(&original, modified, current))
}
