//! `coracle logs`: what a container wrote, once or as it comes.

use anyhow::{Context, bail};
use clap::Args;
use futures::TryStreamExt;
use http::Request;
use kube::Client;
use serde_json::Value;

use crate::resources::Resources;
use crate::target::{self, Scope};
use crate::{call, connect, output};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// POD, or TYPE/NAME of something that has pods
    what: String,
    #[command(flatten)]
    scope: Scope,
    /// The container, where a pod has several
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Go on printing what is written
    #[arg(short, long)]
    follow: bool,
    /// The container's run before this one
    #[arg(short, long)]
    previous: bool,
    /// So many of the last lines; -1 for all
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    tail: i64,
    /// Only what is younger, in seconds, or as 5s, 2m, 3h
    #[arg(long, value_name = "DURATION")]
    since: Option<String>,
    /// Each line with its time
    #[arg(long)]
    timestamps: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = connect::client().await?;
    let namespace = arguments.scope.name(&client);
    let pod = pod(&client, &namespace, &arguments.what).await?;
    print(&client, &namespace, &pod, &query(&arguments)?).await
}

/// Prints a log to its end.
pub(crate) async fn print(client: &Client, namespace: &str, pod: &str, query: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?{query}");
    let response = call::send(client, Request::get(path).body(Vec::new())?).await?;
    let mut body = http_body_util::BodyDataStream::new(response.into_body());
    while let Some(chunk) = body.try_next().await.context("the log broke off")? {
        output::bytes(&chunk);
    }
    Ok(())
}

fn query(arguments: &Arguments) -> anyhow::Result<String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(container) = &arguments.container {
        query.append_pair("container", container);
    }
    for (name, on) in
        [("follow", arguments.follow), ("previous", arguments.previous), ("timestamps", arguments.timestamps)]
    {
        if on {
            query.append_pair(name, "true");
        }
    }
    if arguments.tail >= 0 {
        query.append_pair("tailLines", &arguments.tail.to_string());
    }
    if let Some(since) = &arguments.since {
        query.append_pair("sinceSeconds", &seconds(since)?.to_string());
    }
    Ok(query.finish())
}

/// Go's way to write a duration, in whole seconds: `90`, `90s`, `2m`, `1h30m`.
fn seconds(text: &str) -> anyhow::Result<u64> {
    if let Ok(plain) = text.parse() {
        return Ok(plain);
    }
    let mut total = 0_u64;
    let mut digits = String::new();
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => bail!("--since {text:?} is no duration; write for example 90s, 5m or 1h"),
        };
        let number: u64 = digits.parse().with_context(|| format!("--since {text:?} is no duration"))?;
        total = total.saturating_add(number.saturating_mul(unit));
        digits.clear();
    }
    if !digits.is_empty() {
        bail!("--since {text:?} lacks a unit; write for example 90s, 5m or 1h");
    }
    Ok(total)
}

/// The pod that is meant: itself, or the oldest of those that a workload selects.
async fn pod(client: &Client, namespace: &str, what: &str) -> anyhow::Result<String> {
    let Some((kind, _)) = what.split_once('/') else { return Ok(what.to_owned()) };
    let resources = Resources::discover(client).await?;
    let targets = target::parse(&[what.to_owned()], &resources)?;
    let Some((target, name)) = targets.first().and_then(|t| Some((t, t.name.clone()?))) else {
        bail!("{what:?} names no object");
    };
    if target.resource.plural == "pods" {
        return Ok(name);
    }
    let object: Value = call::get(client, &target.resource.path(namespace, &name)).await?;
    let labels = object.pointer("/spec/selector/matchLabels").or_else(|| object.pointer("/spec/selector"));
    let Some(labels) = labels.and_then(Value::as_object) else { bail!("a {kind} has no pods to read from") };
    let selector: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("labelSelector", &selector.join(","));
    let list: Value = call::get(client, &format!("/api/v1/namespaces/{namespace}/pods?{}", query.finish())).await?;
    let names: Vec<&str> = list
        .get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|p| p.pointer("/metadata/name").and_then(Value::as_str))
        .collect();
    let first = names.first().with_context(|| format!("no pods found for {what}"))?;
    if names.len() > 1 {
        output::error(&format!("Found {} pods, using pod/{first}", names.len()));
    }
    Ok((*first).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        for (text, expected) in [("90", 90), ("90s", 90), ("2m", 120), ("1h30m", 5400)] {
            assert_eq!(seconds(text).unwrap(), expected, "{text}");
        }
        assert!(seconds("1d").is_err() && seconds("5m3").is_err());
    }
}
