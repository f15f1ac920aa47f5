//! The socket of datagrams: many are taken with one call, and each answer leaves by the address that was asked. A machine
//! has several, and who asks one of them does not know an answer that comes from another.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The room for one datagram, or for several of one client that the system hands over as one. What is not used of it
/// takes no memory.
const ROOM_BYTES: usize = u16::MAX as usize;

/// A socket that can tell who asked it where.
pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    /// Whether it listens at all addresses of the machine.
    is_everywhere: bool,
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asker {
    /// Where they are.
    pub(super) addr: SocketAddr,
    /// By which address of this machine they asked, where it has to be said with the answer.
    by: Option<IpAddr>,
}

/// Room for what is taken together.
pub(super) struct Room {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Default for Room {
    fn default() -> Self {
        Self { bytes: vec![0; BATCH_SIZE * ROOM_BYTES], metas: [RecvMeta::default(); BATCH_SIZE] }
    }
}

impl Socket {
    /// Takes over a socket that is bound.
    ///
    /// # Errors
    /// When the system does not say by which address a datagram came.
    pub(super) fn new(io: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&io).into())?;
        let is_everywhere = io.local_addr()?.ip().is_unspecified();
        Ok(Self { io, state, is_everywhere })
    }

    /// Waits until there is something to take.
    ///
    /// # Errors
    /// When nothing can come any more.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    /// Takes what is there, as much as there is room for.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there; others tell of clients that have gone.
    pub(super) fn take<'a>(&self, room: &'a mut Room) -> io::Result<impl Iterator<Item = (&'a [u8], Asker)>> {
        let mut rooms = room.bytes.chunks_exact_mut(ROOM_BYTES).map(IoSliceMut::new);
        let mut slices: [_; BATCH_SIZE] = std::array::from_fn(|_| rooms.next().unwrap_or(IoSliceMut::new(&mut [])));
        let receive = || self.state.recv((&self.io).into(), &mut slices, &mut room.metas);
        let count = self.io.try_io(Interest::READABLE, receive)?;
        let is_everywhere = self.is_everywhere;
        let taken = room.bytes.chunks_exact(ROOM_BYTES).zip(&room.metas).take(count);
        Ok(taken.flat_map(move |(bytes, meta)| {
            let asker = Asker { addr: meta.addr, by: meta.dst_ip.filter(|_| is_everywhere) };
            let all = bytes.get(..meta.len).unwrap_or_default();
            all.chunks(meta.stride.max(1)).map(move |one| (one, asker))
        }))
    }

    /// Sends, or drops what cannot be sent at once, as datagrams may be: who does not hear an answer asks again.
    pub(super) fn send(&self, answer: &[u8], to: Asker) {
        let transmit =
            Transmit { destination: to.addr, ecn: None, contents: answer, segment_size: None, src_ip: to.by };
        let sent = self.io.try_io(Interest::WRITABLE, || self.state.try_send((&self.io).into(), &transmit));
        if let Err(error) = sent {
            tracing::debug!(%error, client = %to.addr, "an answer was not sent");
        }
    }
}
