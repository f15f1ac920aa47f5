//! The OCI image layout on disk: `oci-layout`, `index.json` and `blobs/sha256/…`.
//!
//! Invariant: every file appears whole, by rename; `index.json` is written last on the way in and first on the way
//! out, so that a crash leaves at most unreferenced blobs, which the next opening sweeps.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coracle_api::names::Digest;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::entry::{Entry, Line, Origin, keep_last_used, last_used};
use super::manifest::{Descriptor, Manifest};
use super::name::{Pick, Reference};

/// How long a blob may wait for the manifest that will refer to it, before a removal sweeps it away:
/// time for a slow client to push the rest of its image.
const BLOB_WAITS_MAX: Duration = Duration::from_secs(3600);

/// An image that is in use all the time is noted as used no more often than this: it is a write to the disk.
const USE_IS_NOTED_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// A config larger than this is not looked into for the time at which its image was made.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

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
    /// A blob went away while its image was on its way.
    #[error("{digest} was removed while an image that needs it was on its way; push or pull the image again")]
    Incomplete {
        /// The blob.
        digest: Digest,
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

/// A manifest on its way into the layout; all that it refers to is there already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) reference: &'a Reference,
    pub(super) digest: &'a Digest,
    pub(super) bytes: &'a [u8],
    /// What it was said to be, should the manifest not say it itself.
    pub(super) media_type: Option<&'a str>,
    pub(super) origin: Origin,
    pub(super) now: Timestamp,
}

/// What was taken out of the layout.
#[derive(Debug, Default)]
pub(super) struct Removed {
    pub(super) entries: Vec<Entry>,
    /// How many bytes of the disk it has given back.
    pub(super) bytes: u64,
}

/// The layout and its index.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
    blobs: PathBuf,
    entries: Vec<Entry>,
    used: BTreeMap<Digest, Timestamp>,
    fresh: BTreeMap<Digest, Instant>,
}

