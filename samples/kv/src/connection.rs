//! One connection: a request in, its answer out, the next request.
//!
//! Invariant: it holds one request at a time and reads nothing while it owes an answer, so a peer that
//! sends but does not read is slowed down by TCP itself. The answer to a write is held until told that it
//! is on the disk.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use kv::request::{self, Parsed};
use wasip2::io::poll::Pollable;
use wasip2::io::streams::{InputStream, OutputStream, StreamError};
use wasip2::sockets::network::{ErrorCode, IpSocketAddress};
use wasip2::sockets::tcp::{ShutdownType, TcpSocket};

use crate::answer::Answer;

/// The most bytes read at once.
const CHUNK: u64 = 64 * 1024;

/// What a client is told that asks before it sends its value.
const GO: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a turn has come to.
pub(crate) enum Progress {
    /// It waits again, for what `awaits` names.
    Open,
    /// It has a request, and waits for `answer`.
    Asked(Parsed),
    /// It has ended.
    Closed,
}

/// ```text
/// Reading ──request──▶ Waiting ──answer──▶ Owing ──all sent──▶ Reading, or Closing ──▶ (closed)
/// ```
enum State {
    /// Waits for the peer to send.
    Reading,
    /// Waits for us.
    Waiting,
    /// Owes what follows `sent`; waits until the peer takes more.
    Owing { bytes: Vec<u8>, sent: usize },
    /// Everything is sent; waits until the last bytes have left.
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
    state: State,
    received: Vec<u8>,
    was_told_to_go: bool,
    keeps: bool,
    head_only: bool,
}

impl Connection {
    pub(crate) fn new(socket: TcpSocket, input: InputStream, output: OutputStream) -> Self {
        Self {
            readable: input.subscribe(),
            writable: output.subscribe(),
            input,
            output,
            socket,
            state: State::Reading,
            received: Vec::new(),
            was_told_to_go: false,
            keeps: true,
            head_only: false,
        }
    }

    /// What must be ready before `advance` is worth calling.
    pub(crate) fn awaits(&self) -> &Pollable {
        match self.state {
            State::Reading => &self.readable,
            State::Waiting | State::Owing { .. } | State::Closing => &self.writable,
        }
    }

    /// Whether it owes nothing and has been sent nothing, so that closing it loses nothing.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Reading) && self.received.is_empty()
    }

    /// Does what can be done without waiting.
    pub(crate) fn advance(&mut self) -> Progress {
        let turn = match self.state {
            State::Reading => self.read(),
            State::Waiting => Ok(Progress::Open),
            State::Owing { .. } => self.send(),
            State::Closing => self.close(),
        };
        turn.unwrap_or(Progress::Closed)
    }

    /// Gives the answer to what was asked, and begins to send it.
    pub(crate) fn answer(&mut self, answer: &Answer) -> Progress {
        self.state = State::Owing { bytes: answer.to_bytes(self.keeps, self.head_only), sent: 0 };
        self.advance()
    }

    fn read(&mut self) -> Result<Progress, StreamError> {
        let chunk = match self.input.read(CHUNK) {
            Ok(chunk) => chunk,
            // A request that was cut off has no answer.
            Err(StreamError::Closed) => return Ok(Progress::Closed),
            Err(error) => return Err(error),
        };
        self.received.extend(chunk);
        self.next_request()
    }

    fn next_request(&mut self) -> Result<Progress, StreamError> {
        if self.received.is_empty() {
            return Ok(Progress::Open);
        }
        match request::parse(&self.received) {
            Parsed::Partial { wants_go } => {
                // A write without room for it is a trap; a client that is not told goes on after a while.
                if wants_go && !self.was_told_to_go && self.output.check_write()? >= GO.len() as u64 {
                    self.was_told_to_go = true;
                    self.output.write(GO)?;
                    self.output.flush()?;
                }
                Ok(Progress::Open)
            }
            Parsed::Whole { ask, taken, keeps, head_only } => {
                self.received.drain(..taken.min(self.received.len()));
                (self.keeps, self.head_only, self.was_told_to_go) = (keeps, head_only, false);
                self.state = State::Waiting;
                Ok(Progress::Asked(Parsed::Whole { ask, taken, keeps, head_only }))
            }
        }
    }

    fn send(&mut self) -> Result<Progress, StreamError> {
        let State::Owing { bytes, sent } = &mut self.state else {
            return Ok(Progress::Open);
        };
        let owed = bytes.get(*sent..).unwrap_or_default();
        let room = usize::try_from(self.output.check_write()?).unwrap_or(usize::MAX);
        let part = owed.get(..room).unwrap_or(owed);
        if part.is_empty() {
            return Ok(Progress::Open);
        }
        self.output.write(part)?;
        *sent += part.len();
        if part.len() < owed.len() {
            return Ok(Progress::Open);
        }
        self.output.flush()?;
        if self.keeps {
            self.state = State::Reading;
            // The next request may have come with the last.
            return self.next_request();
        }
        self.state = State::Closing;
        self.close()
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
