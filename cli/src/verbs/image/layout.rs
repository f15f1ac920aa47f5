//! An OCI image layout outside of the store: a tar archive or a directory, read with every digest checked, and written.
//!
//! Invariant: what is read from it has the digest by which it was asked for. Nothing is unpacked: a tar archive is read
//! where it lies, so that a path in it can lead nowhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use coracle_api::limits::IMAGE_LAYER_BYTES_MAX;
use coracle_api::names::Digest;
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::registry::digest_of;

/// The name of an image in an index, in the words of the OCI specification.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The name of an image in an index in full, as containerd and Docker write it.
pub(super) const FULL_NAME: &str = "io.containerd.image.name";

/// The largest index or manifest that is read: what the OCI distribution specification asks registries for.
const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The size of the first header of a tar archive, and where in it the format is named.
const TAR_BLOCK_BYTES: u64 = 512;
const TAR_MAGIC_AT: usize = 257;

/// A blob as an index or a manifest refers to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    #[serde(deserialize_with = "digest")]
    pub(super) digest: Digest,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    Digest::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// An index or a manifest: what it refers to.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) media_type: Option<String>,
    pub(super) config: Option<Descriptor>,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

impl Manifest {
    /// The blobs that are no manifests themselves.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }
}

/// A layout to be read.
#[derive(Debug)]
pub(super) enum Layout {
    /// A tar archive, and where in it each file lies: its first byte and its length.
    Tar(File, BTreeMap<String, (u64, u64)>),
    /// A directory.
    Directory(PathBuf),
}

impl Layout {
    /// Opens the layout at `path`; `-` reads a tar archive from standard input.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            // Read twice, once to check it and once to send it, so it must lie somewhere; the file has no name.
            let mut file = tempfile::tempfile().context("a temporary file cannot be made")?;
            std::io::copy(&mut std::io::stdin().lock(), &mut file).context("standard input")?;
            file.rewind()?;
            return Self::tar(file);
        }
        let shown = || path.display().to_string();
        if std::fs::metadata(path).with_context(shown)?.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        Self::tar(File::open(path).with_context(shown)?).with_context(shown)
    }

    fn tar(mut file: File) -> anyhow::Result<Self> {
        let mut start = Vec::new();
        (&file).take(TAR_BLOCK_BYTES).read_to_end(&mut start)?;
        file.rewind()?;
        match start.as_slice() {
            [] => bail!("it is empty"),
            [0x1f, 0x8b, ..] => return Self::tar(unzipped(file)?),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                bail!("it is compressed; unpack it first, for example: zstd -dc FILE | coracle image import -")
            }
            [0, b'a', b's', b'm', ..] => bail!("it is WebAssembly and no archive; use: coracle image push FILE NAME"),
            block if block.get(TAR_MAGIC_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) => {}
            _ => bail!("it is no tar archive"),
        }
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries().context("it is no tar archive")? {
            let entry = entry.context("it is no whole tar archive")?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let path = entry.path().context("it is no whole tar archive")?;
            let name = path.to_string_lossy().trim_start_matches("./").to_owned();
            files.insert(name, (entry.raw_file_position(), entry.size()));
        }
        Ok(Self::Tar(file, files))
    }

    /// The index: which images are in it.
    pub(super) fn index(&self) -> anyhow::Result<Manifest> {
        let bytes = match self.read("index.json", MANIFEST_BYTES_MAX)? {
            Some(bytes) => bytes,
            None if self.has("manifest.json") => bail!(
                "it is of Docker's older form, without index.json; turn it into an OCI layout first, \
                 for example: skopeo copy docker-archive:FILE oci-archive:NEW.tar"
            ),
            None => bail!("it is no OCI image layout: there is no index.json in it"),
        };
        serde_json::from_slice(&bytes).context("index.json")
    }

    /// A manifest, and its bytes.
    pub(super) fn manifest(&self, digest: &Digest) -> anyhow::Result<(Manifest, Vec<u8>)> {
        let bytes = self.checked(digest, MANIFEST_BYTES_MAX)?;
        let manifest = serde_json::from_slice(&bytes).with_context(|| format!("manifest {digest}"))?;
        Ok((manifest, bytes))
    }

    /// A blob, of which it was checked that it is what it claims to be.
    pub(super) fn blob(&self, digest: &Digest) -> anyhow::Result<Vec<u8>> {
        self.checked(digest, IMAGE_LAYER_BYTES_MAX as u64)
    }

    /// Whether there is a blob of this digest; whether it is what it claims to be is told when it is read.
    pub(super) fn has_blob(&self, digest: &Digest) -> bool {
        self.has(&blob_path(digest))
    }

    fn checked(&self, digest: &Digest, most: u64) -> anyhow::Result<Vec<u8>> {
        let Some(bytes) = self.read(&blob_path(digest), most)? else {
            bail!("it is not whole: {digest} is missing");
        };
        let actual = digest_of(&bytes)?;
        if actual != *digest {
            bail!("it is broken: what should be {digest} is {actual}");
        }
        Ok(bytes)
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Tar(_, files) => files.contains_key(name),
            Self::Directory(dir) => dir.join(name).exists(),
        }
    }

    fn read(&self, name: &str, most: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let too_large = |size: u64| format!("{name} has {size} bytes; at most {most} are taken");
        let mut bytes = Vec::new();
        match self {
            Self::Tar(file, files) => {
                let Some((first, length)) = files.get(name).copied() else { return Ok(None) };
                if length > most {
                    bail!(too_large(length));
                }
                let mut file = file;
                file.seek(SeekFrom::Start(first)).with_context(|| name.to_owned())?;
                file.take(length).read_to_end(&mut bytes).with_context(|| name.to_owned())?;
            }
            Self::Directory(dir) => {
                let file = match File::open(dir.join(name)) {
                    Ok(file) => file,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error).with_context(|| dir.join(name).display().to_string()),
                };
                let length = file.metadata()?.len();
                if length > most {
                    bail!(too_large(length));
                }
                file.take(most).read_to_end(&mut bytes).with_context(|| name.to_owned())?;
            }
        }
        Ok(Some(bytes))
    }
}

