//! A disk that remembers every write in order, can be cut after any of them, and fails when told to.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// One thing done to the disk.
#[derive(Debug, Clone)]
enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Sync,
}

/// The disk; its clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Tape(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    image: Vec<u8>,
    ops: Vec<Op>,
    /// How many more operations succeed; all, if nobody said.
    left: Option<usize>,
}

/// How a machine lost power.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loss {
    /// Every write before the cut is on the disk.
    Nothing,
    /// Of the writes since the last flush, only some are, whole or torn; the number says which.
    Unsynced(u64),
}

impl Tape {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn with(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { image, ..State::default() })))
    }

    pub(super) fn backend(&self) -> Recorder {
        Recorder(self.clone())
    }

    /// How many operations there were.
    pub(super) fn len(&self) -> usize {
        self.state().ops.len()
    }

    /// Lets so many more operations succeed.
    pub(super) fn fail_after(&self, operations: usize) {
        self.state().left = Some(operations);
    }

    /// Lets all operations succeed again.
    pub(super) fn heal(&self) {
        self.state().left = None;
    }

    /// The disk as it is now, for another machine.
    pub(super) fn copy(&self) -> Self {
        Self::with(self.state().image.clone())
    }

    /// What is on the disk by now cannot be lost; cuts count from here.
    pub(super) fn begin(&self) -> Cutter {
        let mut state = self.state();
        state.ops.clear();
        Cutter { tape: self.clone(), synced: state.image.clone(), applied: 0 }
    }
}

/// Makes the images of a disk that was cut, from the first operation to the last.
pub(super) struct Cutter {
    tape: Tape,
    /// The image with the first `applied` operations, the last of which is a flush.
    synced: Vec<u8>,
    applied: usize,
}

impl Cutter {
    /// The disk, cut after so many operations; calls must come in the order of the cuts.
    pub(super) fn cut(&mut self, at: usize, loss: Loss) -> Tape {
        let state = self.tape.state();
        let flushed = state.ops[..at].iter().rposition(|op| matches!(op, Op::Sync)).map_or(0, |sync| sync + 1);
        for op in &state.ops[self.applied..flushed] {
            apply(&mut self.synced, op);
        }
        self.applied = flushed;
        let mut image = self.synced.clone();
        for (nth, op) in state.ops[flushed..at].iter().enumerate() {
            match loss {
                Loss::Nothing => apply(&mut image, op),
                Loss::Unsynced(seed) => lose(&mut image, op, mixed(seed.wrapping_add(nth as u64))),
            }
        }
        Tape::with(image)
    }
}

/// A number that looks like chance and is the same each time.
fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn apply(image: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(offset, data) => image[*offset..offset + data.len()].copy_from_slice(data),
        Op::SetLen(len) => image.resize(*len, 0),
        Op::Sync => {}
    }
}

/// Applies a write, or a part of it, or nothing. Lengths are kept, as journals of file systems keep them.
fn lose(image: &mut Vec<u8>, op: &Op, chance: u64) {
    match op {
        Op::Write(offset, data) => match chance % 3 {
            0 => {}
            1 => apply(image, op),
            _ => {
                // Disks write sectors.
                let torn = (data.len() / 2).next_multiple_of(512).min(data.len());
                apply(image, &Op::Write(*offset, data[..torn].to_vec()));
            }
        },
        Op::SetLen(_) | Op::Sync => apply(image, op),
    }
}

/// The disk, as redb sees it.
pub(super) struct Recorder(Tape);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    fn record(&self, op: Op) -> io::Result<()> {
        let mut state = self.0.state();
        if let Some(left) = &mut state.left {
            *left = left.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        }
        apply(&mut state.image, &op);
        state.ops.push(op);
        Ok(())
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.state().image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (offset, state) = (usize::try_from(offset).unwrap(), self.0.state());
        out.copy_from_slice(state.image.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.record(Op::SetLen(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.record(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.record(Op::Write(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}
