//! A command on a terminal: the client sits in front of it, the command behind.
//!
//! The keys that end a program end the command, since a guest has no handler that could say otherwise.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use coracle_wasm::{Input, Tty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::exec::{Ends, Runner};
use super::{Output, Streams};
use crate::console::{Keys, PIECE_BYTES, ROOM_BYTES, Signal, Size, TERM, Terminal, pipe, write_out};

/// A client says at once how large its terminal is; who does not has none to tell of.
const SIZE_PATIENCE: Duration = Duration::from_millis(100);

/// Runs a command on a terminal of its own.
///
/// # Errors
/// Words for the client, if the command cannot be run.
pub(super) async fn run(runner: &Runner, streams: Streams) -> Result<i32, String> {
    let Streams { stdin, mut stdout, stderr: _, mut sizes } = streams;
    let terminal = Terminal::open().map_err(|error| format!("the node has no terminal to give: {error}"))?;
    let size = tokio::time::timeout(SIZE_PATIENCE, sizes.recv()).await.ok().flatten();
    if let Some(size) = size {
        resize(&terminal, size);
    }
    let (writer, mut written) = pipe(ROOM_BYTES);
    let ends = Ends {
        env: environment(size),
        stdin: Some(Box::new(terminal.far_side())),
        stdout: Arc::clone(&writer),
        stderr: Arc::clone(&writer),
        tty: Tty::Yes,
    };
    let command = async {
        let ended = tokio::select! {
            ended = runner.run(ends) => ended,
            signal = type_in(&terminal, stdin) => Ok(signal.exit_code()),
            () = follow(&terminal, &mut sizes) => Ok(0),
        };
        writer.close();
        terminal.resume();
        ended
    };
    let behind = async {
        // An error says that the terminal was hung up.
        let _ = write_out(&mut written, terminal.far_side()).await;
        terminal.hang_up();
    };
    let mut shown = std::pin::pin!(show(&terminal, stdout.as_mut()));
    let mut both = std::pin::pin!(async { tokio::join!(command, behind).0 });
    tokio::select! {
        ended = &mut both => {
            // What it wrote last is worth waiting for, unless the client is gone.
            let _ = shown.await;
            ended
        }
        // The terminal was hung up, or there is no client any more.
        shown = &mut shown => match shown {
            Ok(()) => both.await,
            Err(_no_client) => Ok(0),
        }
    }
}

/// What the command is told of its terminal. WASI has no way to ask for a size: it is the one at the start.
fn environment(size: Option<Size>) -> Vec<(String, String)> {
    let mut env = vec![("TERM".to_owned(), TERM.to_owned())];
    // A client that does not know says that it has none.
    if let Some(Size { columns, rows }) = size.filter(|size| size.columns > 0 && size.rows > 0) {
        env.push(("COLUMNS".to_owned(), columns.to_string()));
        env.push(("LINES".to_owned(), rows.to_string()));
    }
    env
}

/// Types what the client types, until a key ends the program.
async fn type_in(terminal: &Terminal, input: Option<Input>) -> Signal {
    let mut keys = Keys::default();
    let mut piece = vec![0; PIECE_BYTES];
    if let Some(mut input) = input {
        while let Ok(read @ 1..) = input.read(&mut piece).await {
            let bytes = piece.get(..read).unwrap_or_default();
            if terminal.write_all(bytes).await.is_err() {
                break;
            }
            if let Some(signal) = keys.signal(bytes) {
                return signal;
            }
        }
    }
    // Nobody types any more; the program may have something to show still.
    std::future::pending().await
}

/// Shows the client what the terminal shows, to its end.
///
/// # Errors
/// An I/O error when there is no client any more.
async fn show(terminal: &Terminal, mut to: Option<&mut Output>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = terminal.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        if let Some(to) = &mut to {
            to.write_all(piece.get(..read).unwrap_or_default()).await?;
            to.flush().await?;
        }
    }
}

/// The terminal is as large as the client's. Never ends.
async fn follow(terminal: &Terminal, sizes: &mut mpsc::Receiver<Size>) {
    while let Some(size) = sizes.recv().await {
        resize(terminal, size);
    }
    std::future::pending().await
}

fn resize(terminal: &Terminal, size: Size) {
    if let Err(error) = terminal.resize(size) {
        tracing::debug!(%error, "a terminal cannot be resized");
    }
}
