//! The local image store: an OCI image layout on disk, which is also a registry that others push to.
//!
//! Invariant: a name is in the index only when its manifest and all that it refers to are on disk and have the
//! digests they claim. A look-up does no I/O: what a pod needs to know of an image is worked out when it arrives.

mod entry;
pub(crate) mod garbage;
mod layout;
mod manifest;
mod name;
pub mod pull;
mod registry;
mod upload;
mod uses;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coracle_api::clock;
use coracle_api::names::{Digest, NamespacedName};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

pub use coracle_wasm::{Description, describe};
pub use entry::Origin;
pub use garbage::Policy;
pub use layout::LayoutError;
pub use manifest::{MANIFEST_BYTES_MAX, WASM_LAYER_TYPES};
pub use name::{InvalidReference, Pick, Reference};

use entry::Entry;
use layout::{Arrival, Layout, Removed};
use upload::Uploads;
use uses::Uses;

/// An image as a container starts from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its manifest.
    pub digest: Digest,
    /// What status shows as `imageID`: the repository and the digest.
    pub id: String,
    /// The digest of the WebAssembly layer.
    pub layer: Digest,
    /// The file that holds the layer.
    pub path: PathBuf,
    /// The layer's size in bytes.
    pub size: u64,
    /// Whether it came from a registry, which may have another one by now.
    pub was_pulled: bool,
}

/// Why a name gives no image to start from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// Nothing of this name was pushed.
    #[error("image {name:?} is not in the local image store; push it with: coracle image push {file}.wasm {name}")]
    NotFound {
        /// As the pod wrote it.
        name: String,
        /// What the file may be called.
        file: String,
    },
    /// The image is there, but holds no WebAssembly.
    #[error("image {name:?} cannot run here: {why}")]
    NotWasm {
        /// As the pod wrote it.
        name: String,
        /// What was found and what is missing.
        why: String,
    },
}

impl Missing {
    /// There is no image of this name.
    #[must_use]
    pub fn not_found(reference: &Reference) -> Self {
        Self::NotFound { name: reference.familiar(), file: reference.base_name().to_owned() }
    }
}

/// What `coracle image list` and the node's status show of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name; nothing if it is known by its digest only.
    pub reference: Option<Reference>,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The media type of its manifest.
    pub media_type: String,
    /// The size of all its blobs in bytes.
    pub size: u64,
    /// How it came here.
    pub origin: Origin,
    /// When it came here.
    pub arrived: Timestamp,
    /// When it was made, if it says so.
    pub created: Option<Timestamp>,
    /// When a container last started from it, or ended; at the latest when it arrived.
    pub last_used: Timestamp,
    /// The pods of this node that use it.
    pub pods: Vec<NamespacedName>,
}

/// The local image store.
#[derive(Debug, Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Mutex<Layout>,
    blobs: PathBuf,
    uploads: Uploads,
    uses: Mutex<Uses>,
    arrivals: watch::Sender<u64>,
    removals: watch::Sender<u64>,
}

