//! The writing side of a container's log: pieces come in from the guest's thread, lines go out to a file.
//!
//! Lines are gathered for [`FLUSH_DELAY`], so that a chatty guest costs few writes; the end of the run writes what is
//! left. A guest that prints more than [`RATE`] bytes a second waits, as one does whose reader is slow; nothing is lost.
//! The file is made with the first line and open only while lines are written: thousands of quiet pods cost no handles.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coracle_api::clock;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use super::line::{Stream, Tag, append};
use super::{Rotation, file_name};
use coracle_wasm::Sink;

/// How long a line may wait for others before it is written.
const FLUSH_DELAY: Duration = Duration::from_millis(15);

/// How long the beginning of a line may wait for its end: a prompt must be seen.
const PARTIAL_DELAY: Duration = Duration::from_millis(200);

/// A longer line is cut into records of this size, as containerd does.
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// So much is gathered at most before it is written.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// What a container may print per second over time: beyond it, rotation would do nothing else.
const RATE: u64 = 8 * 1024 * 1024;

/// What a container may print at once.
const BURST: i64 = 32 * 1024 * 1024;

/// How far a log has come, for those who follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// Bytes written over all files.
    pub(super) bytes: u64,
    /// How many files have been put aside.
    pub(super) generation: u64,
    /// Whether the run is over.
    pub(super) closed: bool,
}

/// How a log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// What is there.
    Once,
    /// Also what comes.
    Following,
}

/// The log of one run of a container.
#[derive(Debug)]
pub struct ContainerLog {
    run: u32,
    dir: PathBuf,
    state: Mutex<State>,
    dirty: Notify,
    progress: watch::Sender<Progress>,
    rotation: Rotation,
}

#[derive(Debug)]
struct State {
    /// Open while there is something to write.
    file: Option<File>,
    size: u64,
    buffer: Vec<u8>,
    partial: [Vec<u8>; 2],
    /// What may be printed now; less than nothing if more was.
    allowance: i64,
    filled_at: Timestamp,
    failed: bool,
}

impl ContainerLog {
    pub(super) fn new(dir: &Path, run: u32, rotation: Rotation) -> Self {
        let state = State {
            size: 0,
            file: None,
            buffer: Vec::new(),
            partial: [Vec::new(), Vec::new()],
            allowance: BURST,
            filled_at: clock::now(),
            failed: false,
        };
        Self {
            run,
            dir: dir.to_owned(),
            state: Mutex::new(state),
            dirty: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
            rotation,
        }
    }

    /// Which run it is the log of.
    pub(super) fn run(&self) -> u32 {
        self.run
    }

    pub(super) fn follow(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// All its files, oldest first, and the number that the last will have when it is put aside. There is a last one
    /// for those who wait for it to grow; others make none, so that a quiet log is read also where the disk is full.
    pub(super) fn open_all(&self, reading: Reading) -> io::Result<(Vec<File>, u64)> {
        // Under the lock no file is put aside.
        let mut state = self.lock();
        match reading {
            Reading::Following => drop(self.file(&mut state)?),
            Reading::Once => {}
        }
        let generation = self.progress.borrow().generation;
        super::read::open_all(&self.dir, self.run).map(|files| (files, generation))
    }

    /// The file of this number, whether it has been put aside or not.
    pub(super) fn open_numbered(&self, number: u64) -> io::Result<File> {
        let _state = self.lock();
        let aside = self.progress.borrow().generation > number;
        File::open(self.dir.join(file_name(self.run, aside.then_some(number))))
    }

    /// Writes what comes in, soon after it came in. To be polled for as long as the container runs.
    pub async fn write_behind(&self) {
        loop {
            self.dirty.notified().await;
            tokio::time::sleep(FLUSH_DELAY).await;
            if self.flush() {
                tokio::time::sleep(PARTIAL_DELAY).await;
                self.flush_partial();
            }
        }
    }

    /// Writes what has been gathered, and closes the file. Tells whether the beginning of a line is left.
    pub(super) fn flush(&self) -> bool {
        let mut state = self.lock();
        self.write_out(&mut state);
        state.file = None;
        state.partial.iter().any(|p| !p.is_empty())
    }

    /// The run is over: writes what is left, and tells those who follow.
    pub(super) fn close(&self) {
        // What lacks the end of its line is shown without it, as by containerd.
        self.flush_partial();
        self.progress.send_modify(|p| p.closed = true);
    }

    fn flush_partial(&self) {
        let mut state = self.lock();
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            let Some(text) = state.partial.get_mut(index).filter(|t| !t.is_empty()).map(std::mem::take) else {
                continue;
            };
            append(&mut state.buffer, clock::now(), stream, Tag::Partial, &text);
        }
        self.write_out(&mut state);
        state.file = None;
    }

