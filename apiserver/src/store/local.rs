//! The store of one machine: objects and history in this process, changes through the writer thread.
//!
//! Invariant: dropping it waits until the writer has written what it owes, so the data directory is free afterwards.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use async_trait::async_trait;
use coracle_api::revision::Revision;
use tokio::sync::{mpsc, oneshot};

use super::entry::TooDeep;
use super::hub::Hub;
use super::objects::Objects;
use super::writer::{COMMITS_WAITING_MAX, Commit, Disk, Request, Writer};
use super::{Action, Change, CommitError, Entry, Key, Prefix, Store, Stretch, WatchError, Watcher};

/// A store in this process.
pub struct Local {
    objects: Arc<Objects>,
    hub: Arc<Hub>,
    writer: Handle,
}

/// The writer's thread and the way to it.
struct Handle {
    /// None only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Local {
    /// A store that begins with these objects, after this revision, and writes to this disk.
    pub(super) fn start(
        entries: impl IntoIterator<Item = Entry>,
        revision: Revision,
        disk: impl Disk,
    ) -> std::io::Result<Self> {
        let objects = Arc::new(Objects::loaded(entries, revision));
        let hub = Arc::new(Hub::new(revision));
        let writer = Writer::new(Arc::clone(&objects), Arc::clone(&hub), disk, revision, Instant::now());
        let (requests, received) = mpsc::channel(COMMITS_WAITING_MAX);
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run(received))?;
        Ok(Self { objects, hub, writer: Handle { requests: Some(requests), thread: Some(thread) } })
    }
}

impl Handle {
    /// Asks the writer; false if it has stopped.
    async fn ask(&self, request: Request) -> bool {
        match &self.requests {
            Some(requests) => requests.send(request).await.is_ok(),
            None => false,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the writer has been reported when it happened.
            drop(thread.join());
        }
    }
}

#[async_trait]
impl Store for Local {
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.objects.get(key)
    }

    fn stretch(&self, prefix: &Prefix, start: &str, most: usize) -> Stretch {
        self.objects.stretch(prefix, start, most)
    }

    fn revision(&self) -> Revision {
        self.hub.published()
    }

    async fn reached(&self, revision: Revision) {
        self.hub.reached(revision).await;
    }

    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Arc<Entry>>, CommitError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        if changes.iter().any(|change| matches!(&change.action, Action::Put(object) if object.is_too_deep())) {
            return Err(CommitError::Disk(Arc::new(TooDeep)));
        }
        let (reply, answer) = oneshot::channel();
        if !self.writer.ask(Request::Commit(Commit { changes, reply })).await {
            return Err(CommitError::Stopped);
        }
        answer.await.unwrap_or(Err(CommitError::Stopped))
    }

    fn watch(&self, prefix: &Prefix, from: Revision) -> Result<Watcher, WatchError> {
        self.hub.watch(prefix, from)
    }

    async fn stop(&self) {
        let (done, ended) = oneshot::channel();
        if self.writer.ask(Request::Stop(done)).await {
            // An error means that the writer has ended already, which is what was asked.
            drop(ended.await);
        }
    }
}
