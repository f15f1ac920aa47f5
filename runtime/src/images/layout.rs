//! The OCI image layout on disk: `oci-layout`, `index.json` and `blobs/sha256/…`.
//!
//! Invariant: every file appears whole, by rename; `index.json` is written last on the way in and first on the way
//! out, so that a crash leaves at most unreferenced blobs, which the next opening sweeps.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coracle_api::names::Digest;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::manifest::{Content, Descriptor, Manifest};
use super::name::{Pick, Reference};

/// How long a blob may wait for the manifest that will refer to it, before a removal sweeps it away:
/// time for a slow client to push the rest of its image.
const BLOB_WAITS_MAX: Duration = Duration::from_secs(3600);

const NAME: &str = "org.opencontainers.image.ref.name";

/// Why the store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// A file could not be read.
    #[error("cannot read {path:?} of the image store")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path:?} of the image store")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `index.json` is not what we wrote.
    #[error("{path:?} is not an OCI image index; move it away, and push the images again")]
    Index {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// One manifest in the index: an image by name, or one known by its digest only.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// As it was pushed; nothing if by digest only.
    pub(super) name: Option<String>,
    reference: Option<Reference>,
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) size: u64,
    blobs: BTreeMap<Digest, u64>,
    pub(super) content: Result<Content, String>,
}

impl Entry {
    /// The bytes of all it refers to.
    pub(super) fn content_size(&self) -> u64 {
        self.blobs.values().sum()
    }
}

/// The layout and its index.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
    blobs: PathBuf,
    entries: Vec<Entry>,
    fresh: BTreeMap<Digest, Instant>,
}

