//! `coracle scale`: sets the number of replicas through the `scale` subresource.

use anyhow::bail;
use clap::Args;
use http::{Request, header};
use serde_json::{Value, json};

use crate::resources::Resources;
use crate::target::{self, Scope};
use crate::{call, connect, output};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// TYPE/NAME … or TYPE NAME …
    #[arg(required = true)]
    what: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// How many there should be
    #[arg(long)]
    replicas: u32,
    /// Only if there are to be that many now
    #[arg(long)]
    current_replicas: Option<u32>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = connect::client().await?;
    let resources = Resources::discover(&client).await?;
    for target in target::parse(&arguments.what, &resources)? {
        let Some(name) = target.name else { bail!("name the object to scale: {}/NAME", target.resource.singular) };
        if !target.resource.subresources.iter().any(|s| s == "scale") {
            bail!("a {} cannot be scaled", target.resource.singular);
        }
        let path = format!("{}/scale", target.resource.path(&arguments.scope.of(target.resource, &client), &name));
        if let Some(expected) = arguments.current_replicas {
            let scale: Value = call::get(&client, &path).await?;
            let current = scale.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(0);
            if current != u64::from(expected) {
                bail!("Expected replicas to be {expected}, was {current}");
            }
        }
        let patch = serde_json::to_vec(&json!({"spec": {"replicas": arguments.replicas}}))?;
        let request = Request::patch(&path).header(header::CONTENT_TYPE, "application/merge-patch+json").body(patch)?;
        call::call::<Value>(&client, request).await?;
        output::line(&format!("{} scaled", target.resource.shown(&name)));
    }
    Ok(())
}
