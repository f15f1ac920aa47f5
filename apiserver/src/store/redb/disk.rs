//! The database as the writer's disk: loads all once, then one durable transaction for each batch.
//!
//! Invariant: a database that failed once is closed and opened anew before it is written again, for redb promises
//! nothing after an error; the data directory stays locked meanwhile.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coracle_api::revision::Revision;
use redb::{CommitError, Database, Durability, Error, ReadableDatabase, ReadableTable, TableDefinition};

use super::file::{self, io_error};
use super::{FORMAT, OpenError};
use crate::store::writer::{Disk, Row, WriteError};
use crate::store::{BadRecord, Entry, Key, Local, memory};

/// What redb may cache: it is read only when it is opened, and writes pass through.
pub(super) const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// From this size on, commits save what makes opening after a crash quick: it costs a second flush each, and
/// checking a smaller file takes less than a second.
pub(super) const QUICK_REPAIR_FROM_BYTES: u64 = 256 * 1024 * 1024;

/// A smaller file is never compacted: there is little to gain.
const COMPACT_FROM_BYTES: u64 = 64 * 1024 * 1024;

/// A file is compacted when it is so many times larger than what it holds. redb's pages are half to fully filled,
/// and a busy file grows to twice that again soon.
const COMPACT_FROM_RATIO: u64 = 4;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
const FORMAT_NAME: &str = "format";
const RESERVED_NAME: &str = "reserved";

/// Opens the medium's database.
type Opener = Box<dyn Fn() -> Result<Database, Error> + Send>;

/// What the database is written to.
pub(super) struct Medium {
    open: Opener,
    len: Box<dyn Fn() -> u64 + Send>,
    /// Keeps the directory locked.
    _lock: Option<File>,
}

impl Medium {
    /// A file in a locked directory.
    pub(super) fn file(path: PathBuf, lock: File) -> Self {
        let measured = path.clone();
        Self {
            open: Box::new(move || file::open(&path)),
            len: Box::new(move || std::fs::metadata(&measured).map_or(0, |file| file.len())),
            _lock: Some(lock),
        }
    }

    /// Something else that a test watches or breaks.
    #[cfg(test)]
    pub(super) fn for_tests(open: impl Fn() -> Result<Database, Error> + Send + 'static, len: u64) -> Self {
        Self { open: Box::new(open), len: Box::new(move || len), _lock: None }
    }
}

/// The writer's disk.
struct RedbDisk {
    medium: Medium,
    /// None after a failure, until the next write opens it anew.
    database: Option<Database>,
    /// The reservation that is surely on disk.
    reserved: Option<Revision>,
}

/// All that a database holds.
struct Loaded {
    entries: Vec<Entry>,
    reserved: Revision,
    bytes: u64,
}

/// Starts a store on a medium; `path` is what errors name.
pub(super) fn start(medium: Medium, path: &Path) -> Result<Local, OpenError> {
    let mut database = (medium.open)().map_err(|error| refused(path, error))?;
    let Loaded { entries, reserved, bytes } = load(&database, path)?;
    let len = (medium.len)();
    let compacted = if compaction_pays(len, bytes) { database.compact() } else { Ok(false) };
    let database = match compacted {
        Ok(false) => Some(database),
        Ok(true) => {
            tracing::info!(before = len, after = (medium.len)(), "compacted the database");
            Some(database)
        }
        Err(error) => {
            tracing::warn!(%error, "the database could not be compacted; it works on as it is");
            None
        }
    };
    let disk = RedbDisk { medium, database, reserved: Some(reserved) };
    Local::start(entries, reserved, disk).map_err(|source| OpenError::Io {
        doing: "start the thread that writes",
        path: path.to_owned(),
        source,
    })
}

fn compaction_pays(file: u64, held: u64) -> bool {
    file >= COMPACT_FROM_BYTES && file / COMPACT_FROM_RATIO >= held
}

fn refused(path: &Path, error: Error) -> OpenError {
    let path = path.to_owned();
    match error {
        Error::DatabaseAlreadyOpen => OpenError::Locked { path },
        // A file that is none of redb's, or ends before its own header says.
        Error::Io(source) if matches!(source.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
            OpenError::Corrupt { path, source: Box::new(Error::Io(source)) }
        }
        Error::Io(source) => OpenError::Io { doing: "read", path, source },
        Error::Unsupported | Error::PreviousIo => OpenError::Io { doing: "read", path, source: io_error(error) },
        // All else is about what the file holds; redb's list of it grows with its versions.
        other => OpenError::Corrupt { path, source: Box::new(other) },
    }
}

