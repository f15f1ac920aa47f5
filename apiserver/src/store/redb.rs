//! The store on disk: a data directory with one redb file, which is read when it is opened and only written after.
//!
//! Invariants: one server at a time, held by a lock of the directory; the file comes into being whole, by a rename;
//! each transaction is durable before it is acknowledged, and leaves the state of one moment of history behind.
//!
//! # What is on disk (format 1)
//! ```text
//! lock                       an empty file, locked while a server runs on the directory
//! state.redb.new             a file in the making; of no meaning, replaced by the next start
//! state.redb
//!   table "meta"             name (text) → number (u64)
//!     "format"               1
//!     "reserved"             no revision above it was ever seen by anybody; a start goes on after it
//!   table "objects"          key `group/resource/namespace/name` (text) → record (bytes)
//!
//! a record, numbers little-endian:
//!   u8                       form: 1, the JSON as it is
//!   u64                      revision
//!   u64                      where in the JSON the revision's digits begin
//!   u64                      bytes of labels
//!   bytes                    labels: name, NUL, value, NUL, and so on
//!   bytes                    the JSON, with `metadata.resourceVersion`
//! ```
//! There is no log of past events: a watcher from before the start is told to list again.

mod disk;
mod file;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use super::{BadRecord, Local};

/// The format that this program writes, and the newest it reads.
const FORMAT: u64 = 1;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it.
    #[error("another server is running on this data directory: {}; stop it, or choose another by --data-dir", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The file is damaged, or no store of ours.
    #[error("{} is damaged; put back a copy of it, or move it away to begin with an empty cluster", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What redb found.
        #[source]
        source: Box<redb::Error>,
    },
    /// An object in the file cannot be read.
    #[error("{} is damaged at {key}; put back a copy of it, or move it away to begin with an empty cluster", path.display())]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// Where the object stands.
        key: String,
        /// What is wrong with it.
        #[source]
        source: BadRecord,
    },
    /// The file was written by a newer program.
    #[error("{} has format {found}, and this program reads up to {known}; run a newer one", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest that is read.
        known: u64,
    },
    /// The system refused.
    #[error("cannot {doing} {}; check that it exists, is ours, and has space", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// Opens the store of a data directory; makes both if there are none. Blocks while it reads: not for an async thread.
///
/// # Errors
/// [`OpenError`], which tells the fix.
pub fn open(dir: &Path) -> Result<Local, OpenError> {
    let lock = file::lock(dir)?;
    let path = dir.join("state.redb");
    if !path.exists() {
        file::create(dir, &path)?;
    }
    disk::start(disk::Medium::file(path.clone(), lock), &path)
}
