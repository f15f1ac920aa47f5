//! Attaching: a client joins a container's own streams, and leaves them without harm.

use std::io;
use std::sync::Arc;

use coracle_wasm::Input;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::carry::to_client;
use super::{Exit, Streams};
use crate::console::{Console, Keys, PIECE_BYTES, Seat, Size, Stream};
use crate::pods::Live;

/// Joins the client's streams with the container's.
pub(super) async fn attach(live: Arc<Live>, tty: bool, streams: Streams) -> Exit {
    let console = Arc::clone(&live.console);
    if tty && console.terminal().is_none() {
        return Exit::Failed("the container has no terminal; attach without -t, or set tty in its spec".to_owned());
    }
    let Streams { stdin, mut stdout, mut stderr, sizes } = streams;
    let wanted = |stream, asked: bool| asked.then(|| console.follow(stream));
    let (out, err) = (wanted(Stream::Stdout, stdout.is_some()), wanted(Stream::Stderr, stderr.is_some()));
    let neither = out.is_none() && err.is_none();
    let shown = async {
        let (out, err) = tokio::join!(show(out, stdout.as_mut()), show(err, stderr.as_mut()));
        // Whether all was shown, or an error that says why not.
        out.and_then(|out| err.map(|err| out && err))
    };
    let typed = async {
        if let Some(input) = stdin.filter(|_| console.takes_input()) {
            type_in(&console, input).await;
        }
        if !neither {
            std::future::pending::<()>().await;
        }
    };
    let ended = live.sandbox.clone().ended();
    tokio::select! {
        shown = shown, if !neither => match shown {
            Ok(true) => Exit::Success,
            Ok(false) => Exit::Failed(
                "the client took the container's output too slowly and was let go; kubectl logs has all of it".to_owned(),
            ),
            Err(_no_client) => Exit::Success,
        },
        () = typed => Exit::Success,
        _ = ended, if neither => Exit::Success,
        () = resize(&console, sizes) => Exit::Success,
    }
}

/// Shows the client an output to its end. Tells whether the client kept up.
///
/// # Errors
/// An I/O error when there is no client any more.
async fn show(seat: Option<Seat>, to: Option<&mut super::Output>) -> io::Result<bool> {
    let Some(mut seat) = seat else { return Ok(true) };
    to_client(&mut seat.reader, to).await?;
    Ok(!seat.was_given_up())
}

/// Gives the container what the client types, to its end.
async fn type_in(console: &Console, mut input: Input) {
    let _leaves = Leaves(console);
    let mut keys = Keys::default();
    let mut piece = vec![0; PIECE_BYTES];
    // An error says that the client or the terminal is gone.
    while let Ok(read @ 1..) = input.read(&mut piece).await {
        let bytes = piece.get(..read).unwrap_or_default();
        if console.type_in(bytes).await.is_err() {
            return;
        }
        if let Some(signal) = console.terminal().and_then(|_| keys.signal(bytes)) {
            console.signal(signal);
        }
    }
}

/// The client's terminal is as large as it says. Never ends.
async fn resize(console: &Console, mut sizes: mpsc::Receiver<Size>) {
    while let Some(size) = sizes.recv().await {
        if let Some(Err(error)) = console.terminal().map(|terminal| terminal.resize(size)) {
            tracing::debug!(%error, "a terminal cannot be resized");
        }
    }
    std::future::pending().await
}

/// Somebody who can type, until they leave.
struct Leaves<'a>(&'a Console);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}