impl Layout {
    pub(super) fn open(root: &Path, now: Timestamp) -> Result<Self, LayoutError> {
        let blobs = root.join("blobs").join("sha256");
        std::fs::create_dir_all(&blobs).map_err(|source| LayoutError::Write { path: blobs.clone(), source })?;
        let mut layout =
            Self { root: root.to_owned(), blobs, entries: Vec::new(), used: BTreeMap::new(), fresh: BTreeMap::new() };
        layout.replace(&root.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for line in layout.read_index()? {
            let digest = line.descriptor.digest.clone();
            match layout.entry(line, now) {
                Ok(entry) => {
                    let used = last_used(&layout.blob_path(&entry.digest)).unwrap_or(now);
                    layout.used.insert(entry.digest.clone(), used);
                    layout.entries.push(entry);
                }
                Err(error) => tracing::warn!(%error, digest, "an image in the index is incomplete"),
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
            Pick::Tag(_) => entry.reference.as_ref().is_some_and(|r| r.is_same(wanted)),
        })
    }

    /// A blob is whole and in its place, waiting for a manifest.
    pub(super) fn blob_arrived(&mut self, digest: Digest) {
        self.fresh.insert(digest, Instant::now());
    }

    /// Puts a manifest whose blobs are all here; its name moves to it. Returns what gave way to it.
    pub(super) fn put(&mut self, arrival: Arrival<'_>) -> Result<Removed, LayoutError> {
        let Arrival { reference, digest, bytes, media_type, origin, now } = arrival;
        self.replace(&self.blob_path(digest), bytes)?;
        let own = Manifest::parse(bytes).ok().map(|m| m.media_type(media_type).to_owned());
        let descriptor = Descriptor {
            media_type: own.unwrap_or_default(),
            digest: digest.to_string(),
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            platform: None,
        };
        let line = Line { descriptor, name: Some(reference.familiar()), origin, arrived: Some(now) };
        let entry = self.entry(line, now).map_err(|error| LayoutError::Read {
            path: self.blob_path(digest),
            source: std::io::Error::other(error),
        })?;
        // Whoever brings it has looked, but not under the lock. Of an index, other platforms may be missing.
        if let Ok(content) = &entry.content
            && !self.blob_path(&content.layer).exists()
        {
            return Err(LayoutError::Incomplete { digest: content.layer.clone() });
        }
        let (gone, kept) = std::mem::take(&mut self.entries).into_iter().partition(|e| gives_way(e, reference, digest));
        self.entries = kept;
        for blob in entry.blobs.keys() {
            self.fresh.remove(blob);
        }
        self.used.insert(digest.clone(), now);
        self.entries.push(entry);
        if let Err(error) = self.write_index() {
            // What the disk still has, memory has too.
            self.entries.pop();
            self.entries.extend(gone);
            return Err(error);
        }
        Ok(Removed { entries: gone, bytes: self.sweep() })
    }

    /// Takes away a name, or by digest every name of the repository that has it. An index takes its manifests along,
    /// unless they have a tag of their own or belong to another index.
    pub(super) fn remove(&mut self, wanted: &Reference) -> Result<Removed, LayoutError> {
        let is_meant = |entry: &Entry| match (&entry.reference, wanted.pick()) {
            (Some(own), Pick::Tag(_)) => own.is_same(wanted),
            (None, Pick::Tag(_)) => false,
            (own, Pick::Digest(digest)) => {
                let same_repository = own.as_ref().is_none_or(|r| r.repository() == wanted.repository());
                same_repository && entry.digest == *digest
            }
        };
        let (meant, others): (Vec<&Entry>, Vec<&Entry>) = self.entries.iter().partition(|e| is_meant(e));
        let listed =
            |entries: Vec<&Entry>| entries.into_iter().flat_map(|e| e.manifests.clone()).collect::<BTreeSet<_>>();
        let (parts, needed) = (listed(meant), listed(others));
        let is_part = |entry: &Entry| {
            let tagged = entry.reference.as_ref().is_some_and(|r| matches!(r.pick(), Pick::Tag(_)));
            !tagged && parts.contains(&entry.digest) && !needed.contains(&entry.digest)
        };
        self.remove_all(|entry| is_meant(entry) || is_part(entry))
    }

    /// Takes away every entry for which `goes` holds, and the blobs that nothing refers to any more.
    pub(super) fn remove_all(&mut self, goes: impl Fn(&Entry) -> bool) -> Result<Removed, LayoutError> {
        let (gone, kept): (Vec<Entry>, Vec<Entry>) = std::mem::take(&mut self.entries).into_iter().partition(goes);
        self.entries = kept;
        if gone.is_empty() {
            return Ok(Removed::default());
        }
        if let Err(error) = self.write_index() {
            // What the disk still has, memory has too.
            self.entries.extend(gone);
            return Err(error);
        }
        Ok(Removed { entries: gone, bytes: self.sweep() })
    }

    /// Whether an image needs the blob.
    pub(super) fn is_referenced(&self, digest: &Digest) -> bool {
        self.entries.iter().any(|e| e.digest == *digest || e.blobs.contains_key(digest))
    }

    /// Whether it is a manifest of an index, and so a part of another image.
    pub(super) fn is_part(&self, digest: &Digest) -> bool {
        self.entries.iter().any(|e| e.blobs.contains_key(digest))
    }

    /// Whether it is a manifest that an index here lists.
    pub(super) fn is_manifest_of_index(&self, digest: &Digest) -> bool {
        self.entries.iter().any(|e| e.manifests.contains(digest))
    }

    /// How many bytes it would give back to take away every entry for which `goes` holds.
    pub(super) fn bytes_of(&self, goes: impl Fn(&Entry) -> bool) -> u64 {
        let blobs = |e: &Entry| e.blobs.clone().into_iter().chain([(e.digest.clone(), e.size)]).collect::<Vec<_>>();
        let (gone, kept): (Vec<&Entry>, Vec<&Entry>) = self.entries.iter().partition(|e| goes(e));
        let kept: BTreeMap<Digest, u64> = kept.into_iter().flat_map(blobs).collect();
        let gone: BTreeMap<Digest, u64> = gone.into_iter().flat_map(blobs).collect();
        gone.into_iter().filter(|(digest, _)| !kept.contains_key(digest)).map(|(_, size)| size).sum()
    }

    /// Deletes a blob that no image needs.
    pub(super) fn delete_blob(&mut self, digest: &Digest) -> std::io::Result<()> {
        self.fresh.remove(digest);
        std::fs::remove_file(self.blob_path(digest))
    }

    /// When the image was last used: at the latest when it arrived.
    pub(super) fn last_used(&self, entry: &Entry) -> Timestamp {
        self.used.get(&entry.digest).copied().unwrap_or(entry.arrived)
    }

    /// Takes note that an image is used at `now`.
    pub(super) fn note_use(&mut self, digest: &Digest, now: Timestamp) {
        let known = self.used.get(digest);
        if known.is_some_and(|before| now.duration_since(*before) < USE_IS_NOTED_AFTER) {
            return;
        }
        if let Err(error) = keep_last_used(&self.blob_path(digest), now) {
            tracing::debug!(%error, %digest, "it cannot be kept when the image was last used");
        }
        self.used.insert(digest.clone(), now);
    }

    fn entry(&self, line: Line, now: Timestamp) -> Result<Entry, String> {
        let Line { descriptor, name, origin, arrived } = line;
        let digest = Digest::new(&*descriptor.digest).map_err(|e| e.to_string())?;
        let manifest = self.read_manifest(&descriptor)?;
        let mut blobs = BTreeMap::new();
        self.collect(&manifest, &mut blobs);
        let reference: Option<Reference> =
            name.as_deref().map(str::parse).transpose().map_err(|e: super::InvalidReference| e.to_string())?;
        Ok(Entry {
            arrived: arrived.or_else(|| last_used(&self.blob_path(&digest))).unwrap_or(now),
            created: manifest.created().or_else(|| self.config_created(&manifest)),
            subject: manifest.subject().and_then(|s| Digest::new(&*s.digest).ok()),
            artifact_type: manifest.artifact_type().map(str::to_owned),
            annotations: manifest.annotations().clone(),
            manifests: manifest.manifests().iter().filter_map(|d| Digest::new(&*d.digest).ok()).collect(),
            content: manifest.content(&|nested| self.read_manifest(nested)),
            media_type: descriptor.media_type,
            size: descriptor.size,
            reference,
            digest,
            origin,
            blobs,
        })
    }

    /// When the image's config says that it was made.
    fn config_created(&self, manifest: &Manifest) -> Option<Timestamp> {
        let config = manifest.config().filter(|c| c.size <= CONFIG_BYTES_MAX)?;
        let bytes = std::fs::read(self.blob_path(&Digest::new(&*config.digest).ok()?)).ok()?;
        let config: Value = serde_json::from_slice(&bytes).ok()?;
        config.get("created")?.as_str()?.parse().ok()
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

    /// Deletes blobs that nothing refers to, but for those that still wait for their manifest. Returns their size.
    fn sweep(&mut self) -> u64 {
        self.fresh.retain(|_, since| since.elapsed() < BLOB_WAITS_MAX);
        let keep: BTreeSet<&str> = self
            .entries
            .iter()
            .flat_map(|e| e.blobs.keys().chain([&e.digest]))
            .chain(self.fresh.keys())
            .map(Digest::hex)
            .collect();
        let Ok(files) = std::fs::read_dir(&self.blobs) else { return 0 };
        let mut freed: u64 = 0;
        // What is being written has the name that it will have, and an ending.
        let is_kept = |name: &str| keep.contains(name.split('.').next().unwrap_or(name));
        for file in files.flatten().filter(|f| f.file_name().to_str().is_none_or(|name| !is_kept(name))) {
            let size = file.metadata().map_or(0, |m| m.len());
            match std::fs::remove_file(file.path()) {
                Ok(()) => freed = freed.saturating_add(size),
                Err(error) => {
                    tracing::warn!(%error, path = ?file.path(), "cannot delete a blob that no image needs");
                }
            }
        }
        let entries = &self.entries;
        self.used.retain(|digest, _| entries.iter().any(|e| e.digest == *digest));
        freed
    }

    fn read_index(&self) -> Result<Vec<Line>, LayoutError> {
        let path = self.root.join("index.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(LayoutError::Read { path, source }),
        };
        let fault = |source| LayoutError::Index { path: path.clone(), source };
        let index: Value = serde_json::from_slice(&bytes).map_err(fault)?;
        let manifests = index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
        manifests.into_iter().map(|m| Line::read(m).map_err(fault)).collect()
    }

    fn write_index(&self) -> Result<(), LayoutError> {
        let manifests: Vec<Value> = self.entries.iter().map(Entry::to_index).collect();
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

/// Whether an entry goes when `reference` comes to mean `digest`: the name moves, and a digest that has a tag in its
/// repository needs no entry of its own.
fn gives_way(entry: &Entry, reference: &Reference, digest: &Digest) -> bool {
    match &entry.reference {
        None => entry.digest == *digest,
        Some(own) => {
            let untagged = matches!(own.pick(), Pick::Digest(_));
            own.is_same(reference)
                || (untagged && entry.digest == *digest && own.repository() == reference.repository())
        }
    }
}
