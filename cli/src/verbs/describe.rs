//! `coracle describe`: an object in detail, with its events, in the layout that kubectl's users know.
//!
//! Pods, workloads, Services and nodes have layouts of their own; other kinds show all their fields.

mod generic;
mod node;
mod page;
mod pod;
mod service;
mod workload;

use anyhow::bail;
use clap::Args;
use coracle_api::clock;
use kube::Client;
use serde_json::Value;

use crate::call;
use crate::resources::{Resource, Resources};
use crate::target::{self, Scope};
use crate::{connect, output};
use page::Page;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// TYPE [NAME…] or TYPE/NAME …
    #[arg(required = true)]
    what: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// Only objects with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = connect::client().await?;
    let resources = Resources::discover(&client).await?;
    let mut pages = Vec::new();
    for target in target::parse(&arguments.what, &resources)? {
        let namespace = arguments.scope.of(target.resource, &client);
        for object in objects(&client, &arguments, &target, &namespace).await? {
            pages.push(describe(&client, target.resource, &namespace, &object).await?);
        }
    }
    if pages.is_empty() {
        bail!("no resources found in {} namespace", arguments.scope.name(&client));
    }
    output::bytes(pages.join("\n\n").as_bytes());
    Ok(())
}

async fn objects(
    client: &Client,
    arguments: &Arguments,
    target: &target::Target<'_>,
    namespace: &str,
) -> anyhow::Result<Vec<Value>> {
    if let Some(name) = &target.name {
        return Ok(vec![call::get(client, &target.resource.path(namespace, name)).await?]);
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("labelSelector", arguments.selector.as_deref().unwrap_or_default());
    let path = format!("{}?{}", target.resource.collection(namespace), query.finish());
    let list: Value = call::get(client, &path).await?;
    Ok(list.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
}

async fn describe(client: &Client, resource: &Resource, namespace: &str, object: &Value) -> anyhow::Result<String> {
    let mut page = Page::new(clock::now());
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pod::describe(&mut page, object),
        ("", "Node") => {
            let name = page::text(object, "/metadata/name");
            let pods: Value = call::get(client, &format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{name}")).await?;
            node::describe(&mut page, object, &pods);
        }
        ("", "Service") => {
            let name = page::text(object, "/metadata/name");
            let path = format!(
                "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{name}"
            );
            service::describe(&mut page, object, &call::get(client, &path).await?);
        }
        ("apps", "Deployment" | "ReplicaSet") => workload::describe(&mut page, &resource.kind, object),
        _ => generic::describe(&mut page, object),
    }
    page.events(&events(client, namespace, object).await?);
    Ok(page.finish())
}

async fn events(client: &Client, namespace: &str, object: &Value) -> anyhow::Result<Vec<Value>> {
    let uid = page::text(object, "/metadata/uid");
    let name = page::text(object, "/metadata/name");
    let mut query = form_urlencoded::Serializer::new(String::new());
    // A node's events name it where its UID should be, as the kubelet's always did.
    let by_uid = if namespace.is_empty() { String::new() } else { format!(",involvedObject.uid={uid}") };
    query.append_pair("fieldSelector", &format!("involvedObject.name={name}{by_uid}"));
    let namespace = if namespace.is_empty() { "default" } else { namespace };
    let list: Value = call::get(client, &format!("/api/v1/namespaces/{namespace}/events?{}", query.finish())).await?;
    let mut items = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    items.sort_by_key(|e| page::text(e, "/lastTimestamp").to_owned());
    Ok(items)
}
