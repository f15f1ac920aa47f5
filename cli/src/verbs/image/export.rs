//! `coracle image export`: images leave as one tar archive in the OCI image layout, for other clusters and tools.
//!
//! Invariant: a file of the name that was asked for is whole, or what it was before.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use coracle_api::names::Digest;
use coracle_runtime::images::Reference;

use super::choose::choose;
use super::layout::{FULL_NAME, Manifest, REF_NAME, Writer};
use super::registry::{Listed, Registry};
use super::size;
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Names of images, or the beginnings of their digests
    #[arg(required = true)]
    names: Vec<String>,
    /// The archive to write; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

pub(super) async fn run(registry: &Registry, export: &Export) -> anyhow::Result<()> {
    let images = registry.list().await?;
    let mut chosen: Vec<&Listed> = Vec::new();
    for text in &export.names {
        chosen.extend(choose(&images, text)?.1);
    }
    if export.output == Path::new("-") {
        if std::io::stdout().is_terminal() {
            bail!("an archive is not written to a terminal; say --output FILE, or send it on by a pipe");
        }
        return write(registry, &chosen, std::io::stdout().lock()).await?.flush().context("standard output");
    }
    let shown = || export.output.display().to_string();
    let dir = export.output.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let aside = tempfile::NamedTempFile::new_in(dir).with_context(shown)?;
    let file = write(registry, &chosen, aside).await.with_context(shown)?;
    file.as_file().sync_all().with_context(shown)?;
    open_to_others(&file).with_context(shown)?;
    let bytes = file.as_file().metadata().map_or(0, |m| m.len());
    file.persist(&export.output).map_err(|e| e.error).with_context(shown)?;
    for image in chosen {
        output::line(&format!("image \"{}\" exported", image.title()));
    }
    output::line(&format!("{}: {}", shown(), size(bytes)));
    Ok(())
}

/// Files are made for this user alone; an archive has nothing to hide.
fn open_to_others(file: &tempfile::NamedTempFile) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))
}

async fn write<W: Write>(registry: &Registry, images: &[&Listed], out: W) -> anyhow::Result<W> {
    let mut writer = Writer::new(out)?;
    for image in images {
        output::progress(&format!("exporting {} ({})", image.title(), size(image.size)));
        let written = put(registry, image, &mut writer).await.with_context(|| format!("image {}", image.title()));
        output::progress_done();
        written?;
    }
    writer.finish()
}

async fn put<W: Write>(registry: &Registry, image: &Listed, writer: &mut Writer<W>) -> anyhow::Result<()> {
    let digest = Digest::new(&*image.digest)?;
    let bytes = registry.manifest(image.repository(), &image.digest).await?;
    let manifest: Manifest = serde_json::from_slice(&bytes).context("the manifest is not understood")?;
    for part in &manifest.manifests {
        // An index is one level deep.
        let Some(bytes) = registry.part(image.repository(), part.digest.as_str()).await? else { continue };
        let manifest: Manifest = serde_json::from_slice(&bytes).context("the manifest is not understood")?;
        put_blobs(registry, image, &manifest, writer).await?;
        put_once(writer, &part.digest, &bytes)?;
    }
    put_blobs(registry, image, &manifest, writer).await?;
    put_once(writer, &digest, &bytes)?;
    let mut annotations = BTreeMap::new();
    if let Some(reference) = image.name.as_deref().and_then(|name| name.parse::<Reference>().ok()) {
        annotations.insert(REF_NAME, reference.familiar());
        annotations.insert(FULL_NAME, reference.to_string());
    }
    writer.image(&image.media_type, &digest, bytes.len(), &annotations);
    Ok(())
}

async fn put_blobs<W: Write>(
    registry: &Registry,
    image: &Listed,
    manifest: &Manifest,
    writer: &mut Writer<W>,
) -> anyhow::Result<()> {
    for blob in manifest.blobs() {
        if !writer.has(&blob.digest) {
            let bytes = registry.blob(image.repository(), blob.digest.as_str()).await?;
            writer.blob(&blob.digest, &bytes)?;
        }
    }
    Ok(())
}

fn put_once<W: Write>(writer: &mut Writer<W>, digest: &Digest, bytes: &[u8]) -> anyhow::Result<()> {
    if writer.has(digest) { Ok(()) } else { writer.blob(digest, bytes) }
}
