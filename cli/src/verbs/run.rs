//! `coracle run`: a file becomes a Deployment, and a Service where it has a port, at once.
//!
//! The image's tag is made of its content: a changed file is another image, hence a rollout, and the same file again
//! changes nothing. It touches no Deployment or Service that somebody else made.

mod foreground;
mod objects;
mod wait;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use coracle_api::duration;
use coracle_wasm::{Kind, describe};
use kube::Client;
use serde_json::Value;

use crate::call::ServerError;
use crate::resources::Resources;
use crate::target::Scope;
use crate::verbs::get::{Format, rendered};
use crate::verbs::image::push::read_wasm;
use crate::verbs::image::registry::Registry;
use crate::verbs::{apply, image};
use crate::{call, connect, output};
use objects::{MANAGED_BY, MANAGER, Wanted};

/// Where an HTTP component is reached if nobody says where.
const HTTP_PORT: u16 = 8080;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A component, or a core module of WASI preview 1; - reads standard input
    file: PathBuf,
    /// What it is called [default: as the file]
    name: Option<String>,
    #[command(flatten)]
    scope: Scope,
    /// The port to reach it at, by `curl localhost:PORT` [default: 8080 for HTTP components, none for others]
    #[arg(short, long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The port that the program itself listens at [default: PORT]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    target_port: Option<u16>,
    /// How many run at once [default: 1, or as many as there are]
    #[arg(short, long, value_name = "COUNT")]
    replicas: Option<u32>,
    /// A variable of its environment; may be given several times
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// How long it may take until it is ready: 90s, 5m
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration::parse)]
    timeout: Duration,
    /// Print what it writes, and delete it on Ctrl-C
    #[arg(long)]
    rm: bool,
    /// Change nothing; -o shows the objects
    #[arg(long, value_parser = ["client"], num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    dry_run: Option<String>,
    /// How to print the objects, with --dry-run
    #[arg(short, long, value_enum, requires = "dry_run")]
    output: Option<Format>,
    /// The program's arguments
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let wasm = read_wasm(&arguments.file)?;
    let mut wanted = wanted(&arguments, &wasm)?;
    if arguments.dry_run.is_some() {
        return show(&wanted, arguments.output);
    }
    let client = connect::client().await?;
    let resources = Resources::discover(&client).await?;
    let namespace = arguments.scope.name(&client);
    let there = ours(&client, &resources, &namespace, &wanted).await?;
    // Who scaled it since, and says nothing of replicas now, keeps what there is.
    wanted.replicas = wanted.replicas.or(there);
    push(client.clone(), &wanted, wasm).await?;
    let strict = apply::Arguments::strict(arguments.scope.clone());
    for object in wanted.objects() {
        output::line(&apply::apply(&client, &resources, &strict, object).await?);
    }
    let ready = async {
        wait::until_ready(&client, &namespace, &wanted, arguments.timeout).await?;
        output::line(&wait::where_it_is(&client, &namespace, &wanted).await?);
        Ok(())
    };
    if arguments.rm { foreground::run(&client, &namespace, &wanted, ready).await } else { ready.await }
}

/// What is to be there, as the flags and the file say.
fn wanted(arguments: &Arguments, wasm: &[u8]) -> anyhow::Result<Wanted> {
    let shown = arguments.file.display();
    let kind = describe(wasm).map_err(anyhow::Error::msg).with_context(|| format!("{shown} cannot run"))?.kind;
    let http = match kind {
        Kind::Http(_) => true,
        Kind::Command(_) => false,
        Kind::Preview1 if arguments.port.is_some() => {
            bail!(
                "{shown} is a core module of WASI preview 1, which has no sockets: leave out --port, or build it for wasm32-wasip2"
            )
        }
        Kind::Preview1 => false,
        Kind::Other(why) => bail!("{shown} cannot run: {why}"),
    };
    let port = arguments.port.or(http.then_some(HTTP_PORT));
    if port.is_none() && arguments.target_port.is_some() {
        bail!("--target-port says where the program listens; say with --port where it is reached");
    }
    let name = match &arguments.name {
        Some(name) => objects::checked(name)?,
        None if arguments.file == Path::new("-") => {
            bail!("what comes from standard input has no name: give one, as in `coracle run - web`")
        }
        None => objects::name_of(&arguments.file)?,
    };
    Ok(Wanted {
        image: objects::image(&name, wasm),
        name,
        namespace: arguments.scope.namespace.clone(),
        http,
        port,
        target_port: arguments.target_port.or(port),
        replicas: arguments.replicas,
        environment: arguments.env.iter().map(|text| objects::variable(text)).collect::<anyhow::Result<_>>()?,
        arguments: arguments.arguments.clone(),
    })
}

fn show(wanted: &Wanted, format: Option<Format>) -> anyhow::Result<()> {
    let objects = wanted.objects();
    match format {
        None | Some(Format::Name | Format::Wide) => {
            for path in wanted.shown() {
                output::line(&if format == Some(Format::Name) { path } else { format!("{path} created (dry run)") });
            }
        }
        Some(Format::Yaml) => {
            let documents: Vec<String> =
                objects.iter().map(|object| rendered(object, Format::Yaml)).collect::<anyhow::Result<_>>()?;
            output::line(documents.join("---\n").trim_end());
        }
        Some(Format::Json) => {
            let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
            output::line(rendered(&list, Format::Json)?.trim_end());
        }
    }
    Ok(())
}

/// Refuses to change what `coracle run` did not make. Returns how many replicas there are to be now.
async fn ours(client: &Client, resources: &Resources, namespace: &str, wanted: &Wanted) -> anyhow::Result<Option<u32>> {
    let mut replicas = None;
    for object in wanted.objects() {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let resource = resources.of_object(text("apiVersion"), text("kind"))?;
        let there: Value = match call::get(client, &resource.path(namespace, &wanted.name)).await {
            Ok(there) => there,
            Err(error) if ServerError::is_not_found(&error) => continue,
            Err(error) => return Err(error),
        };
        let labels = there.pointer("/metadata/labels");
        if labels.and_then(|l| l.get(MANAGED_BY)).and_then(Value::as_str) != Some(MANAGER) {
            let shown = resource.shown(&wanted.name);
            bail!(
                "{shown} is there already, and was not made by `coracle run`: give another name, as in `coracle run FILE NAME`, or delete it first"
            );
        }
        let scale = there.pointer("/spec/replicas").and_then(Value::as_u64);
        replicas = replicas.or(scale.and_then(|scale| u32::try_from(scale).ok()));
    }
    Ok(replicas)
}

async fn push(client: Client, wanted: &Wanted, wasm: Vec<u8>) -> anyhow::Result<()> {
    let name: image::registry::ImageName = wanted.image.parse()?;
    output::progress(&format!("pushing {name}"));
    let pushed = Registry::new(client).push(&name, wasm).await.with_context(|| format!("image {name} was not pushed"));
    output::progress_done();
    pushed.map(|_| output::line(&format!("image/{name} pushed")))
}

#[cfg(test)]
mod tests;
