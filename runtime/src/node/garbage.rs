//! Keeps the disk from filling up with images, and the compiled programs to those of images that are here.
//!
//! It does not poll: it looks when an image has come or gone, and at the node's own heartbeat.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock;
use coracle_api::event::Kind;
use coracle_wasm::Compiled;
use tokio::time::Instant;

use crate::images::garbage::{Disk, Plan, plan};
use crate::images::{ImageStore, LayoutError, Policy};
use crate::speak::Speaker;

/// How often the disk is looked at while no image comes (the kubelet's period).
const PERIOD: Duration = Duration::from_secs(300);

/// Why a collection did not do what it should.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error("invalid capacity 0 on image filesystem")]
    Capacity,
    #[error("cannot ask how full the disk is")]
    Ask(#[source] std::io::Error),
    #[error(
        "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {found} bytes eligible to free."
    )]
    TooLittle { wanted: u64, found: u64 },
    #[error(transparent)]
    Remove(#[from] LayoutError),
    #[error("the removal of images was broken off")]
    BrokenOff,
}

impl CollectError {
    /// The event that this is worth each time it happens, if it is worth one.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Capacity => Some("InvalidDiskCapacity"),
            Self::TooLittle { .. } => Some("FreeDiskSpaceFailed"),
            Self::Ask(_) | Self::Remove(_) | Self::BrokenOff => None,
        }
    }
}

/// Throws away images by the policy.
pub(crate) struct Collector {
    policy: Policy,
    dir: PathBuf,
    images: Arc<ImageStore>,
    compiled: Compiled,
    speaker: Speaker,
    node: String,
    last: Option<Instant>,
    failed: bool,
}

impl Collector {
    /// A collector of the images in `dir`.
    pub(crate) fn new(
        policy: Policy,
        dir: PathBuf,
        images: Arc<ImageStore>,
        compiled: Compiled,
        speaker: Speaker,
        node: String,
    ) -> Self {
        Self { policy, dir, images, compiled, speaker, node, last: None, failed: false }
    }

    /// Looks at the disk if it is time to.
    pub(crate) async fn at_heartbeat(&mut self) {
        if self.last.is_none_or(|last| last.elapsed() >= PERIOD) {
            self.look().await;
        }
    }

    /// Looks at the disk, and throws away images if it is too full.
    pub(crate) async fn look(&mut self) {
        if !self.images.uses_are_known() {
            return;
        }
        self.last = Some(Instant::now());
        let Err(error) = self.collect().await else {
            self.failed = false;
            return;
        };
        let message = crate::with_causes(&error);
        if !self.failed {
            tracing::info!(error = message, "images could not be thrown away as the policy asks");
        }
        if let Some(reason) = error.reason() {
            self.speaker.node(&self.node, Kind::Warning, reason, message.clone());
        }
        // Once may be chance; the kubelet too says so only from the second time on.
        if self.failed {
            self.speaker.node(&self.node, Kind::Warning, "ImageGCFailed", message);
        }
        self.failed = true;
    }

    async fn collect(&self) -> Result<(), CollectError> {
        let disk = disk(&self.dir)?;
        let Plan::Free { images, wanted, found } = plan(&self.policy, disk, &self.images.list(), clock::now()) else {
            return Ok(());
        };
        if !images.is_empty() {
            tracing::info!(wanted, images = images.len(), "the disk is too full: images are thrown away");
            let store = Arc::clone(&self.images);
            let removal = tokio::task::spawn_blocking(move || store.collect(&images));
            let freed = removal.await.map_err(|_| CollectError::BrokenOff)??;
            tracing::info!(freed, "images were thrown away");
        }
        if found < wanted { Err(CollectError::TooLittle { wanted, found }) } else { Ok(()) }
    }

    /// Removes the compiled programs of images that are gone.
    pub(crate) async fn forget_compiled(&self) {
        let (compiled, images) = (self.compiled.clone(), Arc::clone(&self.images));
        // What is asked for while files are being removed is compiled anew: nothing depends on a file.
        let removal = tokio::task::spawn_blocking(move || compiled.keep_only(&images.layers()));
        if let Ok(Err(error)) = removal.await {
            tracing::warn!(%error, "compiled programs of images that are gone cannot be removed");
        }
    }
}

fn disk(dir: &std::path::Path) -> Result<Disk, CollectError> {
    let stat = rustix::fs::statvfs(dir).map_err(|e| CollectError::Ask(e.into()))?;
    if stat.f_blocks == 0 {
        return Err(CollectError::Capacity);
    }
    // As df counts: what is free, but not for us (kept for root, or beyond a quota), is neither used nor available.
    // Counted as used, it would have a disk that is half empty taken for full.
    let kept = stat.f_bfree.saturating_sub(stat.f_bavail);
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Disk { capacity: bytes(stat.f_blocks.saturating_sub(kept)), available: bytes(stat.f_bavail) })
}
