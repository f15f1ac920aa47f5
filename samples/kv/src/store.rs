//! The store: a map in memory, and the log on disk that it can be made from again.
//!
//! Invariant: when `commit` has returned, its changes are on the disk; the map shows them only then. What a
//! crash cut off in the middle was acknowledged to nobody and is forgotten when the log is next opened.
//! It must be the only one to write to its directory; a StatefulSet sees to that.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::frame::{self, Change, Read};

/// The log's name in its directory.
const LOG: &str = "log";

/// A log that is being written anew; of no worth until it has the log's name.
const NEW_LOG: &str = "log.new";

/// The most bytes of keys and values that are kept: all of it is in memory, and memory has a limit.
pub const LIVE_MAX: usize = 32 << 20;

/// A log shorter than this is not worth writing anew.
const COMPACT_FROM: u64 = 4 << 20;

/// Why a commit did not happen.
#[derive(Debug)]
pub enum Refused {
    /// There would be more than [`LIVE_MAX`] bytes.
    Full,
    /// The disk took none of it, and the log is as it was.
    Disk(io::Error),
}

/// An open store.
pub struct Store {
    dir: PathBuf,
    log: File,
    /// The log's length: all of it is whole frames.
    length: u64,
    next: u64,
    map: BTreeMap<String, Vec<u8>>,
    live: usize,
}

/// What was found when a store was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// The frames read.
    pub frames: u64,
    /// The bytes at the end that no commit had finished.
    pub torn: u64,
}

impl Store {
    /// Opens the store in a directory, or begins one there.
    ///
    /// # Errors
    /// If the directory cannot be read or written, or the log is damaged in a way that no crash explains.
    pub fn open(dir: &Path) -> io::Result<(Self, Opened)> {
        let _ = fs::remove_file(dir.join(NEW_LOG));
        let path = dir.join(LOG);
        let mut log = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        let mut store = Self { dir: dir.to_owned(), log, length: 0, next: 0, map: BTreeMap::new(), live: 0 };
        let mut rest = bytes.as_slice();
        let opened = loop {
            match frame::read(rest, store.next) {
                Read::Whole(changes, taken) => {
                    store.apply(changes);
                    store.next += 1;
                    store.length += taken as u64;
                    rest = rest.get(taken..).unwrap_or_default();
                }
                Read::End => break Opened { frames: store.next, torn: 0 },
                Read::Torn => break Opened { frames: store.next, torn: rest.len() as u64 },
                Read::Damaged => {
                    let (at, path) = (store.length, path.display());
                    return Err(io::Error::other(format!("{path} is damaged at byte {at}: restore it from a copy")));
                }
            }
        };
        store.log.set_len(store.length)?;
        store.log.seek(SeekFrom::Start(store.length))?;
        store.log.sync_all()?;
        sync_dir(dir)?;
        Ok((store, opened))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.map.get(key).map(Vec::as_slice)
    }

    /// All keys that begin so, in order.
    pub fn keys(&self, prefix: &str) -> impl Iterator<Item = &str> {
        let from = self.map.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.map(|(key, _)| key.as_str()).take_while(move |key| key.starts_with(prefix))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Makes changes last, all of them or none.
    ///
    /// # Errors
    /// If there is no room for them.
    ///
    /// # Panics
    /// If the disk fails in a way that leaves open what is on it. Nobody was told anything then, and the next
    /// start reads what is there.
    pub fn commit(&mut self, changes: Vec<Change>) -> Result<(), Refused> {
        if self.live_after(&changes) > LIVE_MAX {
            return Err(Refused::Full);
        }
        let frame = frame::write(self.next, &changes);
        if let Err(error) = self.log.write_all(&frame) {
            self.take_back();
            return Err(Refused::Disk(error));
        }
        // After a sync that failed nobody knows what is on the disk, a second sync included.
        self.log.sync_data().unwrap_or_else(|error| panic!("cannot sync the log: {error}"));
        self.length += frame.len() as u64;
        self.next += 1;
        self.apply(changes);
        if self.length > COMPACT_FROM && self.length > 3 * self.live as u64 {
            self.compact();
        }
        Ok(())
    }

    fn take_back(&mut self) {
        let back = self.log.set_len(self.length).and_then(|()| self.log.seek(SeekFrom::Start(self.length)));
        back.unwrap_or_else(|error| panic!("cannot take back half a write: {error}"));
    }

    /// Writes the log anew, with what is left of it. If that fails the old one serves on.
    fn compact(&mut self) {
        match self.write_anew() {
            Ok((log, length, next)) => (self.log, self.length, self.next) = (log, length, next),
            Err(error) => eprintln!("cannot compact the log, and will try again: {error}"),
        }
    }

    fn write_anew(&self) -> io::Result<(File, u64, u64)> {
        let path = self.dir.join(NEW_LOG);
        let mut log = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let (mut length, mut number) = (0, 0);
        for (key, value) in &self.map {
            let frame = frame::write(number, &[Change::Put(key.clone(), value.clone())]);
            log.write_all(&frame)?;
            length += frame.len() as u64;
            number += 1;
        }
        log.sync_all()?;
        fs::rename(&path, self.dir.join(LOG))?;
        // From here on there is no way back: the old log has no name any more.
        sync_dir(&self.dir).unwrap_or_else(|error| panic!("cannot sync the directory: {error}"));
        Ok((log, length, number))
    }

    fn live_after(&self, changes: &[Change]) -> usize {
        let added = changes.iter().map(|change| match change {
            Change::Put(key, value) => key.len() + value.len(),
            Change::Delete(_) => 0,
        });
        let mut replaced: Vec<&str> = changes.iter().map(Change::key).collect();
        replaced.sort_unstable();
        replaced.dedup();
        let replaced = replaced.into_iter().filter_map(|key| self.map.get(key).map(|value| key.len() + value.len()));
        (self.live + added.sum::<usize>()).saturating_sub(replaced.sum())
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            let (key, value) = match change {
                Change::Put(key, value) => (key, Some(value)),
                Change::Delete(key) => (key, None),
            };
            if let Some(old) = self.map.remove(&key) {
                self.live = self.live.saturating_sub(key.len() + old.len());
            }
            if let Some(value) = value {
                self.live += key.len() + value.len();
                self.map.insert(key, value);
            }
        }
    }
}

impl Change {
    fn key(&self) -> &str {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// A new name is on the disk only when its directory is.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
