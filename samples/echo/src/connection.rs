//! One connection: reads a chunk, sends it back, reads the next; ends when the peer has no more to say.
//!
//! Invariant: it owes its peer at most one chunk and reads nothing while it owes, so a peer that sends
//! but does not read is slowed down by TCP itself. What was read is sent before the connection closes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use wasip2::io::poll::Pollable;
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::network::{ErrorCode, IpSocketAddress};
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};

/// The most bytes read at once, and so the most owed to a peer.
const CHUNK: u64 = 16 * 1024;

/// What a turn has come to.
#[derive(PartialEq, Eq)]
pub(crate) enum Progress {
    /// It waits again, for what `awaits` names.
    Open,
    /// It has ended, well or badly, and was logged.
    Closed,
}

/// ```text
/// Reading ──bytes──▶ Owing ──all sent──▶ Reading
///    └──end of input──▶ Closing ──all flushed──▶ (closed)
/// ```
enum State {
    /// Owes nothing; waits for the peer to send.
    Reading,
    /// Owes what follows `sent`; waits until the peer takes more.
    Owing { chunk: Vec<u8>, sent: usize },
    /// The peer sends no more; waits until the last bytes have left.
    Closing,
}

/// A peer, and how far we are with it.
pub(crate) struct Connection {
    // Handles drop in this order, and a child must go before its parent.
    readable: Pollable,
    writable: Pollable,
    input: InputStream,
    output: OutputStream,
    socket: TcpSocket,
    peer: String,
    state: State,
    echoed: u64,
}

impl Connection {
    pub(crate) fn new(socket: TcpSocket, input: InputStream, output: OutputStream) -> Self {
        let peer = display(socket.remote_address());
        println!("{peer} connected");
        Self {
            readable: input.subscribe(),
            writable: output.subscribe(),
            input,
            output,
            socket,
            peer,
            state: State::Reading,
            echoed: 0,
        }
    }

    /// What must be ready before `advance` is worth calling.
    pub(crate) fn awaits(&self) -> &Pollable {
        match self.state {
            State::Reading => &self.readable,
            State::Owing { .. } | State::Closing => &self.writable,
        }
    }

    /// Does what can be done without waiting: at most one chunk, so that everybody gets a turn.
    pub(crate) fn advance(&mut self) -> Progress {
        let turn = match self.state {
            State::Reading => self.read(),
            State::Owing { .. } => self.send(),
            State::Closing => self.close(),
        };
        match turn {
            Ok(Progress::Open) => Progress::Open,
            Ok(Progress::Closed) => {
                println!("{} closed after {} bytes", self.peer, self.echoed);
                Progress::Closed
            }
            Err(error) => {
                println!("{} lost after {} bytes: {error}", self.peer, self.echoed);
                Progress::Closed
            }
        }
    }

    fn read(&mut self) -> Result<Progress, StreamError> {
        match self.input.read(CHUNK) {
            Ok(chunk) if chunk.is_empty() => Ok(Progress::Open),
            Ok(chunk) => {
                self.state = State::Owing { chunk, sent: 0 };
                // As a rule there is room at once.
                self.send()
            }
            Err(StreamError::Closed) => {
                self.state = State::Closing;
                self.output.flush()?;
                self.close()
            }
            Err(error) => Err(error),
        }
    }

    fn send(&mut self) -> Result<Progress, StreamError> {
        let State::Owing { chunk, sent } = &mut self.state else {
            return Ok(Progress::Open);
        };
        let owed = chunk.get(*sent..).unwrap_or_default();
        let room = usize::try_from(self.output.check_write()?).unwrap_or(usize::MAX);
        let part = owed.get(..room).unwrap_or(owed);
        if part.is_empty() {
            return Ok(Progress::Open);
        }
        self.output.write(part)?;
        *sent += part.len();
        self.echoed += part.len() as u64;
        if part.len() == owed.len() {
            self.output.flush()?;
            self.state = State::Reading;
        }
        Ok(Progress::Open)
    }

    fn close(&mut self) -> Result<Progress, StreamError> {
        // No room means that a flush is still under way.
        if self.output.check_write()? == 0 {
            return Ok(Progress::Open);
        }
        // A peer that is gone already has no use for being told.
        let _ = self.socket.shutdown(ShutdownType::Send);
        Ok(Progress::Closed)
    }
}

/// An address as people write it.
pub(crate) fn display(address: Result<IpSocketAddress, ErrorCode>) -> String {
    match address {
        Ok(IpSocketAddress::Ipv4(at)) => {
            let (a, b, c, d) = at.address;
            SocketAddr::from((Ipv4Addr::new(a, b, c, d), at.port)).to_string()
        }
        Ok(IpSocketAddress::Ipv6(at)) => {
            let (a, b, c, d, e, f, g, h) = at.address;
            SocketAddr::from((Ipv6Addr::new(a, b, c, d, e, f, g, h), at.port)).to_string()
        }
        Err(error) => format!("unknown address ({error})"),
    }
}
