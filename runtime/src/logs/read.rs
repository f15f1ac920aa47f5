//! The reading side of a container's log: what `kubectl logs` shows, with its options, streamed.
//!
//! Following waits for the writer to say that there is more; it never polls the files.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use super::line::{Tag, parse};
use super::write::{ContainerLog, Progress, Reading};
use super::{file_name, runs};

/// How much of a file is read at a time.
const BLOCK_BYTES: usize = 64 * 1024;

/// What to show of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Only so many lines from the end.
    pub tail: Option<u64>,
    /// Only what was printed at this time or later.
    pub since: Option<Timestamp>,
    /// Whether each line is preceded by its time.
    pub timestamps: bool,
    /// At most so many bytes.
    pub limit: Option<u64>,
    /// Whether to wait for more for as long as the run goes on.
    pub follow: bool,
}

/// The log of run number `run` in `dir`; `live` is its writer if it is still going on.
///
/// # Errors
/// An I/O error if the files cannot be listed. Errors while reading end the stream.
pub fn read(
    dir: &Path,
    run: u32,
    live: Option<&Arc<ContainerLog>>,
    options: Options,
) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>> {
    let live = live.filter(|l| l.run() == run);
    let (mut files, next, follow) = match live {
        Some(live) => {
            live.flush();
            // Before the files are opened, so that nothing written after goes unnoticed.
            let progress = live.follow();
            let reading = if options.follow { Reading::Following } else { Reading::Once };
            let (files, generation) = live.open_all(reading)?;
            let follow = options.follow.then(|| Follow { log: Arc::clone(live), progress });
            (files, generation, follow)
        }
        None => (open_all(dir, run)?, 0, None),
    };
    let start = match options.tail {
        Some(lines) => tail(&mut files, lines)?,
        None => 0,
    };
    let reader = Reader {
        files: files.into(),
        open: None,
        start,
        next,
        follow,
        left: options.limit.unwrap_or(u64::MAX),
        cut: Vec::new(),
        midline: false,
        options,
    };
    Ok(futures::stream::try_unfold(reader, |mut reader| async move {
        Ok(reader.next().await?.map(|bytes| (bytes, reader)))
    }))
}

/// The files of a run, oldest first.
pub(super) fn open_all(dir: &Path, run: u32) -> io::Result<Vec<File>> {
    let mut aside: Vec<(u64, PathBuf)> = runs(dir)?
        .into_iter()
        .filter(|(r, _)| *r == run)
        .filter_map(|(_, path)| Some((path.extension()?.to_str()?.parse().ok()?, path)))
        .collect();
    aside.sort();
    let current = dir.join(file_name(run, None));
    let opened = aside.into_iter().map(|(_, path)| path).chain([current]).map(File::open);
    // A run that printed nothing has no file.
    opened.filter(|file| !matches!(file, Err(error) if error.kind() == io::ErrorKind::NotFound)).collect()
}

/// Drops the files before the last so many lines, and tells where in the first that is left they begin.
fn tail(files: &mut Vec<File>, lines: u64) -> io::Result<u64> {
    let mut wanted = lines;
    for index in (0..files.len()).rev() {
        let Some(file) = files.get(index) else { break };
        match tail_of(file, wanted)? {
            Tail::Starts(offset) => {
                files.drain(..index);
                return Ok(offset);
            }
            Tail::Lacks(left) => wanted = left,
        }
    }
    Ok(0)
}

enum Tail {
    /// The wanted lines begin at this byte.
    Starts(u64),
    /// All lines are wanted, and so many of the files before.
    Lacks(u64),
}

fn tail_of(file: &File, lines: u64) -> io::Result<Tail> {
    let mut end = file.metadata()?.len();
    if lines == 0 {
        return Ok(Tail::Starts(end));
    }
    let mut seen = 0;
    let mut block = vec![0; BLOCK_BYTES];
    while end > 0 {
        let start = end.saturating_sub(u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX));
        let length = usize::try_from(end - start).unwrap_or(0);
        let Some(part) = block.get_mut(..length) else { break };
        file.read_exact_at(part, start)?;
        for (i, _) in part.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            // The end of the line before the first that is wanted.
            if seen == lines {
                return Ok(Tail::Starts(start + u64::try_from(i).unwrap_or(0) + 1));
            }
            seen += 1;
        }
        end = start;
    }
    Ok(if seen == lines { Tail::Starts(0) } else { Tail::Lacks(lines - seen) })
}

/// A log that is still being written.
struct Follow {
    log: Arc<ContainerLog>,
    progress: watch::Receiver<Progress>,
}

struct Reader {
    /// Files yet to be read.
    files: VecDeque<File>,
    open: Option<tokio::fs::File>,
    start: u64,
    /// The number that the current file will have when it is put aside.
    next: u64,
    follow: Option<Follow>,
    left: u64,
    /// The beginning of a record whose end was not read yet.
    cut: Vec<u8>,
    midline: bool,
    options: Options,
}

impl Reader {
    /// The next piece to show; nothing at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.left > 0 {
            let Some(block) = self.block().await? else { return Ok(None) };
            let mut shown = self.show(block);
            if !shown.is_empty() {
                shown.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= u64::try_from(shown.len()).unwrap_or(0);
                return Ok(Some(shown.into()));
            }
        }
        Ok(None)
    }

    /// The next bytes of the files, waiting for more if the log is followed.
    async fn block(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(file) = &mut self.open {
                // Asked before reading: what is written later is announced later.
                let progress = self.follow.as_mut().map(|f| *f.progress.borrow_and_update());
                let mut block = Vec::with_capacity(BLOCK_BYTES);
                if file.read_buf(&mut block).await? > 0 {
                    return Ok(Some(block));
                }
                if !self.files.is_empty() {
                    self.open = None;
                } else if let Some(progress) = progress {
                    self.wait(progress).await?;
                } else {
                    return Ok(None);
                }
            } else if let Some(mut file) = self.files.pop_front() {
                io::Seek::seek(&mut file, io::SeekFrom::Start(std::mem::take(&mut self.start)))?;
                self.open = Some(tokio::fs::File::from_std(file));
            } else {
                return Ok(None);
            }
        }
    }

    /// The current file has been read to its end: goes on to the next, waits for more, or stops following.
    async fn wait(&mut self, progress: Progress) -> io::Result<()> {
        let Some(follow) = &mut self.follow else { return Ok(()) };
        if progress.generation > self.next {
            // The file that was read is one that was put aside, and complete.
            while progress.generation > self.next {
                self.next += 1;
                match follow.log.open_numbered(self.next) {
                    // A reader that several rotations have overtaken goes on with the oldest that is kept.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    file => {
                        self.open = Some(tokio::fs::File::from_std(file?));
                        break;
                    }
                }
            }
        } else if progress.closed || follow.progress.changed().await.is_err() {
            self.follow = None;
        }
        Ok(())
    }

    /// The records of a block as the reader wants to see them.
    fn show(&mut self, block: Vec<u8>) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.cut);
        bytes.extend_from_slice(&block);
        let mut out = Vec::with_capacity(bytes.len());
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let Some(whole) = line.strip_suffix(b"\n") else {
                self.cut = line.to_vec();
                break;
            };
            let Some(record) = parse(whole) else { continue };
            let early = |since: Timestamp| record.time.parse::<Timestamp>().is_ok_and(|t| t < since);
            if self.options.since.is_some_and(early) {
                continue;
            }
            if self.options.timestamps && !self.midline {
                out.extend_from_slice(record.time.as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(record.text);
            self.midline = record.tag == Tag::Partial;
            if !self.midline {
                out.push(b'\n');
            }
        }
        out
    }
}
