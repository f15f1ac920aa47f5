//! The files of a data directory: its lock, and how the database comes into being.
//!
//! Invariant: what these files hold is for their owner alone, for there are secrets among it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use redb::{Database, Error};

use super::OpenError;
use super::disk::{CACHE_BYTES, initialize};

/// Locks the directory, which is made if there is none. The lock lasts as long as the file.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    let fail = |doing| move |source| OpenError::Io { doing, path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail("make the data directory"))?;
    let file = private().create(true).open(dir.join("lock")).map_err(fail("lock the data directory"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(fail("lock the data directory")(source)),
    }
}

/// Makes an empty database beside its place and moves it there when it is whole, so that a crash in between leaves
/// nothing that looks like a damaged one.
pub(super) fn create(dir: &Path, path: &Path) -> Result<(), OpenError> {
    let fail = |source| OpenError::Io { doing: "make the database", path: path.to_owned(), source };
    let new = path.with_extension("redb.new");
    let file = private().create(true).truncate(true).open(&new).map_err(fail)?;
    let db = Database::builder().set_cache_size(CACHE_BYTES).create_file(file).map_err(Error::from);
    db.and_then(|db| initialize(&db)).map_err(|error| fail(io_error(error)))?;
    std::fs::rename(&new, path).map_err(fail)?;
    // The rename, and the directory itself, must outlast a power cut as well.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail)
}

/// Opens a database that exists.
pub(super) fn open(path: &Path) -> Result<Database, Error> {
    let file = private().open(path)?;
    if file.metadata()?.len() == 0 {
        return Err(Error::Corrupted("it is empty".to_owned()));
    }
    let mut builder = Database::builder();
    builder.set_repair_callback(|repair| {
        tracing::info!(progress = repair.progress(), "the last run ended abruptly; checking the database");
    });
    Ok(builder.set_cache_size(CACHE_BYTES).create_file(file)?)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// The system's reason, or redb's in its place.
pub(super) fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
