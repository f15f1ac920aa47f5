//! How a worker leaves: its pod is gone, and nothing of it stays; or the node stops, and the pod runs again later.
//!
//! Invariant: the object goes last, when nothing of the pod is left on the node.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use super::{SLEEP_MAX, Worker};
use crate::pods::News;
use crate::sources::{Change, Source};

/// How long containers may drain when the node stops; a part of what the process has for stopping.
const NODE_DRAIN: Duration = Duration::from_secs(4);

/// How long containers that were killed may take to be gone, and the last status to be written.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before asking again for a deletion that failed.
const DELETE_RETRY: Duration = Duration::from_secs(1);

/// What deleting a pod's object found.
#[derive(PartialEq, Eq)]
enum Deleted {
    /// It is being deleted; the watch will tell when it is gone.
    Now,
    /// There was nothing to delete any more.
    WasGone,
}

impl Worker {
    /// Everything has ended: the last status, then nothing of it is left on the node, then the object goes.
    pub(super) async fn remove(mut self) {
        for reins in self.runs.values() {
            reins.kill.cancel();
        }
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_PATIENCE, ended).await.is_err() {
            self.tasks.abort_all();
        }
        self.publisher.finish(LAST_PATIENCE).await;
        self.release().await;
        let (namespace, name) = self.names();
        while !self.vanished {
            if self.delete(&namespace, &name).await == Deleted::WasGone {
                break;
            }
            // Ends at the news that it is gone; a finalizer may take its time.
            let gone = self.news.wait_for(|news| matches!(news, News::Gone));
            match tokio::time::timeout(SLEEP_MAX, gone).await {
                Ok(Err(_)) => return,
                Ok(Ok(_)) => self.vanished = true,
                Err(_) => {}
            }
        }
        let uid = self.pod.metadata.uid.clone().unwrap_or_default();
        self.shared.records.remove(&namespace, &name, &uid);
        self.shared.stats.meters.forget(&uid);
        if let Err(error) = self.shared.logs.remove(&namespace, &name, &uid) {
            tracing::warn!(%error, pod = name, "cannot delete the logs of a pod that is gone");
        }
    }

    /// Gives back the address and the directories: nothing runs in them any more.
    pub(super) async fn release(&mut self) {
        if self.released {
            return;
        }
        self.released = true;
        self.attachment = None;
        self.shared.attachments.remove(self.pod.metadata.uid.as_deref().unwrap_or_default());
        let (namespace, _) = self.names();
        for claim in self.shared.in_use.release(self.pod.metadata.uid.as_deref().unwrap_or_default()) {
            // Another pod may wait for it.
            self.shared.sources.tell(Change { namespace: namespace.clone(), source: Source::Claim(claim) });
        }
        let dir = self.dir.clone();
        let removed = tokio::task::spawn_blocking(move || dir.remove()).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(%error, dir = ?self.dir, "cannot delete the directories of a pod that ended");
        }
    }

    async fn delete(&self, namespace: &str, name: &str) -> Deleted {
        let api: Api<Pod> = Api::namespaced(self.shared.client.clone(), namespace);
        let preconditions = Preconditions { uid: self.pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        loop {
            match api.delete(name, &params).await {
                Ok(_) => return Deleted::Now,
                // Nothing of this name, or another pod of this name.
                Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => return Deleted::WasGone,
                Err(error) => {
                    tracing::warn!(%error, pod = name, "a pod that ended could not be deleted; trying again");
                    tokio::time::sleep(DELETE_RETRY).await;
                }
            }
            if matches!(*self.news.borrow(), News::Gone) {
                return Deleted::WasGone;
            }
        }
    }

    /// The node stops: what runs is drained. No status says so, since the pod runs again when the node does.
    pub(super) async fn halt(mut self) {
        for reins in self.runs.values() {
            reins.stop.cancel();
        }
        let inbox = &mut self.inbox;
        let tasks = &mut self.tasks;
        let drained = async {
            loop {
                tokio::select! {
                    done = tasks.join_next() => if done.is_none() { return },
                    Some(_) = inbox.recv() => {}
                }
            }
        };
        if tokio::time::timeout(NODE_DRAIN, drained).await.is_err() {
            self.tasks.abort_all();
        }
    }
}