/// Makes the tables of an empty store.
pub(super) fn initialize(database: &Database) -> Result<(), Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.open_table(OBJECTS)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert(FORMAT_NAME, FORMAT)?;
    meta.insert(RESERVED_NAME, memory::FIRST.get())?;
    drop(meta);
    Ok(transaction.commit()?)
}

fn load(database: &Database, path: &Path) -> Result<Loaded, OpenError> {
    let refused = |error: Error| refused(path, error);
    let transaction = database.begin_read().map_err(|error| refused(error.into()))?;
    let meta = transaction.open_table(META).map_err(|error| refused(error.into()))?;
    let number = |name: &str| match meta.get(name) {
        Ok(Some(number)) => Ok(number.value()),
        Ok(None) => Err(refused(Error::Corrupted(format!("{name:?} is missing in \"meta\"")))),
        Err(error) => Err(refused(error.into())),
    };
    let found = number(FORMAT_NAME)?;
    if found > FORMAT {
        return Err(OpenError::NewerFormat { path: path.to_owned(), found, known: FORMAT });
    }
    let mut loaded = Loaded { entries: Vec::new(), reserved: Revision::new(number(RESERVED_NAME)?), bytes: 0 };
    let objects = transaction.open_table(OBJECTS).map_err(|error| refused(error.into()))?;
    for row in objects.iter().map_err(|error| refused(error.into()))? {
        let (key, record) = row.map_err(|error| refused(error.into()))?;
        let bad = |source| OpenError::BadRecord { path: path.to_owned(), key: key.value().to_owned(), source };
        let parsed = Key::parse(key.value()).ok_or_else(|| bad(BadRecord::Key))?;
        let entry = Entry::from_record(parsed, record.value()).map_err(bad)?;
        if entry.revision() > loaded.reserved {
            return Err(bad(BadRecord::Revision));
        }
        loaded.bytes += (key.value().len() + record.value().len()) as u64;
        loaded.entries.push(entry);
    }
    Ok(loaded)
}

impl Disk for RedbDisk {
    fn write(&mut self, rows: &[Row], reserved: Revision) -> Result<(), WriteError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => (self.medium.open)().map_err(|error| WriteError::Nothing(Arc::new(error)))?,
        };
        let quick_repair = (self.medium.len)() >= QUICK_REPAIR_FROM_BYTES;
        let renewed = (self.reserved != Some(reserved)).then_some(reserved);
        self.reserved = None;
        let written = prepare(&database, rows, renewed, quick_repair).map_err(|e| WriteError::Nothing(Arc::new(e)));
        written.and_then(|transaction| {
            transaction.commit().map_err(|error| match error {
                CommitError::TransactionPoisoned => WriteError::Nothing(Arc::new(error)),
                other => WriteError::Unknown(Arc::new(other)),
            })
        })?;
        self.reserved = Some(reserved);
        self.database = Some(database);
        Ok(())
    }
}

/// A transaction with these rows, ready to be committed.
fn prepare(
    database: &Database,
    rows: &[Row],
    reserved: Option<Revision>,
    quick_repair: bool,
) -> Result<redb::WriteTransaction, Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(quick_repair);
    let mut objects = transaction.open_table(OBJECTS)?;
    for (key, state) in rows {
        match state {
            Some(entry) => drop(objects.insert(key.as_str(), entry.record().as_slice())?),
            None => drop(objects.remove(key.as_str())?),
        }
    }
    drop(objects);
    if let Some(reserved) = reserved {
        transaction.open_table(META)?.insert(RESERVED_NAME, reserved.get())?;
    }
    Ok(transaction)
}

#[cfg(test)]
mod sizes {
    use super::*;

    #[test]
    fn a_file_is_compacted_when_it_is_large_and_mostly_empty() {
        const MB: u64 = 1024 * 1024;
        for (file, held, pays) in [(63, 1, false), (64, 1, true), (64, 16, true), (64, 17, false), (900, 300, false)] {
            assert_eq!(compaction_pays(file * MB, held * MB), pays, "{file} {held}");
        }
    }
}
