//! `coracle image inspect`: what an image is made of, and what its component wants of its host and gives, as WIT.

use anyhow::Context;
use clap::{Args, ValueEnum};
use coracle_api::clock;
use coracle_runtime::images::{Description, WASM_LAYER_TYPES, describe};
use serde_json::{Value, json};

use super::choose::choose;
use super::list::{ago, last_used};
use super::registry::{Listed, Registry};
use super::size;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Names of images, or the beginnings of their digests
    #[arg(required = true)]
    names: Vec<String>,
    /// Only the world, as WIT
    #[arg(long, conflicts_with = "output")]
    wit: bool,
    /// How to print
    #[arg(short, long, value_enum)]
    output: Option<Form>,
}

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// All that is known, as JSON
    Json,
}

/// An image, looked into.
struct Seen<'a> {
    image: &'a Listed,
    manifest: Value,
    /// What its WebAssembly is, or why nothing can be said.
    program: Result<Description, String>,
}

pub(super) async fn run(registry: &Registry, inspect: &Inspect) -> anyhow::Result<()> {
    let images = registry.list().await?;
    let mut chosen = Vec::new();
    for text in &inspect.names {
        let (_, found) = choose(&images, text)?;
        chosen.extend(found.into_iter().next());
    }
    let mut seen = Vec::new();
    for image in chosen {
        seen.push(look(registry, image).await.with_context(|| format!("image {}", image.title()))?);
    }
    if inspect.output == Some(Form::Json) {
        let all: Vec<Value> = seen.iter().map(as_json).collect();
        output::line(&serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    for (index, seen) in seen.iter().enumerate() {
        if index > 0 {
            output::line("");
        }
        match (&seen.program, inspect.wit) {
            (Ok(description), true) => output::line(description.wit.trim_end()),
            (Err(why), true) => anyhow::bail!("image {}: {why}", seen.image.title()),
            (_, false) => page(seen),
        }
    }
    Ok(())
}

async fn look<'a>(registry: &Registry, image: &'a Listed) -> anyhow::Result<Seen<'a>> {
    let bytes = registry.manifest(image.repository(), &image.digest).await?;
    let manifest: Value = serde_json::from_slice(&bytes).context("the manifest is not understood")?;
    let program = match layer(registry, image, &manifest).await? {
        Some(layer) => {
            let wasm = registry.blob(image.repository(), &layer).await?;
            // Decoding what somebody else made takes as long as it takes; nobody else waits for this process.
            describe(&wasm)
        }
        None => Err("it has no layer of WebAssembly".to_owned()),
    };
    Ok(Seen { image, manifest, program })
}

/// The digest of the layer that would run, of the image itself or of the first manifest of an index that has one.
async fn layer(registry: &Registry, image: &Listed, manifest: &Value) -> anyhow::Result<Option<String>> {
    let parts = manifest.get("manifests").and_then(Value::as_array);
    for part in parts.into_iter().flatten() {
        let Some(digest) = part.get("digest").and_then(Value::as_str) else { continue };
        let Some(bytes) = registry.part(image.repository(), digest).await? else { continue };
        let part: Value = serde_json::from_slice(&bytes).context("the manifest is not understood")?;
        if let Some(layer) = own_layer(&part) {
            return Ok(Some(layer));
        }
    }
    Ok(own_layer(manifest))
}

fn own_layer(manifest: &Value) -> Option<String> {
    let is_wasm = |layer: &&Value| {
        let media_type = layer.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        WASM_LAYER_TYPES.contains(&media_type)
    };
    let layers = manifest.get("layers").and_then(Value::as_array);
    let layer = layers.into_iter().flatten().find(is_wasm)?;
    layer.get("digest").and_then(Value::as_str).map(str::to_owned)
}

fn as_json(seen: &Seen<'_>) -> Value {
    let mut value = serde_json::to_value(seen.image).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.insert("manifest".to_owned(), seen.manifest.clone());
        let program = match &seen.program {
            Ok(description) => json!({
                "kind": description.kind.to_string(),
                "imports": description.imports,
                "exports": description.exports,
                "wit": description.wit,
            }),
            Err(why) => json!({ "problem": why }),
        };
        map.insert("program".to_owned(), program);
    }
    value
}

fn page(seen: &Seen<'_>) {
    let (image, now) = (seen.image, clock::now());
    let row = |name: &str, text: &str| output::line(&format!("{:<13}{text}", format!("{name}:")));
    row("Name", image.title());
    row("Digest", &image.digest);
    row("Media type", &image.media_type);
    row("Size", &format!("{} ({} bytes)", size(image.size), image.size));
    if let Some(created) = image.created {
        row("Created", &format!("{created:.0} ({})", ago(created, now)));
    }
    row("Arrived", &format!("{:.0} ({}), {}", image.arrived, ago(image.arrived, now), image.origin));
    row("Last used", &last_used(image, now));
    row("Used by", &if image.pods.is_empty() { "<none>".to_owned() } else { image.pods.join(", ") });
    let descriptor = |d: &Value| {
        let text = |key: &str| d.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let bytes = d.get("size").and_then(Value::as_u64).unwrap_or_default();
        format!("{}  {}  {}", text("mediaType"), text("digest"), size(bytes))
    };
    if let Some(config) = seen.manifest.get("config") {
        row("Config", &descriptor(config));
    }
    for (key, title) in [("layers", "Layer"), ("manifests", "Manifest")] {
        for part in seen.manifest.get(key).and_then(Value::as_array).into_iter().flatten() {
            row(title, &descriptor(part));
        }
    }
    match &seen.program {
        Ok(description) => {
            row("Kind", &description.kind.to_string());
            output::line("World:");
            output::line("");
            output::line(description.wit.trim_end());
        }
        Err(why) => row("Kind", &format!("cannot run here: {why}")),
    }
}
