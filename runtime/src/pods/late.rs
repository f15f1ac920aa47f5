//! The volumes of a pod that are made late: when the first program starts that can see them, or somebody looks.
//!
//! Invariant: they are whole before any of their container's code runs that could ask for them.

use std::net::IpAddr;
use std::sync::Arc;

use coracle_api::event::Kind;
use coracle_wasm::Directory;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::{OnceCell, mpsc};

use super::{Shared, prepare};
use crate::lifecycle::Event;
use crate::tokens::Tokens;
use crate::volumes::{PodDir, Which, show_all};

/// What a pod has that is made late.
pub(crate) struct Late {
    pod: Arc<Pod>,
    dir: PodDir,
    tokens: Arc<Tokens>,
    pod_ip: IpAddr,
    /// To the pod's worker, who renews what is in them from then on.
    worker: mpsc::Sender<Box<Event>>,
    made: OnceCell<()>,
}

impl Late {
    /// Nothing is made yet.
    pub(super) fn new(
        pod: Arc<Pod>,
        dir: PodDir,
        tokens: Arc<Tokens>,
        pod_ip: IpAddr,
        worker: mpsc::Sender<Box<Event>>,
    ) -> Self {
        Self { pod, dir, tokens, pod_ip, worker, made: OnceCell::new() }
    }

    /// Whether they are made.
    pub(super) fn is_made(&self) -> bool {
        self.made.initialized()
    }

    /// Whether the container mounts one of them.
    pub(super) fn is_mounted_by(&self, container: &Container) -> bool {
        let mounts = |name: &str| container.volume_mounts.iter().flatten().any(|mount| mount.name == name);
        Which::Late.of(&self.pod).any(|volume| mounts(&volume.name))
    }

    /// Makes them, if that has not been done.
    ///
    /// # Errors
    /// A sentence for the pod's events.
    pub(super) async fn make(&self, shared: &Arc<Shared>) -> Result<(), String> {
        let make = || async {
            prepare::refresh(shared, &self.pod, &self.dir, &self.tokens, self.pod_ip, Which::Late).await?;
            // A worker that is busy looks for new tokens at its next event.
            let _ = self.worker.try_send(Box::new(Event::Tick));
            Ok::<(), String>(())
        };
        self.made.get_or_try_init(make).await?;
        Ok(())
    }

    /// Makes them for somebody who looks into a container with these directories. He looks also if that fails.
    pub(super) async fn show(&self, shared: &Arc<Shared>, directories: Vec<Directory>) {
        if let Err(message) = self.make(shared).await {
            shared.speaker.pod(&self.pod, None, Kind::Warning, "FailedMount", message);
        }
        let empty: Vec<_> = Which::Late.of(&self.pod).map(|volume| self.dir.volume(&volume.name)).collect();
        let shown = tokio::task::spawn_blocking(move || {
            empty.into_iter().try_for_each(std::fs::create_dir_all)?;
            show_all(&directories)
        });
        if let Ok(Err(error)) = shown.await {
            tracing::warn!(%error, "a volume cannot be shown in its container");
        }
    }
}
