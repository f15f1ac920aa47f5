//! The listening socket: binds, listens, and hands over who has come.
//!
//! Invariant: what it waits for is never ready for ever. After an accept that failed it waits for a
//! timer and not for the socket, which would still be ready, and would turn the wait into a spin.

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::poll::Pollable;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

use crate::connection::{Connection, display};

/// How long to leave the socket alone after an accept failed, in nanoseconds: long enough to cost
/// nothing if the host stays short of sockets, short enough that nobody notices if it does not.
const REST_NANOS: u64 = 100_000_000;

/// A socket that listens on all of the pod's addresses.
pub(crate) struct Listener {
    // Handles drop in this order, and a child must go before its parent.
    rest: Option<Pollable>,
    acceptable: Pollable,
    socket: TcpSocket,
}

impl Listener {
    /// Binds and listens. It may block, there being nobody to serve yet.
    pub(crate) fn bind(port: u16) -> Result<Self, ErrorCode> {
        let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
        let acceptable = socket.subscribe();
        let everywhere = IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (0, 0, 0, 0) });
        socket.start_bind(&instance_network(), everywhere)?;
        finish(&acceptable, || socket.finish_bind())?;
        socket.start_listen()?;
        finish(&acceptable, || socket.finish_listen())?;
        Ok(Self { rest: None, acceptable, socket })
    }

    /// Where it listens, for the log.
    pub(crate) fn address(&self) -> String {
        display(self.socket.local_address())
    }

    /// What must be ready before `accept` is worth calling.
    pub(crate) fn awaits(&self) -> &Pollable {
        self.rest.as_ref().unwrap_or(&self.acceptable)
    }

    /// Takes in those who wait, at most `room` of them.
    pub(crate) fn accept(&mut self, room: usize) -> Vec<Connection> {
        self.rest = None;
        let mut accepted = Vec::new();
        while accepted.len() < room {
            match self.socket.accept() {
                Ok((socket, input, output)) => accepted.push(Connection::new(socket, input, output)),
                Err(ErrorCode::WouldBlock) => break,
                Err(error) => {
                    eprintln!("cannot accept a connection: {error}");
                    self.rest = Some(subscribe_duration(REST_NANOS));
                    break;
                }
            }
        }
        accepted
    }
}

/// Waits for the second half of an operation that the host may do in its own time.
fn finish(done: &Pollable, poll: impl Fn() -> Result<(), ErrorCode>) -> Result<(), ErrorCode> {
    loop {
        match poll() {
            Err(ErrorCode::WouldBlock) => done.block(),
            result => return result,
        }
    }
}
