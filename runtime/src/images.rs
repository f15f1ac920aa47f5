//! The local image store: an OCI image layout on disk, which is also a registry that others push to.
//!
//! Invariant: a name is in the index only when its manifest and all that it refers to are on disk and have the
//! digests they claim. A look-up does no I/O: what a pod needs to know of an image is worked out when it arrives.

mod layout;
mod manifest;
mod name;
mod registry;
mod upload;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use coracle_api::names::Digest;
use tokio::sync::watch;

pub use layout::LayoutError;
pub use manifest::{MANIFEST_BYTES_MAX, WASM_LAYER_TYPES};
pub use name::{InvalidReference, Reference};

use layout::{Entry, Layout};
use upload::Uploads;

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

/// What `coracle image list` and the node's status show of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name it was pushed by.
    pub name: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The size of all its blobs in bytes.
    pub size: u64,
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
    arrivals: watch::Sender<u64>,
}

impl ImageStore {
    /// Opens the store in `dir`, making it if there is none. Sweeps what an interrupted push left behind.
    ///
    /// # Errors
    /// [`LayoutError`] if the directory cannot be written, or holds something else.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, LayoutError> {
        let dir = dir.as_ref();
        let layout = Layout::open(dir)?;
        let uploads = Uploads::open(&dir.join("uploads"))
            .map_err(|source| LayoutError::Write { path: dir.join("uploads"), source })?;
        let inner = Inner {
            blobs: layout.blobs().to_owned(),
            layout: Mutex::new(layout),
            uploads,
            arrivals: watch::Sender::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The image behind `reference`.
    ///
    /// # Errors
    /// [`Missing`] if there is none, or if it holds no WebAssembly.
    pub fn find(&self, reference: &Reference) -> Result<Image, Missing> {
        let layout = self.layout();
        let entry = layout
            .find(reference)
            .ok_or_else(|| Missing::NotFound { name: reference.familiar(), file: reference.base_name().to_owned() })?;
        match &entry.content {
            Ok(content) => Ok(Image {
                digest: entry.digest.clone(),
                id: format!("{}@{}", reference.repository(), entry.digest),
                layer: content.layer.clone(),
                path: layout.blob_path(&content.layer),
                size: content.layer_size,
            }),
            Err(why) => Err(Missing::NotWasm { name: reference.familiar(), why: why.clone() }),
        }
    }

    /// All named images.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let layout = self.layout();
        let named = |e: &Entry| {
            e.name.clone().map(|name| Listed { name, digest: e.digest.clone(), size: e.size + e.content_size() })
        };
        layout.entries().iter().filter_map(named).collect()
    }

    /// Changes whenever an image arrives: what lets a waiting container try again at once.
    #[must_use]
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.inner.arrivals.subscribe()
    }

    fn layout(&self) -> std::sync::MutexGuard<'_, Layout> {
        self.inner.layout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.blobs.join(digest.hex())
    }

    fn announce(&self) {
        self.inner.arrivals.send_modify(|n| *n += 1);
    }
}

#[cfg(test)]
mod tests;
