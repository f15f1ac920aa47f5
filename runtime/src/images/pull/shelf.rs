//! What a pull puts into the store, and what it finds there.

use std::path::{Path, PathBuf};

use coracle_api::clock;
use coracle_api::names::Digest;

use super::super::entry::Origin;
use super::super::layout::{Arrival, LayoutError};
use super::super::{Image, ImageStore, Reference};
use super::session::Received;

impl ImageStore {
    /// The directory of the layout.
    pub(super) fn root(&self) -> PathBuf {
        self.inner.blobs.ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
    }

    /// The image with its size, if its name leads to this manifest already.
    pub(super) fn found(&self, image: &Reference, digest: &Digest) -> Option<(Image, u64)> {
        let found = self.find(image).ok().filter(|found| found.digest == *digest)?;
        let layout = self.layout();
        let size = layout.find(image).map_or(found.size, |entry| entry.total_size());
        Some((found, size))
    }

    /// Where a blob lies or will lie. It is safe from being swept away until its manifest comes.
    pub(super) fn expect_blob(&self, digest: &Digest) -> PathBuf {
        self.layout().blob_arrived(digest.clone());
        self.blob_path(digest)
    }

    /// Keeps a manifest that an index refers to; the index makes it part of an image.
    pub(super) async fn keep_nested(&self, nested: &Received) -> Result<(), LayoutError> {
        let path = self.expect_blob(&nested.digest);
        let fault = |source| LayoutError::Write { path: path.clone(), source };
        let beside = path.with_extension("new");
        tokio::fs::write(&beside, &nested.bytes).await.map_err(fault)?;
        tokio::fs::rename(&beside, &path).await.map_err(fault)
    }

    /// Gives the image its name, now that all it refers to is here.
    pub(super) async fn keep_pulled(&self, image: &Reference, received: &Received) -> Result<(), LayoutError> {
        let path = self.blob_path(&received.digest);
        let (store, image, received) = (self.clone(), image.clone(), received.clone());
        let kept = move || {
            store.place(Arrival {
                reference: &image,
                digest: &received.digest,
                bytes: &received.bytes,
                media_type: received.media_type.as_deref(),
                origin: Origin::Pulled,
                now: clock::now(),
            })
        };
        match tokio::task::spawn_blocking(kept).await {
            Ok(kept) => kept?,
            Err(ended) => return Err(LayoutError::Write { path, source: std::io::Error::other(ended) }),
        }
        Ok(())
    }
}
