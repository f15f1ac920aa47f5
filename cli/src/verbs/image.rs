//! `coracle image push|list|rm`: images in the server's store, by the OCI distribution API that it speaks at `/v2/`.
//!
//! The connection and its credentials are those of the kubeconfig in force, so it works from anywhere.

mod registry;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use coracle_api::limits::IMAGE_LAYER_BYTES_MAX;

use crate::{connect, output, table};
use registry::{ImageName, Registry};

/// The first four bytes of every WebAssembly file.
const WASM_MAGIC: &[u8] = b"\0asm";

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Put a WebAssembly file into the store under a name
    Push(Push),
    /// Show the images in the store
    #[command(visible_alias = "ls")]
    List,
    /// Take images out of the store
    #[command(name = "rm", visible_alias = "remove")]
    Remove(Remove),
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// A component, or a core module of WASI preview 1
    file: PathBuf,
    /// The image's name: hello, hello:1, team/hello:1.2
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Names of images
    #[arg(required = true)]
    names: Vec<String>,
}

/// Runs one of the image verbs.
pub(crate) async fn run(command: ImageCommand) -> anyhow::Result<()> {
    let registry = Registry::new(connect::client().await?);
    match command {
        ImageCommand::Push(push) => push_file(&registry, &push).await,
        ImageCommand::List => list(&registry).await,
        ImageCommand::Remove(remove) => {
            for name in &remove.names {
                let name: ImageName = name.parse()?;
                registry.remove(&name).await.with_context(|| format!("image {name}"))?;
                output::line(&format!("image \"{name}\" deleted"));
            }
            Ok(())
        }
    }
}

async fn push_file(registry: &Registry, push: &Push) -> anyhow::Result<()> {
    let name: ImageName = push.name.parse()?;
    let wasm = read_wasm(&push.file)?;
    output::progress(&format!("pushing {name} ({})", size(wasm.len() as u64)));
    let digest = registry.push(&name, wasm).await.with_context(|| format!("image {name} was not pushed"));
    output::progress_done();
    output::line(&format!("{name}: digest: {}", digest?));
    Ok(())
}

fn read_wasm(path: &Path) -> anyhow::Result<Vec<u8>> {
    let length = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
    if length > IMAGE_LAYER_BYTES_MAX as u64 {
        bail!("{} has {}; an image may have {}", path.display(), size(length), size(IMAGE_LAYER_BYTES_MAX as u64));
    }
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    if !bytes.starts_with(WASM_MAGIC) {
        bail!(
            "{} is not WebAssembly ({}); build it for a wasm target, for example: cargo build --target wasm32-wasip2",
            path.display(),
            found(&bytes)
        );
    }
    Ok(bytes)
}

/// What a file that is not WebAssembly seems to be.
fn found(bytes: &[u8]) -> &'static str {
    match bytes {
        [] => "it is empty",
        [0x7f, b'E', b'L', b'F', ..] => "it is an ELF program of this machine",
        [0xcf, 0xfa, 0xed, 0xfe, ..] => "it is a Mach-O program of this machine",
        [b'M', b'Z', ..] => "it is a Windows program",
        [b'#', b'!', ..] => "it is a script",
        [b'(', ..] => "it looks like WebAssembly text; turn it into a binary first",
        [0x1f, 0x8b, ..] => "it is a gzip archive",
        _ => "it does not start with \\0asm",
    }
}

async fn list(registry: &Registry) -> anyhow::Result<()> {
    let mut rows = vec![["REPOSITORY", "TAG", "DIGEST", "SIZE"].map(str::to_owned).to_vec()];
    for image in registry.list().await? {
        let short = image.digest.get(..19).unwrap_or(&image.digest).to_owned();
        rows.push(vec![image.name.repository, image.name.tag, short, size(image.bytes)]);
    }
    for line in table::set(&rows) {
        output::line(&line);
    }
    Ok(())
}

/// Bytes for people: `14.2MB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes}B"),
        1_000..1_000_000 => format!("{}.{}kB", bytes / 1_000, bytes % 1_000 / 100),
        _ => format!("{}.{}MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_wasm_is_named_for_what_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\x7fELF....").unwrap();
        let error = read_wasm(file.path()).unwrap_err().to_string();
        assert!(error.contains("ELF program") && error.contains("wasm32-wasip2"), "{error}");
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!([size(5), size(1_500), size(14_250_000)], ["5B", "1.5kB", "14.2MB"]);
    }
}