/// A layout being written, as a tar archive. The same images give the same bytes.
pub(super) struct Writer<W: Write> {
    tar: tar::Builder<W>,
    written: Vec<Digest>,
    index: Vec<Value>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(out: W) -> anyhow::Result<Self> {
        let mut writer = Self { tar: tar::Builder::new(out), written: Vec::new(), index: Vec::new() };
        writer.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(writer)
    }

    /// Whether a blob is in it already.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.written.contains(digest)
    }

    /// Puts a blob into it.
    pub(super) fn blob(&mut self, digest: &Digest, bytes: &[u8]) -> anyhow::Result<()> {
        self.file(&blob_path(digest), bytes)?;
        self.written.push(digest.clone());
        Ok(())
    }

    /// Names an image whose blobs are in it.
    pub(super) fn image(
        &mut self,
        media_type: &str,
        digest: &Digest,
        size: usize,
        annotations: &BTreeMap<&str, String>,
    ) {
        self.index.push(json!({
            "mediaType": media_type, "digest": digest.as_str(), "size": size, "annotations": annotations,
        }));
    }

    /// Writes the index, and the end of the archive.
    pub(super) fn finish(mut self) -> anyhow::Result<W> {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": self.index,
        });
        self.file("index.json", index.to_string().as_bytes())?;
        self.tar.into_inner().context("the archive cannot be written")
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // The times of an image are none of its archive's.
        header.set_mtime(0);
        self.tar.append_data(&mut header, name, bytes).context("the archive cannot be written")
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// What a gzip archive holds, in a file without a name: each blob is read where it lies, which a compressed one has not.
fn unzipped(file: File) -> anyhow::Result<File> {
    let mut whole = tempfile::tempfile().context("a temporary file cannot be made")?;
    std::io::copy(&mut MultiGzDecoder::new(file), &mut whole).context("it is no whole gzip archive")?;
    whole.rewind()?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> (Vec<u8>, Digest) {
        let mut writer = Writer::new(Vec::new()).unwrap();
        let digest = digest_of(b"{}").unwrap();
        writer.blob(&digest, b"{}").unwrap();
        writer.image("m", &digest, 2, &BTreeMap::from([(REF_NAME, "hello:1".to_owned())]));
        (writer.finish().unwrap(), digest)
    }

    fn open(bytes: &[u8]) -> anyhow::Result<Layout> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Layout::open(file.path())
    }

    #[test]
    fn what_was_written_is_read_back_and_is_the_same_each_time() {
        let (bytes, digest) = written();
        assert_eq!(bytes, written().0);
        let layout = open(&bytes).unwrap();
        let index = layout.index().unwrap();
        assert_eq!(index.manifests.first().unwrap().annotations.get(REF_NAME).unwrap(), "hello:1");
        assert_eq!(layout.manifest(&digest).unwrap().1, b"{}");
    }

    #[test]
    fn a_layout_that_is_broken_says_where() {
        let (bytes, digest) = written();
        let place = bytes.windows(2).position(|w| w == b"{}").unwrap();
        let mut broken = bytes.clone();
        broken.splice(place..place + 2, *b"[]");
        let error = open(&broken).unwrap().blob(&digest).unwrap_err().to_string();
        assert!(error.starts_with(&format!("it is broken: what should be {digest} is sha256:")), "{error}");
        let none = digest_of(b"none").unwrap();
        assert!(open(&bytes).unwrap().blob(&none).unwrap_err().to_string().contains("is missing"));
        for (bytes, said) in [
            (&b""[..], "it is empty"),
            (b"\x1f\x8b\x08\x00", "no whole gzip archive"),
            (b"\0asm\x01\0\0\0", "coracle image push"),
            (&[b'x'; 2000], "it is no tar archive"),
            (bytes.get(..700).unwrap(), "it is no whole tar archive"),
        ] {
            let error = format!("{:#}", open(bytes).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
        let mut other = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        other.append_data(&mut header, "x", &b""[..]).unwrap();
        let error = open(&other.into_inner().unwrap()).unwrap().index().unwrap_err().to_string();
        assert!(error.contains("there is no index.json"), "{error}");
    }
}
