//! A tool's streams, as its thread reads and writes them: it waits for its client as a process does for a pipe.

use std::io::{self, Read, Write};
use std::sync::Arc;

use coracle_wasm::{Input, Sink};
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::console::{PIECE_BYTES, Pipe};

/// An input, read ahead by one piece.
pub(super) struct Reader {
    input: Option<Input>,
    piece: Vec<u8>,
    at: usize,
    handle: Handle,
    given_up: CancellationToken,
}

impl Reader {
    /// Reads `input` until it is given up.
    pub(super) fn new(input: Option<Input>, handle: Handle, given_up: CancellationToken) -> Self {
        Self { input, piece: Vec::new(), at: 0, handle, given_up }
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(input) = &mut self.input else { return Ok(0) };
        if self.at == self.piece.len() {
            self.piece.resize(PIECE_BYTES, 0);
            let read = self.given_up.run_until_cancelled(input.read(&mut self.piece));
            let read = self.handle.block_on(read).ok_or_else(gone)??;
            self.piece.truncate(read);
            self.at = 0;
        }
        let left = self.piece.get(self.at..).unwrap_or_default();
        let read = left.len().min(into.len());
        into.iter_mut().zip(left).for_each(|(into, byte)| *into = *byte);
        self.at += read;
        Ok(read)
    }
}

/// An output, gathered into pieces.
pub(super) struct Writer {
    pipe: Arc<Pipe>,
    piece: Vec<u8>,
    handle: Handle,
    given_up: CancellationToken,
}

impl Writer {
    /// Writes to `pipe` until it is given up.
    pub(super) fn new(pipe: Arc<Pipe>, handle: Handle, given_up: CancellationToken) -> Self {
        Self { pipe, piece: Vec::new(), handle, given_up }
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let room = self.given_up.run_until_cancelled(self.pipe.room());
        self.handle.block_on(room).ok_or_else(gone)?;
        if !self.pipe.is_open() {
            return Err(gone());
        }
        self.pipe.write(&self.piece);
        self.piece.clear();
        Ok(())
    }
}

/// There is no client any more.
fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}
