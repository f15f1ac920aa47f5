//! The writer: one thread that makes all changes, so that their order is total, and commits many in one transaction.
//!
//! Invariants: what the disk has not taken is neither seen nor acknowledged; every revision that is seen lies within
//! the reservation that is on disk; and after each transaction the disk holds exactly the current objects.
//!
//! What is volatile is applied at once and remembered by key alone (`owed`): the next transaction writes the state
//! those keys have by then. Keys of a transaction that failed half-way are owed in the same way, because nobody knows
//! which of their states the disk holds.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_api::revision::Revision;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::draft::{Draft, Refused};
use super::entry::State;
use super::hub::Hub;
use super::objects::Objects;
use super::{Action, Change, CommitError, Durability, Entry, Key};

/// How many commits wait for the writer before those who commit have to wait for room: enough to fill a batch while
/// the disk is busy with the one before.
pub(super) const COMMITS_WAITING_MAX: usize = 1024;

/// The most commits in one transaction: bounds how long the first one waits for the last.
const BATCH_COMMITS_MAX: usize = 512;

/// The most bytes in one transaction, but for its last commit: what is drafted is held twice until it is written.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many revisions are reserved at once. Volatile changes use them up without a write, so a block lasts for days;
/// a crash skips what is left of it, and 64 bits are enough for more crashes than there will be. Tests see it end.
pub(super) const REVISIONS_RESERVED: u64 = if cfg!(test) { 100 } else { 1_000_000 };

/// How many keys may wait for the next transaction before one is made for their sake. Tests see it reached.
const OWED_KEYS_MAX: usize = if cfg!(test) { 64 } else { 8192 };

/// How often aged events are looked for.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// What happens to a key on disk.
pub(super) type Row = (Key, State);

/// Where current objects outlive the process.
pub(super) trait Disk: Send + 'static {
    /// Writes these rows and the reservation, all or nothing, and returns when they are durable.
    fn write(&mut self, rows: &[Row], reserved: Revision) -> Result<(), WriteError>;
}

/// Why a transaction failed.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum WriteError {
    /// Nothing of it is on disk.
    #[error("the transaction did not begin")]
    Nothing(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// All of it or nothing of it is on disk.
    #[error("the transaction did not end")]
    Unknown(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl From<WriteError> for CommitError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Nothing(source) | WriteError::Unknown(source) => Self::Disk(source),
        }
    }
}

/// What those who commit wait for.
pub(super) type Reply = oneshot::Sender<Result<Vec<Arc<Entry>>, CommitError>>;

/// What the writer is asked.
pub(super) enum Request {
    /// To make changes.
    Commit(Commit),
    /// To write what it owes and to end.
    Stop(oneshot::Sender<()>),
}

/// Changes that somebody waits for.
pub(super) struct Commit {
    pub(super) changes: Vec<Change>,
    pub(super) reply: Reply,
}

impl Commit {
    fn is_volatile(&self) -> bool {
        self.changes.iter().all(|change| change.durability == Durability::Volatile)
    }

    fn bytes(&self) -> usize {
        let bytes = self.changes.iter().map(|change| match &change.action {
            Action::Put(object) => object.len(),
            Action::Delete => 0,
        });
        bytes.sum()
    }
}

/// What a batch needs before it comes true.
#[derive(Clone, Copy)]
enum Needs {
    Memory,
    Disk,
}

/// The writer's state.
pub(super) struct Writer<D> {
    objects: Arc<Objects>,
    hub: Arc<Hub>,
    disk: D,
    /// The last revision given away.
    revision: Revision,
    /// The last revision that may be seen, for the disk knows it is taken.
    reserved: Revision,
    /// The keys whose state on disk may not be the current one.
    owed: HashSet<Key>,
    /// Whether the last write failed: it is logged once, not with each commit.
    failing: bool,
    forgotten: Instant,
}

/// Ends all watches when the writer ends, however it ends.
struct EndsWatches(Arc<Hub>);

impl Drop for EndsWatches {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl<D: Disk> Writer<D> {
    /// A writer that goes on after `revision`, the last that the disk has reserved.
    pub(super) fn new(objects: Arc<Objects>, hub: Arc<Hub>, disk: D, revision: Revision, now: Instant) -> Self {
        let (owed, reserved) = (HashSet::new(), revision);
        Self { objects, hub, disk, revision, reserved, owed, failing: false, forgotten: now }
    }

    /// Works until it is told to stop, or nobody is left who could ask.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let ends_watches = EndsWatches(Arc::clone(&self.hub));
        let mut stop = None;
        while stop.is_none()
            && let Some(first) = requests.blocking_recv()
        {
            let (mut batch, mut bytes, mut next) = (Vec::new(), 0, Some(first));
            while let Some(request) = next {
                match request {
                    Request::Commit(commit) => {
                        bytes += commit.bytes();
                        batch.push(commit);
                    }
                    Request::Stop(done) => stop = Some(done),
                }
                let more = stop.is_none() && batch.len() < BATCH_COMMITS_MAX && bytes < BATCH_BYTES_MAX;
                next = if more { requests.try_recv().ok() } else { None };
            }
            self.commit(batch);
        }
        // Who still asks is told that the store has stopped, by losing the reply.
        drop(requests);
        self.finish();
        drop(ends_watches);
        drop(self);
        if let Some(done) = stop {
            // Whoever asked may be gone.
            let _ = done.send(());
        }
    }

