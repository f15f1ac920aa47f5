//! `coracle get`: objects in the server's own tables, or whole, once or as they change.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use http::{Request, header};
use kube::Client;
use serde_json::Value;
use tokio_util::io::StreamReader;

use crate::call::{self, ServerError};
use crate::resources::{Resource, Resources};
use crate::table::{self, Style, Table};
use crate::target::{self, Scope, Target};
use crate::{connect, output};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// TYPE[,TYPE…] [NAME…] or TYPE/NAME …
    #[arg(required = true)]
    what: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// In all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels: a=b,c!=d,e in (x,y)
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Only objects with these fields: status.phase=Running
    #[arg(long, value_name = "SELECTOR")]
    field_selector: Option<String>,
    /// How to print
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    /// Go on printing as objects change
    #[arg(short, long)]
    watch: bool,
    /// Show all labels as the last column
    #[arg(long)]
    show_labels: bool,
    /// Print no line of headings
    #[arg(long)]
    no_headers: bool,
    /// Show which client owns which field, too
    #[arg(long)]
    show_managed_fields: bool,
    /// Say nothing and succeed where an object does not exist
    #[arg(long)]
    ignore_not_found: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Wide,
    Yaml,
    Json,
    Name,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = connect::client().await?;
    let resources = Resources::discover(&client).await?;
    let targets = target::parse(&arguments.what, &resources)?;
    match arguments.output {
        None | Some(Format::Wide) => tables(&client, &targets, &arguments).await,
        Some(format) => whole(&client, &targets, &arguments, format).await,
    }
}

impl Arguments {
    fn namespace(&self, resource: &Resource, client: &Client) -> String {
        if self.all_namespaces { String::new() } else { self.scope.of(resource, client) }
    }

    fn style(&self, resource: &Resource, several: bool) -> Style {
        Style {
            wide: self.output == Some(Format::Wide),
            namespaces: self.all_namespaces && resource.namespaced,
            labels: self.show_labels,
            bare: self.no_headers,
            prefix: several.then(|| resource.shown("")),
        }
    }

    /// The path with its selectors. One object is asked for as a list, so that a watch can go on from it.
    fn path(&self, target: &Target<'_>, client: &Client) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(selector) = &self.selector {
            query.append_pair("labelSelector", selector);
        }
        let by_name = target.name.as_ref().filter(|_| self.watch).map(|name| format!("metadata.name={name}"));
        let fields: Vec<String> = self.field_selector.clone().into_iter().chain(by_name).collect();
        if !fields.is_empty() {
            query.append_pair("fieldSelector", &fields.join(","));
        }
        let namespace = self.namespace(target.resource, client);
        let path = match &target.name {
            Some(name) if !self.watch => target.resource.path(&namespace, name),
            _ => target.resource.collection(&namespace),
        };
        format!("{path}?{}", query.finish())
    }
}