impl ImageStore {
    /// Opens the store in `dir`, making it if there is none. Sweeps what an interrupted push left behind.
    ///
    /// # Errors
    /// [`LayoutError`] if the directory cannot be written, or holds something else.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, LayoutError> {
        let dir = dir.as_ref();
        let layout = Layout::open(dir, clock::now())?;
        let uploads = Uploads::open(&dir.join("uploads"))
            .map_err(|source| LayoutError::Write { path: dir.join("uploads"), source })?;
        let inner = Inner {
            blobs: layout.blobs().to_owned(),
            layout: Mutex::new(layout),
            uploads,
            uses: Mutex::default(),
            arrivals: watch::Sender::new(0),
            removals: watch::Sender::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The image behind `reference`.
    ///
    /// # Errors
    /// [`Missing`] if there is none, or if it holds no WebAssembly.
    pub fn find(&self, reference: &Reference) -> Result<Image, Missing> {
        let layout = self.layout();
        let entry = layout.find(reference).ok_or_else(|| Missing::not_found(reference))?;
        match &entry.content {
            Ok(content) => Ok(Image {
                digest: entry.digest.clone(),
                id: format!("{}@{}", reference.repository(), entry.digest),
                layer: content.layer.clone(),
                path: layout.blob_path(&content.layer),
                size: content.layer_size,
                was_pulled: entry.origin == Origin::Pulled,
            }),
            Err(why) => Err(Missing::NotWasm { name: reference.familiar(), why: why.clone() }),
        }
    }

    /// All images, but for those that are only a part of another.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let (layout, uses) = (self.layout(), self.uses());
        let tagged = |r: &Option<Reference>| r.as_ref().is_some_and(|r| matches!(r.pick(), Pick::Tag(_)));
        let shown = layout.entries().iter().filter(|e| tagged(&e.reference) || !layout.is_part(&e.digest));
        shown.map(|e| listed(&layout, &uses, e)).collect()
    }

    /// The layers of WebAssembly that images here have.
    #[must_use]
    pub fn layers(&self) -> BTreeSet<Digest> {
        self.layout().entries().iter().filter_map(|e| Some(e.content.as_ref().ok()?.layer.clone())).collect()
    }

    /// A node runs here: until it has told its pods, nothing counts as unused.
    pub fn expect_pods(&self) {
        self.uses().expect();
    }

    /// The node has told all the pods that it has.
    pub fn pods_are_told(&self) {
        self.uses().are_told();
    }

    /// Takes note of a pod of this node, as it is now: what it names is in use.
    pub fn pod_is(&self, pod: &Pod) {
        self.uses().note(pod);
    }

    /// A pod is gone: what it used was used until now.
    pub fn pod_is_gone(&self, uid: &str) {
        let used = self.uses().forget(uid);
        let (mut layout, now) = (self.layout(), clock::now());
        for reference in used {
            if let Some(digest) = layout.find(&reference).map(|e| e.digest.clone()) {
                layout.note_use(&digest, now);
            }
        }
    }

    /// Changes whenever an image arrives: what lets a waiting container try again at once.
    #[must_use]
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.inner.arrivals.subscribe()
    }

    /// Changes whenever an image goes: what is kept for it elsewhere can go too.
    #[must_use]
    pub fn removals(&self) -> watch::Receiver<u64> {
        self.inner.removals.subscribe()
    }

    /// Puts a manifest whose blobs are all here, and says so to those who wait for it. It writes to the disk.
    fn place(&self, arrival: Arrival<'_>) -> Result<(), LayoutError> {
        let replaced = self.layout().put(arrival)?;
        self.inner.arrivals.send_modify(|n| *n += 1);
        if replaced.bytes > 0 {
            self.inner.removals.send_modify(|n| *n += 1);
        }
        Ok(())
    }

    /// Takes images out, and says so to those who keep something for them. It writes to the disk.
    fn take_out(&self, how: impl FnOnce(&mut Layout) -> Result<Removed, LayoutError>) -> Result<Removed, LayoutError> {
        let removed = how(&mut self.layout())?;
        if !removed.entries.is_empty() {
            self.inner.removals.send_modify(|n| *n += 1);
        }
        Ok(removed)
    }

    /// Lock order: the layout first, then the uses.
    fn layout(&self) -> MutexGuard<'_, Layout> {
        self.inner.layout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.inner.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.blobs.join(digest.hex())
    }
}

fn listed(layout: &Layout, uses: &Uses, entry: &Entry) -> Listed {
    Listed {
        reference: entry.reference.clone(),
        digest: entry.digest.clone(),
        media_type: entry.media_type.clone(),
        size: entry.total_size(),
        origin: entry.origin,
        arrived: entry.arrived,
        created: entry.created,
        last_used: layout.last_used(entry),
        pods: uses.of(entry.reference.as_ref(), &entry.digest).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests;
