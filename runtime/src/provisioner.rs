//! The node's provisioner: makes directories for the claims that chose this node, and deletes those of volumes whose
//! claims are gone.
//!
//! Invariant: data that a claim is bound to are never deleted, and data that no volume speaks for do not exist, wherever
//! a kill cuts. The API is the journal:
//! - To make: first the directory, then the volume object. A cut between leaves an empty directory. If the claim is
//!   still there it is used; if not, it is removed at the next start, and only because it is empty.
//! - To delete: first the object is marked (`deletionTimestamp`), on the condition that it is still as it was when its
//!   claim was seen to be gone; the controller binds no marked volume. Then no claim is bound to it and none can become
//!   so. Then the directory goes, and only after it our finalizer, and with that the object. A cut anywhere leaves a
//!   marked object, with which the next start goes on.
//!
//! The path of what is deleted is made from the volume's name, never read from the object.

mod directory;
mod known;
mod plan;
mod work;

use std::path::PathBuf;

use coracle_api::names::NodeName;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::speak::Speaker;
use known::Known;
use work::{Done, Worker};

/// How many volumes are made or deleted at once: deletions of large trees should not keep others waiting.
const JOBS_MAX: usize = 8;

/// What makes and deletes the volumes of a node.
pub(crate) struct Provisioner {
    pub(crate) client: Client,
    pub(crate) node: NodeName,
    /// As in the label `kubernetes.io/hostname`.
    pub(crate) host_name: String,
    /// Under which each volume has its directory.
    pub(crate) dir: PathBuf,
    /// Speaks as the provisioner.
    pub(crate) speaker: Speaker,
}

impl Provisioner {
    /// Works until `stop`, and returns when all that it began has ended.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let claims: Api<PersistentVolumeClaim> = Api::all(self.client.clone());
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let classes: Api<StorageClass> = Api::all(self.client.clone());
        let mut claims = std::pin::pin!(watcher(claims, watcher::Config::default()).default_backoff());
        let mut volumes = std::pin::pin!(watcher(volumes, watcher::Config::default()).default_backoff());
        let mut classes = std::pin::pin!(watcher(classes, watcher::Config::default()).default_backoff());
        let worker = Worker::new(self);
        let mut known = Known::default();
        let mut jobs: JoinSet<Done> = JoinSet::new();
        let mut swept = false;
        loop {
            if known.is_complete() {
                if !swept {
                    swept = true;
                    worker.sweep(&known).await;
                }
                while jobs.len() < JOBS_MAX
                    && let Some(key) = known.next(Instant::now())
                {
                    let (worker, job) = (worker.clone(), known.job(&key, worker.node()));
                    jobs.spawn(async move { Done { result: worker.perform(job).await, key } });
                }
            }
            let due = known.next_due();
            let idle = jobs.len() < JOBS_MAX;
            tokio::select! {
                () = stop.cancelled() => break,
                Some(event) = claims.next() => read(event, |event| known.claim_event(event)),
                Some(event) = volumes.next() => read(event, |event| known.volume_event(event)),
                Some(event) = classes.next() => read(event, |event| known.class_event(event)),
                Some(Ok(done)) = jobs.join_next(), if !jobs.is_empty() => known.done(done, Instant::now()),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() && idle => {}
            }
        }
        while jobs.join_next().await.is_some() {}
    }
}

fn read<K>(event: Result<watcher::Event<K>, watcher::Error>, take: impl FnOnce(watcher::Event<K>)) {
    match event {
        Ok(event) => take(event),
        Err(error) => tracing::debug!(%error, "the provisioner's watch broke off and begins anew"),
    }
}