async fn tables(client: &Client, targets: &[Target<'_>], arguments: &Arguments) -> anyhow::Result<()> {
    if targets.iter().any(|t| t.name.is_some()) && arguments.all_namespaces {
        bail!("a resource cannot be retrieved by name across all namespaces");
    }
    let distinct: std::collections::BTreeSet<String> = targets.iter().map(|t| t.resource.qualified()).collect();
    let several = distinct.len() > 1;
    if arguments.watch && targets.len() > 1 {
        bail!("you may only watch one resource or type of resource at a time");
    }
    let mut printed = 0_usize;
    let mut failed = 0_usize;
    for group in targets.chunk_by(|a, b| a.resource == b.resource) {
        let Some(resource) = group.first().map(|t| t.resource) else { continue };
        let style = arguments.style(resource, several);
        let mut lines = Vec::new();
        let mut widths = Vec::new();
        let mut resume = None;
        for target in group {
            match fetch(client, &arguments.path(target, client)).await {
                Ok(table) => {
                    let columns = table.column_definitions.as_deref().unwrap_or_default();
                    if lines.is_empty() && !style.bare && !table.rows.is_empty() {
                        lines.push(table::headings(columns, &style));
                    }
                    lines.extend(table.rows.iter().map(|row| table::cells(row, columns, &style)));
                    resume = Some((arguments.path(target, client), table));
                }
                Err(error) => failed += usize::from(!tolerated(&error, arguments)),
            }
        }
        if !lines.is_empty() && printed > 0 {
            output::line("");
        }
        table::set_at_least(&lines, &mut widths).iter().for_each(|line| output::line(line));
        printed += lines.len();
        if let (true, Some((path, table))) = (arguments.watch, resume) {
            return watch(client, &path, table, &style, widths).await;
        }
    }
    if printed == 0 && failed == 0 && !arguments.ignore_not_found {
        output::error(&nothing_found(client, targets, arguments));
    }
    if failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

fn nothing_found(client: &Client, targets: &[Target<'_>], arguments: &Arguments) -> String {
    let namespaced = targets.iter().any(|t| t.resource.namespaced);
    if namespaced && !arguments.all_namespaces {
        format!("No resources found in {} namespace.", arguments.scope.name(client))
    } else {
        "No resources found".to_owned()
    }
}

/// Prints what the server said; tells whether the verb may succeed all the same.
fn tolerated(error: &anyhow::Error, arguments: &Arguments) -> bool {
    if arguments.ignore_not_found && ServerError::is_not_found(error) {
        return true;
    }
    output::error(&format!("{error:#}"));
    false
}

async fn fetch(client: &Client, path: &str) -> anyhow::Result<Table> {
    let request = Request::get(path).header(header::ACCEPT, table::ACCEPT).body(Vec::new())?;
    call::call(client, request).await
}

async fn watch(client: &Client, path: &str, first: Table, style: &Style, mut widths: Vec<usize>) -> anyhow::Result<()> {
    use tokio::io::AsyncBufReadExt;
    let version = first.metadata.resource_version.unwrap_or_default();
    let mut columns = first.column_definitions.unwrap_or_default();
    let request = Request::get(format!("{path}&watch=true&resourceVersion={version}"))
        .header(header::ACCEPT, table::ACCEPT)
        .body(Vec::new())?;
    let response = call::send(client, request).await?;
    let body = http_body_util::BodyDataStream::new(response.into_body());
    let mut lines = StreamReader::new(body.map_err(std::io::Error::other)).lines();
    let mut headed = !widths.is_empty() || style.bare;
    while let Some(line) = lines.next_line().await.context("the watch broke off")? {
        let event: Value = serde_json::from_str(&line)?;
        if event.pointer("/type").and_then(Value::as_str) == Some("ERROR") {
            bail!("{}", event.pointer("/object/message").and_then(Value::as_str).unwrap_or("the watch ended"));
        }
        let table: Table = serde_json::from_value(event.get("object").cloned().unwrap_or_default())?;
        if let Some(named) = table.column_definitions.filter(|named| !named.is_empty()) {
            columns = named;
        }
        let mut block = Vec::new();
        if !headed {
            headed = true;
            block.push(table::headings(&columns, style));
        }
        block.extend(table.rows.iter().map(|row| table::cells(row, &columns, style)));
        table::set_at_least(&block, &mut widths).iter().for_each(|line| output::line(line));
    }
    Ok(())
}

async fn whole(client: &Client, targets: &[Target<'_>], arguments: &Arguments, format: Format) -> anyhow::Result<()> {
    let mut items = Vec::new();
    let mut failed = false;
    for target in targets {
        match call::get::<Value>(client, &arguments.path(target, client)).await {
            Ok(mut value) => match value.get_mut("items").map(Value::take) {
                Some(Value::Array(list)) => items.extend(list.into_iter().map(|i| typed(i, target.resource))),
                _ => items.push(value),
            },
            Err(error) => failed |= !tolerated(&error, arguments),
        }
    }
    if !arguments.show_managed_fields {
        items.iter_mut().for_each(hide_managed_fields);
    }
    let single = targets.len() == 1 && targets.iter().all(|t| t.name.is_some());
    match format {
        Format::Name => print_names(&items, targets),
        Format::Json | Format::Yaml => {
            let object = match (single, items.pop()) {
                (true, last) => last,
                (false, last) => {
                    items.extend(last);
                    let metadata = serde_json::json!({"resourceVersion": ""});
                    Some(serde_json::json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": metadata}))
                }
            };
            if let Some(object) = object {
                output::bytes(rendered(&object, format)?.as_bytes());
            }
        }
        Format::Wide => {}
    }
    if failed {
        std::process::exit(1);
    }
    Ok(())
}

/// Who owns which field is long, and seldom what is looked for.
fn hide_managed_fields(item: &mut Value) {
    if let Some(metadata) = item.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

/// Items of a list do not say what they are; in a List of several kinds they must.
fn typed(mut item: Value, resource: &Resource) -> Value {
    if let Some(map) = item.as_object_mut() {
        let api_version = if resource.group.is_empty() {
            resource.version.clone()
        } else {
            format!("{}/{}", resource.group, resource.version)
        };
        map.entry("apiVersion").or_insert_with(|| api_version.into());
        map.entry("kind").or_insert_with(|| resource.kind.clone().into());
    }
    item
}

fn print_names(items: &[Value], targets: &[Target<'_>]) {
    for item in items {
        let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let resource = targets.iter().map(|t| t.resource).find(|r| r.kind == text("/kind"));
        if let Some(resource) = resource {
            output::line(&resource.shown(text("/metadata/name")));
        }
    }
}

/// An object as YAML, or as JSON with kubectl's indent.
pub(crate) fn rendered(object: &Value, format: Format) -> anyhow::Result<String> {
    if format == Format::Yaml {
        return Ok(serde_saphyr::to_string(object)?);
    }
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    serde::Serialize::serialize(object, &mut serde_json::Serializer::with_formatter(&mut text, formatter))?;
    text.push(b'\n');
    Ok(String::from_utf8(text)?)
}