impl Layout {
    pub(super) fn open(root: &Path) -> Result<Self, LayoutError> {
        let blobs = root.join("blobs").join("sha256");
        std::fs::create_dir_all(&blobs).map_err(|source| LayoutError::Write { path: blobs.clone(), source })?;
        let mut layout = Self { root: root.to_owned(), blobs, entries: Vec::new(), fresh: BTreeMap::new() };
        layout.replace(&root.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for (descriptor, name) in layout.read_index()? {
            match layout.entry(&descriptor, name) {
                Ok(entry) => layout.entries.push(entry),
                Err(error) => tracing::warn!(%error, digest = descriptor.digest, "an image in the index is incomplete"),
            }
        }
        layout.sweep();
        Ok(layout)
    }

    pub(super) fn blobs(&self) -> &Path {
        &self.blobs
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn find(&self, wanted: &Reference) -> Option<&Entry> {
        self.entries.iter().find(|entry| match wanted.pick() {
            Pick::Digest(digest) => entry.digest == *digest,
            Pick::Tag(_) => {
                let same = |r: &Reference| r.repository() == wanted.repository() && r.pick() == wanted.pick();
                entry.reference.as_ref().is_some_and(same)
            }
        })
    }

    /// A blob is whole and in its place, waiting for a manifest.
    pub(super) fn blob_arrived(&mut self, digest: Digest) {
        self.fresh.insert(digest, Instant::now());
    }

    /// Puts a manifest whose blobs are all here; the name, if it has one, moves to it.
    pub(super) fn put(&mut self, reference: &Reference, digest: &Digest, bytes: &[u8]) -> Result<(), LayoutError> {
        self.replace(&self.blob_path(digest), bytes)?;
        let manifest = Manifest::parse(bytes).ok();
        let descriptor = Descriptor {
            media_type: manifest.as_ref().map_or("", Manifest::media_type).to_owned(),
            digest: digest.to_string(),
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        };
        let name = match reference.pick() {
            Pick::Tag(_) => Some(reference.familiar()),
            Pick::Digest(_) => None,
        };
        let entry = self.entry(&descriptor, name).map_err(|error| LayoutError::Read {
            path: self.blob_path(digest),
            source: std::io::Error::other(error),
        })?;
        self.entries.retain(|e| match &entry.reference {
            Some(moved) => e.reference.as_ref().is_none_or(|r| r.to_string() != moved.to_string()),
            None => e.reference.is_some() || e.digest != entry.digest,
        });
        for blob in entry.blobs.keys() {
            self.fresh.remove(blob);
        }
        self.entries.push(entry);
        self.write_index()?;
        self.sweep();
        Ok(())
    }

    /// Takes away a name, or by digest every name of the repository that has it. Tells whether anything went.
    pub(super) fn remove(&mut self, wanted: &Reference) -> Result<bool, LayoutError> {
        let before = self.entries.len();
        self.entries.retain(|entry| {
            let same_repository = entry.reference.as_ref().is_none_or(|r| r.repository() == wanted.repository());
            match wanted.pick() {
                Pick::Digest(digest) => !(same_repository && entry.digest == *digest),
                Pick::Tag(_) => entry.reference.as_ref().is_none_or(|r| r.to_string() != wanted.to_string()),
            }
        });
        let went = self.entries.len() != before;
        if went {
            self.write_index()?;
            self.sweep();
        }
        Ok(went)
    }

    /// Whether an image needs the blob.
    pub(super) fn is_referenced(&self, digest: &Digest) -> bool {
        self.entries.iter().any(|e| e.digest == *digest || e.blobs.contains_key(digest))
    }

    /// Deletes a blob that no image needs.
    pub(super) fn delete_blob(&mut self, digest: &Digest) -> std::io::Result<()> {
        self.fresh.remove(digest);
        std::fs::remove_file(self.blob_path(digest))
    }

    fn entry(&self, descriptor: &Descriptor, name: Option<String>) -> Result<Entry, String> {
        let digest = Digest::new(&*descriptor.digest).map_err(|e| e.to_string())?;
        let manifest = self.read_manifest(descriptor)?;
        let mut blobs = BTreeMap::new();
        self.collect(&manifest, &mut blobs);
        Ok(Entry {
            reference: name
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|e: super::InvalidReference| e.to_string())?,
            name,
            digest,
            media_type: descriptor.media_type.clone(),
            size: descriptor.size,
            content: manifest.content(&|nested| self.read_manifest(nested)),
            blobs,
        })
    }

    fn read_manifest(&self, descriptor: &Descriptor) -> Result<Manifest, String> {
        let digest = Digest::new(&*descriptor.digest).map_err(|e| e.to_string())?;
        let bytes = std::fs::read(self.blob_path(&digest)).map_err(|e| format!("cannot read {digest}: {e}"))?;
        Manifest::parse(&bytes)
    }

    /// An index is one level deep: what its manifests refer to belongs to it too.
    fn collect(&self, manifest: &Manifest, blobs: &mut BTreeMap<Digest, u64>) {
        let mut take = |m: &Manifest| {
            blobs.extend(m.references().filter_map(|d| Some((Digest::new(&*d.digest).ok()?, d.size))));
        };
        take(manifest);
        manifest.manifests().iter().filter_map(|d| self.read_manifest(d).ok()).for_each(|nested| take(&nested));
    }

    /// Deletes blobs that nothing refers to, but for those that still wait for their manifest.
    fn sweep(&mut self) {
        self.fresh.retain(|_, since| since.elapsed() < BLOB_WAITS_MAX);
        let keep: BTreeSet<&str> = self
            .entries
            .iter()
            .flat_map(|e| e.blobs.keys().chain([&e.digest]))
            .chain(self.fresh.keys())
            .map(Digest::hex)
            .collect();
        let Ok(files) = std::fs::read_dir(&self.blobs) else { return };
        for file in files.flatten().filter(|f| f.file_name().to_str().is_none_or(|name| !keep.contains(name))) {
            if let Err(error) = std::fs::remove_file(file.path()) {
                tracing::warn!(%error, path = ?file.path(), "cannot delete a blob that no image needs");
            }
        }
    }

    fn read_index(&self) -> Result<Vec<(Descriptor, Option<String>)>, LayoutError> {
        let path = self.root.join("index.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(LayoutError::Read { path, source }),
        };
        let fault = |source| LayoutError::Index { path: path.clone(), source };
        let index: Value = serde_json::from_slice(&bytes).map_err(fault)?;
        let manifests = index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
        let read = |m: Value| {
            let name = m.pointer(&format!("/annotations/{NAME}")).and_then(Value::as_str).map(str::to_owned);
            serde_json::from_value(m).map(|d| (d, name)).map_err(fault)
        };
        manifests.into_iter().map(read).collect()
    }

    fn write_index(&self) -> Result<(), LayoutError> {
        let manifests: Vec<Value> = self.entries.iter().map(index_entry).collect();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        });
        self.replace(&self.root.join("index.json"), index.to_string().as_bytes())
    }

    /// Writes a file so that it is there whole or not at all, even after a crash.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
        let temporary = self.root.join(".new");
        let write = || {
            let mut file = std::fs::File::create(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)
        };
        write().map_err(|source| LayoutError::Write { path: path.to_owned(), source })
    }
}

fn index_entry(entry: &Entry) -> Value {
    let mut descriptor = json!({ "mediaType": entry.media_type, "digest": entry.digest.as_str(), "size": entry.size });
    if let (Some(name), Some(map)) = (&entry.name, descriptor.as_object_mut()) {
        map.insert("annotations".to_owned(), json!({ NAME: name }));
    }
    descriptor
}
