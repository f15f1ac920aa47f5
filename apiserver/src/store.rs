//! The store: current objects in memory, history as a ring of events, durability behind a compare-and-swap batch.
//!
//! Invariants: a commit is acknowledged, and its events published, only when it is as durable as it asked to be;
//! revisions grow with each change and are never reused, not even after a crash; reads and watches touch no disk.
//!
//! [`Local`] is a [`Store`] for one machine: [`redb::open`] keeps it in a data directory, [`memory::open`] nowhere.

mod converted;
mod entry;
mod key;
mod record;

mod hub;
mod objects;
mod ring;

mod draft;
mod local;
mod writer;

pub mod memory;
pub mod redb;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::revision::Revision;

pub use self::converted::{Conversion, Converted};
pub use self::entry::{DEPTH_MAX, Encoded, Entry, Labels};
pub use self::hub::Watcher;
pub use self::key::{Key, Prefix};
pub use self::local::Local;
pub use self::record::BadRecord;

/// How long a change must outlive us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk before it is acknowledged.
    Durable,
    /// In memory now; on disk with the next durable commit. For leases, heartbeats and events,
    /// which are not worth a flash write of their own.
    Volatile,
}

/// What must be true of a key for a change to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing stands there.
    Absent,
    /// The object stands there in just this revision.
    At(Revision),
}

/// What to do with a key.
#[derive(Debug, Clone)]
pub enum Action {
    /// Let this object stand there.
    Put(Encoded),
    /// Let nothing stand there; something must have. Watchers see the last state, with the revision of the deletion.
    Delete,
}

/// One change of a commit.
#[derive(Debug, Clone)]
pub struct Change {
    /// Where.
    pub key: Key,
    /// What must stand there before.
    pub expect: Expect,
    /// What stands there after.
    pub action: Action,
    /// How long it must last. A commit with one durable change is durable as a whole.
    pub durability: Durability,
}

/// Why nothing of a commit happened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The change of this index met something else than it expected; what stands there, if anything.
    #[error("change {index} met another state than it expected")]
    Mismatch {
        /// Which change.
        index: usize,
        /// What stands there now.
        current: Option<Arc<Entry>>,
    },
    /// The disk did not take it (full, read-only, broken). Nothing was acknowledged, and reads go on.
    #[error("the data directory does not take writes; free space or repair it, and writes go on")]
    Disk(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The store has been stopped.
    #[error("the store has stopped")]
    Stopped,
}

/// A consistent list.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The revision of the whole list.
    pub revision: Revision,
    /// The objects, in the order of their keys.
    pub entries: Vec<Arc<Entry>>,
}

/// A stretch of a list: consistent, and aware of what follows it.
#[derive(Debug, Clone)]
pub struct Stretch {
    /// The revision of the whole list.
    pub revision: Revision,
    /// The objects, in the order of their keys.
    pub entries: Vec<Arc<Entry>>,
    /// How many objects of the list come after them.
    pub left: usize,
}

/// What happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// It was not there before.
    Added,
    /// It was there; how it was before.
    Modified(Arc<Entry>),
    /// It is gone; how it was before. The event's entry is its last state with the deletion's revision.
    Deleted(Arc<Entry>),
}

/// One event of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub happened: Happened,
    /// The object after it.
    pub entry: Arc<Entry>,
}

impl Event {
    /// When it happened.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.entry.revision()
    }

    /// The object before it.
    #[must_use]
    pub fn previous(&self) -> Option<&Arc<Entry>> {
        match &self.happened {
            Happened::Added => None,
            Happened::Modified(before) | Happened::Deleted(before) => Some(before),
        }
    }

    /// What stands at the key after it.
    fn state(&self) -> Option<&Arc<Entry>> {
        match &self.happened {
            Happened::Added | Happened::Modified(_) => Some(&self.entry),
            Happened::Deleted(_) => None,
        }
    }
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The history asked for is no longer kept, or the watcher fell too far behind: list again.
    #[error("too old resource version: {requested} ({oldest})")]
    Expired {
        /// The revision to go on from.
        requested: Revision,
        /// The oldest that can be gone on from.
        oldest: Revision,
    },
    /// The store has been stopped.
    #[error("the store has stopped")]
    Stopped,
}

/// Objects in memory, durable changes, and history.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The object at `key`, if any.
    fn get(&self, key: &Key) -> Option<Arc<Entry>>;

    /// The objects under `prefix` whose keys go on with `start` or what sorts after it, at most so many.
    fn stretch(&self, prefix: &Prefix, start: &str, most: usize) -> Stretch;

    /// All objects under `prefix`, consistent at one revision.
    fn list(&self, prefix: &Prefix) -> Listing {
        let Stretch { revision, entries, left: _ } = self.stretch(prefix, "", usize::MAX);
        Listing { revision, entries }
    }

    /// The revision of the newest change that can be seen. Never zero.
    fn revision(&self) -> Revision;

    /// Returns when changes up to this revision can be seen.
    async fn reached(&self, revision: Revision);

    /// Makes all changes, or none. Returns the new entries in the order of the changes
    /// (for a delete: the last state, with the revision of the deletion).
    /// Once asked, it happens or fails whether or not the future is awaited to its end.
    ///
    /// # Errors
    /// [`CommitError`]; then nothing happened.
    async fn commit(&self, changes: Vec<Change>) -> Result<Vec<Arc<Entry>>, CommitError>;

    /// Events under `prefix` after revision `from`, which may lie in the future.
    ///
    /// # Errors
    /// [`WatchError::Expired`] when that history is no longer kept.
    fn watch(&self, prefix: &Prefix, from: Revision) -> Result<Watcher, WatchError>;

    /// Ends all watches, refuses further commits, and returns when what was volatile is on disk.
    async fn stop(&self);
}
