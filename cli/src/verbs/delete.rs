//! `coracle delete`: deletes objects by file, by name or by label, and waits until they are gone.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use http::{Request, header};
use kube::Client;
use serde_json::{Map, Value};

use crate::call::{self, ServerError};
use crate::resources::{Resource, Resources};
use crate::target::{self, Scope};
use crate::{connect, output};

/// How often it looks whether a deleted object is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// TYPE NAME … or TYPE/NAME … or TYPE with -l or --all
    what: Vec<String>,
    /// Delete the objects of these files, folders, or - for standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "what")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    scope: Scope,
    /// All objects with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// All objects of the type
    #[arg(long)]
    all: bool,
    /// Seconds for a pod to stop; -1 leaves it to the pod
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    grace_period: i64,
    /// Delete at once, without waiting for a pod to stop
    #[arg(long)]
    force: bool,
    /// What happens to dependents
    #[arg(long, value_enum, default_value_t = Cascade::Background)]
    cascade: Cascade,
    /// Return only when the objects are gone
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    wait: bool,
    /// Succeed where an object does not exist
    #[arg(long)]
    ignore_not_found: bool,
}

impl Arguments {
    /// As `delete TYPE/NAME …` has it, for objects that may be gone already.
    pub(crate) fn named(what: Vec<String>, scope: Scope) -> Self {
        Self {
            what,
            filename: Vec::new(),
            scope,
            selector: None,
            all: false,
            grace_period: -1,
            force: false,
            cascade: Cascade::Background,
            wait: true,
            ignore_not_found: true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cascade {
    Background,
    Foreground,
    Orphan,
}

struct Doomed<'a> {
    resource: &'a Resource,
    namespace: String,
    name: String,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = connect::client().await?;
    let resources = Resources::discover(&client).await?;
    let doomed = find(&arguments, &client, &resources).await?;
    if doomed.is_empty() {
        output::error("No resources found");
    }
    let mut waiting = Vec::new();
    let mut failed = false;
    for one in &doomed {
        match delete(&client, one, &arguments).await {
            Ok(uid) => waiting.push((one, uid)),
            Err(error) if ServerError::is_not_found(&error) && arguments.ignore_not_found => {}
            Err(error) => {
                output::error(&format!("{error:#}"));
                failed = true;
            }
        }
    }
    if arguments.wait {
        for (one, uid) in waiting {
            wait_until_gone(&client, one, &uid).await?;
        }
    }
    if failed {
        std::process::exit(1);
    }
    Ok(())
}

async fn find<'a>(arguments: &Arguments, client: &Client, resources: &'a Resources) -> anyhow::Result<Vec<Doomed<'a>>> {
    if !arguments.filename.is_empty() {
        let objects = target::read_objects(&arguments.filename)?;
        let doomed = objects.iter().map(|object| {
            let id = target::identify(object, resources, &arguments.scope, client)?;
            Ok(Doomed { resource: id.resource, namespace: id.namespace, name: id.name })
        });
        return doomed.collect();
    }
    let mut doomed = Vec::new();
    for target in target::parse(&arguments.what, resources)? {
        let namespace = arguments.scope.of(target.resource, client);
        match target.name {
            Some(name) => doomed.push(Doomed { resource: target.resource, namespace, name }),
            None if arguments.all || arguments.selector.is_some() => {
                for name in names(client, target.resource, &namespace, arguments.selector.as_deref()).await? {
                    doomed.push(Doomed { resource: target.resource, namespace: namespace.clone(), name });
                }
            }
            None => bail!("resource(s) were provided, but no name was specified: add a name, -l SELECTOR or --all"),
        }
    }
    Ok(doomed)
}

async fn names(
    client: &Client,
    resource: &Resource,
    namespace: &str,
    selector: Option<&str>,
) -> anyhow::Result<Vec<String>> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("labelSelector", selector.unwrap_or_default());
    let path = format!("{}?{}", resource.collection(namespace), query.finish());
    let list: Value = call::get(client, &path).await?;
    let items = list.get("items").and_then(Value::as_array);
    let name = |item: &Value| item.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
    Ok(items.into_iter().flatten().filter_map(name).collect())
}

/// Deletes it; returns its UID, so that a successor of the same name is not waited for.
async fn delete(client: &Client, doomed: &Doomed<'_>, arguments: &Arguments) -> anyhow::Result<String> {
    let mut options = Map::new();
    let policy = match arguments.cascade {
        Cascade::Background => "Background",
        Cascade::Foreground => "Foreground",
        Cascade::Orphan => "Orphan",
    };
    options.insert("propagationPolicy".into(), policy.into());
    if arguments.force {
        options.insert("gracePeriodSeconds".into(), 0.into());
    } else if arguments.grace_period >= 0 {
        options.insert("gracePeriodSeconds".into(), arguments.grace_period.into());
    }
    let path = doomed.resource.path(&doomed.namespace, &doomed.name);
    let request =
        Request::delete(path).header(header::CONTENT_TYPE, "application/json").body(serde_json::to_vec(&options)?)?;
    let answer: Value = call::call(client, request).await?;
    let singular = if doomed.resource.group.is_empty() {
        doomed.resource.singular.clone()
    } else {
        format!("{}.{}", doomed.resource.singular, doomed.resource.group)
    };
    let how = if arguments.force { "force deleted" } else { "deleted" };
    output::line(&format!("{singular} \"{}\" {how}", doomed.name));
    let uid = answer.pointer("/metadata/uid").or_else(|| answer.pointer("/details/uid"));
    Ok(uid.and_then(Value::as_str).unwrap_or_default().to_owned())
}

async fn wait_until_gone(client: &Client, doomed: &Doomed<'_>, uid: &str) -> anyhow::Result<()> {
    let path = doomed.resource.path(&doomed.namespace, &doomed.name);
    loop {
        match call::get::<Value>(client, &path).await {
            Ok(object) if object.pointer("/metadata/uid").and_then(Value::as_str) == Some(uid) => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(_) => return Ok(()),
            Err(error) if ServerError::is_not_found(&error) => return Ok(()),
            Err(error) => return Err(error).context("while waiting for the deletion"),
        }
    }
}
