//! A container's own streams: what its program reads and writes, and who is attached to them.
//!
//! What it writes goes to its log and is shown to all who are attached. What it reads comes from them, if its spec
//! has `stdin`; with `tty` all of it goes through a terminal of the kernel.

mod audience;
mod pipe;
mod pty;

use std::io;
use std::sync::Arc;

use coracle_wasm::{Sink, Stdin, Tty};
use k8s_openapi::api::core::v1::Container;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::logs::{ContainerLog, Output};
use audience::{Audience, Shown};

pub(crate) use audience::{Seat, Stream};
pub(crate) use pipe::{Pipe, Reader, pipe};
pub(crate) use pty::{FarSide, Keys, Signal, Size, TERM, Terminal};

/// What may wait between a program and whoever carries its bytes on: what a pipe of the kernel holds.
pub(crate) const ROOM_BYTES: usize = 64 * 1024;

/// So much is carried at once.
pub(crate) const PIECE_BYTES: usize = 32 * 1024;

/// A container's own streams, as those who attach have them.
pub(crate) struct Console {
    audience: Arc<Audience>,
    terminal: Option<Arc<Terminal>>,
    /// What the program writes on its way to the terminal.
    written: Option<Arc<Pipe>>,
    /// What is typed on its way to the program, where no terminal is between.
    typed: Option<Arc<Pipe>>,
    takes_input: bool,
    /// Whether the first who types takes the input along when leaving.
    once: bool,
    signal: watch::Sender<Option<Signal>>,
}

/// What the program is given.
pub(crate) struct Streams {
    pub(crate) stdin: Stdin,
    pub(crate) stdout: Arc<dyn Sink>,
    pub(crate) stderr: Arc<dyn Sink>,
    pub(crate) tty: Tty,
}

/// Carries between a program and its terminal.
pub(crate) struct Carrier {
    terminal: Arc<Terminal>,
    /// What the program wrote.
    written: Reader,
    /// Takes what the terminal shows.
    shown: Shown<Output>,
}

impl Console {
    /// The streams of a container that is about to start. With a terminal there is a carrier, to be run until it ends.
    ///
    /// # Errors
    /// An I/O error if it is to have a terminal and the system has none to give.
    pub(crate) fn open(container: &Container, log: &Arc<ContainerLog>) -> io::Result<Opened> {
        let audience = Arc::<Audience>::default();
        let stdout = Shown { log: Output::stdout(log), stream: Stream::Stdout, audience: Arc::clone(&audience) };
        let mut console = Self {
            audience,
            terminal: None,
            written: None,
            typed: None,
            takes_input: container.stdin == Some(true),
            once: container.stdin_once == Some(true),
            signal: watch::Sender::default(),
        };
        if container.tty == Some(true) {
            let terminal = Arc::new(Terminal::open()?);
            let (writer, written) = pipe(ROOM_BYTES);
            console.terminal = Some(Arc::clone(&terminal));
            console.written = Some(Arc::clone(&writer));
            let stdin = Stdin::new(Box::new(terminal.far_side()));
            let streams = Streams { stdin, stdout: writer.clone(), stderr: writer, tty: Tty::Yes };
            let carrier = Carrier { terminal, written, shown: stdout };
            return Ok(Opened { console: Arc::new(console), streams, carrier: Some(carrier) });
        }
        let mut stdin = Stdin::none();
        if console.takes_input {
            let (writer, reader) = pipe(ROOM_BYTES);
            console.typed = Some(writer);
            stdin = Stdin::new(Box::new(reader));
        }
        let log = Output::stderr(log);
        let stderr = Shown { log, stream: Stream::Stderr, audience: Arc::clone(&console.audience) };
        let streams = Streams { stdin, stdout: Arc::new(stdout), stderr: Arc::new(stderr), tty: Tty::No };
        Ok(Opened { console: Arc::new(console), streams, carrier: None })
    }

    /// Follows one of its outputs; with a terminal there is only the first.
    pub(crate) fn follow(&self, stream: Stream) -> Seat {
        self.audience.follow(stream)
    }

    /// The terminal, if it has one.
    pub(crate) fn terminal(&self) -> Option<&Terminal> {
        self.terminal.as_deref()
    }

    /// Whether the program reads what is typed.
    pub(crate) fn takes_input(&self) -> bool {
        self.takes_input
    }

    /// Types `bytes`, when there is room for them. What is typed after the end of the input is lost.
    ///
    /// # Errors
    /// An I/O error of the terminal's.
    pub(crate) async fn type_in(&self, bytes: &[u8]) -> io::Result<()> {
        match (&self.terminal, &self.typed) {
            (Some(terminal), _) => terminal.write_all(bytes).await?,
            (None, Some(typed)) => {
                typed.room().await;
                typed.write(bytes);
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Somebody who could type has left.
    pub(crate) fn leave(&self) {
        if let Some(typed) = self.typed.as_ref().filter(|_| self.once) {
            typed.close();
        }
    }

    /// Somebody pressed a key that ends the program.
    pub(crate) fn signal(&self, signal: Signal) {
        self.signal.send_replace(Some(signal));
    }

    /// Waits until somebody has pressed a key that ends the program.
    pub(crate) async fn signalled(&self) -> Signal {
        let mut signal = self.signal.subscribe();
        // The sender lives as long as we are borrowed.
        let found = signal.wait_for(Option::is_some).await.ok().and_then(|signal| *signal);
        match found {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// The program has ended: once the carrier has ended too, all that it wrote has been shown.
    pub(crate) fn program_ended(&self) {
        if let Some(written) = &self.written {
            written.close();
        }
        if let Some(terminal) = &self.terminal {
            terminal.resume();
        }
    }

    /// All has been shown: everybody who is attached is let go.
    pub(crate) fn close(&self) {
        self.audience.close();
    }
}

/// See [`Console::open`].
pub(crate) struct Opened {
    pub(crate) console: Arc<Console>,
    pub(crate) streams: Streams,
    pub(crate) carrier: Option<Carrier>,
}

impl Carrier {
    /// Carries until the program has ended and all that it wrote was shown.
    pub(crate) async fn run(self) {
        let Self { terminal, mut written, shown } = self;
        let out = async {
            let ended = write_out(&mut written, terminal.far_side()).await;
            terminal.hang_up();
            ended
        };
        let show = async {
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let read = terminal.read(&mut piece).await?;
                if read == 0 {
                    return Ok(());
                }
                while let Some(wait) = shown.wait() {
                    tokio::time::sleep(wait).await;
                }
                shown.write(piece.get(..read).unwrap_or_default());
            }
        };
        let (out, show) = tokio::join!(out, show);
        if let Err(error) = out.and(show) {
            tracing::warn!(%error, "a container's terminal failed; what it wrote last is lost");
        }
    }
}

/// Copies what a program writes to its side of a terminal, to the end.
///
/// # Errors
/// An I/O error of the terminal's.
pub(crate) async fn write_out(written: &mut Reader, mut far: FarSide) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = written.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        far.write_all(piece.get(..read).unwrap_or_default()).await?;
    }
}
