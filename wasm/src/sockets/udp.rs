//! `wasi:sockets/udp` 0.2: bind, peers and addresses are the pod's; the rest is wasmtime's as it is.

use std::net::SocketAddr;

use coracle_api::meet::Protocol;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    self, IncomingDatagram, IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream,
};
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket;
use wasmtime_wasi::p2::{DynPollable, SocketResult, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsCtxView;

use super::{PodSockets, forward};

type Udp = Resource<UdpSocket>;
type Incoming = Resource<IncomingDatagramStream>;
type Outgoing = Resource<OutgoingDatagramStream>;

impl udp_create_socket::Host for PodSockets<'_> {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Udp> {
        let room = self.room()?;
        let socket = udp_create_socket::Host::create_udp_socket(&mut self.inner, family).await?;
        self.socket(socket.rep())._room = Some(room);
        Ok(socket)
    }
}

impl udp::Host for PodSockets<'_> {}

impl udp::HostUdpSocket for PodSockets<'_> {
    async fn start_bind(
        &mut self,
        socket: Udp,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        let number = socket.rep();
        let real = self.datagram_bind_target(number, local.into())?;
        let bound = udp::HostUdpSocket::start_bind(&mut self.inner, socket, network, real.into()).await;
        if bound.is_err() {
            self.unbind(number);
        }
        bound
    }

    async fn stream(&mut self, socket: Udp, remote: Option<IpSocketAddress>) -> SocketResult<(Incoming, Outgoing)> {
        let number = socket.rep();
        let real = match remote {
            Some(remote) => Some(self.connect_target(number, Protocol::Udp, remote.into())?.into()),
            None => None,
        };
        let (incoming, outgoing) = udp::HostUdpSocket::stream(&mut self.inner, socket, real).await?;
        let streams = &mut self.sockets.streams;
        streams.insert(incoming.rep(), number);
        streams.insert(outgoing.rep(), number);
        Ok((incoming, outgoing))
    }

    fn local_address(&mut self, socket: Udp) -> SocketResult<IpSocketAddress> {
        let number = socket.rep();
        let real = udp::HostUdpSocket::local_address(&mut self.inner, socket)?;
        Ok(self.shown(number, real.into()).into())
    }

    fn remote_address(&mut self, socket: Udp) -> SocketResult<IpSocketAddress> {
        let number = socket.rep();
        let real = udp::HostUdpSocket::remote_address(&mut self.inner, socket)?;
        Ok(self.shown(number, real.into()).into())
    }

    fn drop(&mut self, socket: Udp) -> Result<()> {
        self.forget(socket.rep());
        udp::HostUdpSocket::drop(&mut self.inner, socket)
    }

    forward! { udp::HostUdpSocket;
        fn finish_bind(&mut self, socket: Udp) -> SocketResult<()>;
        fn address_family(&mut self, socket: Udp) -> Result<IpAddressFamily>;
        fn unicast_hop_limit(&mut self, socket: Udp) -> SocketResult<u8>;
        fn set_unicast_hop_limit(&mut self, socket: Udp, value: u8) -> SocketResult<()>;
        fn receive_buffer_size(&mut self, socket: Udp) -> SocketResult<u64>;
        fn set_receive_buffer_size(&mut self, socket: Udp, value: u64) -> SocketResult<()>;
        fn send_buffer_size(&mut self, socket: Udp) -> SocketResult<u64>;
        fn set_send_buffer_size(&mut self, socket: Udp, value: u64) -> SocketResult<()>;
        fn subscribe(&mut self, socket: Udp) -> Result<Resource<DynPollable>>;
    }
}

impl udp::HostIncomingDatagramStream for PodSockets<'_> {
    fn receive(&mut self, stream: Incoming, max: u64) -> SocketResult<Vec<IncomingDatagram>> {
        let number = self.socket_of(stream.rep());
        let mut datagrams = udp::HostIncomingDatagramStream::receive(&mut self.inner, stream, max)?;
        self.sockets.pod.counters().received(datagrams.iter().map(|datagram| datagram.data.len()).sum());
        for datagram in &mut datagrams {
            let real = datagram.remote_address.into();
            let sender = self.shown(number, real);
            // An answer goes back to where the question came from, whatever its sender's address means elsewhere.
            self.remember(number, real, sender);
            datagram.remote_address = sender.into();
        }
        Ok(datagrams)
    }

    fn drop(&mut self, stream: Incoming) -> Result<()> {
        self.sockets.streams.remove(&stream.rep());
        udp::HostIncomingDatagramStream::drop(&mut self.inner, stream)
    }

    forward! { udp::HostIncomingDatagramStream;
        fn subscribe(&mut self, stream: Incoming) -> Result<Resource<DynPollable>>;
    }
}

impl udp::HostOutgoingDatagramStream for PodSockets<'_> {
    fn send(&mut self, stream: Outgoing, mut datagrams: Vec<OutgoingDatagram>) -> SocketResult<u64> {
        let number = self.socket_of(stream.rep());
        for datagram in &mut datagrams {
            if let Some(remote) = datagram.remote_address {
                datagram.remote_address = Some(self.send_target(number, remote.into())?.into());
            }
        }
        let lengths: Vec<usize> = datagrams.iter().map(|datagram| datagram.data.len()).collect();
        let sent = udp::HostOutgoingDatagramStream::send(&mut self.inner, stream, datagrams)?;
        let sent_lengths = lengths.into_iter().take(usize::try_from(sent).unwrap_or(usize::MAX));
        self.sockets.pod.counters().sent(sent_lengths.sum());
        Ok(sent)
    }

    async fn drop(&mut self, stream: Outgoing) -> Result<()> {
        self.sockets.streams.remove(&stream.rep());
        udp::HostOutgoingDatagramStream::drop(&mut self.inner, stream).await
    }

    forward! { udp::HostOutgoingDatagramStream;
        fn check_send(&mut self, stream: Outgoing) -> SocketResult<u64>;
        fn subscribe(&mut self, stream: Outgoing) -> Result<Resource<DynPollable>>;
    }
}

impl PodSockets<'_> {
    /// The socket whose stream it is.
    fn socket_of(&self, stream: u32) -> u32 {
        self.sockets.streams.get(&stream).copied().unwrap_or(stream)
    }

    /// Where a bind of a datagram socket really goes. One that names neither address nor port is a client's: it is
    /// bound to whatever the system gives, for from the pod's own address no datagram may leave the machine.
    pub(super) fn datagram_bind_target(&mut self, number: u32, wanted: SocketAddr) -> Result<SocketAddr, ErrorCode> {
        let is_client = wanted.ip().is_unspecified() && wanted.port() == 0;
        if is_client { Ok(wanted) } else { self.bind_target(number, wanted) }
    }

    /// Where a datagram really goes. A peer once known stays who it is, as in a conntrack entry: the endpoint of a
    /// Service that was chosen first, or the sender of a datagram.
    pub(super) fn send_target(&mut self, number: u32, wanted: SocketAddr) -> Result<SocketAddr, ErrorCode> {
        let peers = self.sockets.open.get(&number).map(|open| &open.peers);
        let chosen =
            peers.and_then(|peers| peers.iter().find(|(_, known_as)| **known_as == wanted).map(|(real, _)| *real));
        match chosen {
            Some(real) => Ok(real),
            None => self.connect_target(number, Protocol::Udp, wanted),
        }
    }
}