    /// Makes a batch of commits true. Volatile ones go first, for they need not wait for the disk.
    fn commit(&mut self, batch: Vec<Commit>) {
        let (volatile, mut durable): (Vec<_>, Vec<_>) = batch.into_iter().partition(Commit::is_volatile);
        let changes = volatile.iter().map(|commit| commit.changes.len()).sum::<usize>();
        let room =
            self.revision.get() + changes as u64 <= self.reserved.get() && self.owed.len() + changes <= OWED_KEYS_MAX;
        if room {
            self.settle(volatile, Needs::Memory);
        } else {
            durable.extend(volatile);
        }
        self.settle(durable, Needs::Disk);
        let now = Instant::now();
        if now.duration_since(self.forgotten) > FORGET_INTERVAL {
            self.hub.forget(now);
            self.forgotten = now;
        }
    }

    /// Judges the commits, writes what is to be written, shows what is true now, and answers.
    fn settle(&mut self, commits: Vec<Commit>, needs: Needs) {
        let objects = Arc::clone(&self.objects);
        let mut draft = Draft::new(&objects, self.revision);
        let mut answers = Vec::with_capacity(commits.len());
        for Commit { changes, reply } in commits {
            match draft.take(changes) {
                Err(refused @ Refused { drafted: false, .. }) => answer(reply, Err(refused.into())),
                taken => answers.push((reply, taken)),
            }
        }
        if answers.is_empty() {
            return;
        }
        // Even if the disk refuses: it may have taken the transaction and only failed to say so.
        self.revision = draft.revision();
        match needs {
            Needs::Memory => self.owed.extend(draft.states().map(|(key, _)| key.clone())),
            Needs::Disk => {
                if let Err(error) = self.write(&draft) {
                    for (reply, _) in answers {
                        answer(reply, Err(error.clone().into()));
                    }
                    return;
                }
            }
        }
        objects.apply(draft.into_events(), |events| self.hub.publish(events, Instant::now())).wake();
        for (reply, taken) in answers {
            answer(reply, taken.map_err(CommitError::from));
        }
    }

    /// Writes the draft, what is owed, and a reservation that covers them.
    fn write(&mut self, draft: &Draft<'_>) -> Result<(), WriteError> {
        if self.owed.len() > OWED_KEYS_MAX {
            // Only a failing disk lets it come to this: no further keys are owed before these are written.
            let objects = Arc::clone(&self.objects);
            self.transact(&Draft::new(&objects, self.revision), self.reserved)?;
        }
        let left = self.reserved.get().saturating_sub(self.revision.get());
        let renewed = Revision::new(self.revision.get() + REVISIONS_RESERVED);
        self.transact(draft, if left < REVISIONS_RESERVED / 2 { renewed } else { self.reserved })
    }

    fn transact(&mut self, draft: &Draft<'_>, reserved: Revision) -> Result<(), WriteError> {
        let owed = self.owed.iter().filter(|key| !draft.holds(key));
        let owed = owed.map(|key| (key.clone(), self.objects.get(key)));
        let drafted = draft.states().map(|(key, state)| (key.clone(), state.cloned()));
        let mut rows: Vec<Row> = drafted.chain(owed).collect();
        // In the order of the tree, which is kinder to its pages.
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let written = self.disk.write(&rows, reserved);
        match &written {
            Ok(()) => {
                self.owed.clear();
                self.reserved = reserved;
                if self.failing {
                    info!("the data directory takes writes again");
                }
            }
            Err(error) => {
                if matches!(error, WriteError::Unknown(_)) {
                    self.owed.extend(draft.states().map(|(key, _)| key.clone()));
                }
                if !self.failing {
                    let error = error as &dyn std::error::Error;
                    error!(error, "the data directory does not take writes; reads go on");
                }
            }
        }
        self.failing = written.is_err();
        written
    }

    /// Writes what is owed, and gives back the revisions that were reserved and not used.
    fn finish(&mut self) {
        if self.owed.is_empty() && self.reserved == self.revision {
            return;
        }
        let objects = Arc::clone(&self.objects);
        let owed = self.owed.len();
        if let Err(error) = self.transact(&Draft::new(&objects, self.revision), self.revision) {
            let error = &error as &dyn std::error::Error;
            warn!(error, owed, "the last changes that need not last were not written");
        }
    }
}

/// Answers, if anybody still listens.
fn answer(reply: Reply, with: Result<Vec<Arc<Entry>>, CommitError>) {
    drop(reply.send(with));
}
