//! `coracle image push`: a WebAssembly file becomes an image of one layer in the server's store.
//!
//! A name with a registry's host is a name like any other: the image is kept here under it, and pods find it without
//! asking that registry.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use coracle_api::limits::IMAGE_LAYER_BYTES_MAX;

use super::registry::{ImageName, Registry};
use super::size;
use crate::output;

/// The first four bytes of every WebAssembly file.
const WASM_MAGIC: &[u8] = b"\0asm";

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// A component, or a core module of WASI preview 1; - reads standard input
    file: PathBuf,
    /// The image's name: hello, hello:1, team/hello:1.2
    name: String,
}

pub(super) async fn run(registry: &Registry, push: &Push) -> anyhow::Result<()> {
    let name: ImageName = push.name.parse()?;
    let wasm = read_wasm(&push.file)?;
    output::progress(&format!("pushing {name} ({})", size(wasm.len() as u64)));
    let digest = registry.push(&name, wasm).await.with_context(|| format!("image {name} was not pushed"));
    output::progress_done();
    output::line(&format!("{name}: digest: {}", digest?));
    Ok(())
}

/// Reads a file that has to be WebAssembly; `-` is standard input.
pub(in crate::verbs) fn read_wasm(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    // One byte more than is allowed tells that there is more.
    let most = IMAGE_LAYER_BYTES_MAX as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes).context("standard input")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| shown.to_string())?;
        file.take(most).read_to_end(&mut bytes).with_context(|| shown.to_string())?;
    }
    if bytes.len() > IMAGE_LAYER_BYTES_MAX {
        bail!("{shown} is too large; an image may have {}", size(IMAGE_LAYER_BYTES_MAX as u64));
    }
    if !bytes.starts_with(WASM_MAGIC) {
        bail!(
            "{shown} is not WebAssembly ({}); build it for a wasm target, for example: cargo build --target wasm32-wasip2",
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
}