    fn take(&self, stream: Stream, bytes: &[u8]) {
        let now = clock::now();
        let mut state = self.lock();
        state.spend(bytes.len(), now);
        let index = usize::from(stream == Stream::Stderr);
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let Some(mut line) = state.partial.get_mut(index).map(std::mem::take) else { return };
            line.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            let whole = piece.ends_with(b"\n");
            let mut rest = line.as_slice();
            while let Some((record, tail)) = rest.split_at_checked(RECORD_BYTES_MAX).filter(|(_, t)| !t.is_empty()) {
                append(&mut state.buffer, now, stream, Tag::Partial, record);
                rest = tail;
            }
            if whole {
                append(&mut state.buffer, now, stream, Tag::Full, rest);
            } else if let Some(partial) = state.partial.get_mut(index) {
                *partial = rest.to_vec();
            }
        }
        if state.buffer.len() >= BUFFER_BYTES_MAX {
            self.write_out(&mut state);
        }
        drop(state);
        self.dirty.notify_one();
    }

    fn write_out(&self, state: &mut State) {
        if state.buffer.is_empty() {
            return;
        }
        let buffer = std::mem::take(&mut state.buffer);
        let length = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        // Before the first line of this process it is not known how much is there.
        let opened = self.file(state).map(drop);
        let rotated = state.size > 0 && state.size.saturating_add(length) > self.rotation.max_bytes;
        let written = opened.and_then(|()| if rotated { self.rotate(state) } else { Ok(()) });
        let written = written.and_then(|()| self.file(state)?.write_all(&buffer));
        state.size += length;
        match written {
            Ok(()) => state.failed = false,
            Err(error) if !state.failed => {
                state.failed = true;
                tracing::warn!(%error, log = ?self.dir, "cannot write a container's log; its output is lost until that is mended");
            }
            Err(_) => {}
        }
        self.progress.send_modify(|p| p.bytes += length);
    }

    /// The file that is written to, made if there is none.
    fn file<'a>(&self, state: &'a mut State) -> io::Result<&'a mut File> {
        if state.file.is_none() {
            std::fs::create_dir_all(&self.dir)?;
            let file = File::options().create(true).append(true).open(self.dir.join(file_name(self.run, None)))?;
            state.size = file.metadata()?.len();
            state.file = Some(file);
        }
        state.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rotate(&self, state: &mut State) -> io::Result<()> {
        let generation = self.progress.borrow().generation;
        let current = self.dir.join(file_name(self.run, None));
        std::fs::rename(&current, self.dir.join(file_name(self.run, Some(generation))))?;
        state.file = None;
        state.size = 0;
        self.file(state)?;
        let kept = u64::from(self.rotation.max_files.max(1)) - 1;
        if let Some(oldest) = (generation + 1).checked_sub(kept).and_then(|n| n.checked_sub(1)) {
            std::fs::remove_file(self.dir.join(file_name(self.run, Some(oldest))))?;
        }
        self.progress.send_modify(|p| p.generation += 1);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// So many bytes were printed.
    fn spend(&mut self, length: usize, now: Timestamp) {
        self.refill(now);
        self.allowance = self.allowance.saturating_sub(i64::try_from(length).unwrap_or(i64::MAX));
    }

    /// How long to wait until something may be printed again.
    fn wait(&mut self, now: Timestamp) -> Option<Duration> {
        self.refill(now);
        let owed = u64::try_from(1_i64.saturating_sub(self.allowance)).ok().filter(|owed| *owed > 0)?;
        Some(Duration::from_micros(owed.saturating_mul(1_000_000).div_ceil(RATE)))
    }

    fn refill(&mut self, now: Timestamp) {
        let passed = Duration::try_from(now.duration_since(self.filled_at)).unwrap_or_default();
        let gained = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX).saturating_mul(RATE) / 1_000_000;
        if gained > 0 {
            self.allowance = self.allowance.saturating_add_unsigned(gained).min(BURST);
            self.filled_at = now;
        }
    }
}

/// One output of a container, as the guest writes to it.
#[derive(Debug, Clone)]
pub struct Output {
    log: Arc<ContainerLog>,
    stream: Stream,
}

impl Output {
    /// Its standard output.
    #[must_use]
    pub fn stdout(log: &Arc<ContainerLog>) -> Self {
        Self { log: Arc::clone(log), stream: Stream::Stdout }
    }

    /// Its standard error.
    #[must_use]
    pub fn stderr(log: &Arc<ContainerLog>) -> Self {
        Self { log: Arc::clone(log), stream: Stream::Stderr }
    }
}

impl Sink for Output {
    fn write(&self, bytes: &[u8]) {
        self.log.take(self.stream, bytes);
    }

    fn wait(&self) -> Option<Duration> {
        self.log.lock().wait(clock::now())
    }
}
