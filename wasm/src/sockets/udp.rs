//! `wasi:sockets/udp` 0.2: bind, peers and addresses are the pod's; the rest is wasmtime's as it is.
//!
//! A socket is never connected for real: the endpoint of a Service may change, and with it where datagrams go that the
//! guest sends to the Service. What others send to a connected one is left out here.

use std::net::SocketAddr;

use coracle_api::meet::Protocol;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::udp::{
    self, IncomingDatagram, IncomingDatagramStream, OutgoingDatagram, OutgoingDatagramStream,
};
use wasmtime_wasi::p2::bindings::sockets::{instance_network, network, udp_create_socket};
use wasmtime_wasi::p2::{DynPollable, SocketError, SocketResult, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsCtxView;

use super::tcp::same;
use super::{BIND_TRIES, PodSockets, canonical, forward, outward};

type Udp = Resource<UdpSocket>;
type Incoming = Resource<IncomingDatagramStream>;
type Outgoing = Resource<OutgoingDatagramStream>;

impl udp_create_socket::Host for PodSockets<'_> {
    async fn create_udp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Udp> {
        let room = self.room()?;
        let socket = udp_create_socket::Host::create_udp_socket(&mut self.inner, family).await?;
        self.opened(socket.rep(), room, family == IpAddressFamily::Ipv6);
        Ok(socket)
    }
}

impl PodSockets<'_> {
    /// Binds the socket as the guest wants it. A port that somebody took in the meantime is not asked for again.
    async fn bind(&mut self, socket: &Udp, network: &Resource<Network>, wanted: SocketAddr) -> SocketResult<()> {
        let number = socket.rep();
        let mut tries = BIND_TRIES;
        loop {
            let real = self.bind_target(number, Protocol::Udp, wanted)?;
            self.match_udp_family(socket, real).await?;
            tries -= 1;
            let bind = udp::HostUdpSocket::start_bind(&mut self.inner, same(socket), same(network), real.into());
            let Err(error) = bind.await else { return Ok(()) };
            self.unbind(number);
            let error = error.downcast().map_err(SocketError::trap)?;
            if error != ErrorCode::AddressInUse || tries == 0 {
                return Err(error.into());
            }
        }
    }

    /// Gives a socket that has done nothing yet the family of the address it is going to be used with.
    async fn match_udp_family(&mut self, socket: &Udp, real: SocketAddr) -> SocketResult<()> {
        let wanted = if real.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
        let family = udp::HostUdpSocket::address_family(&mut self.inner, same(socket)).map_err(SocketError::trap)?;
        if family == wanted {
            return Ok(());
        }
        let fresh = udp_create_socket::Host::create_udp_socket(&mut self.inner, wanted).await?;
        let fresh = self.inner.table.delete(fresh)?;
        *self.inner.table.get_mut(socket)? = fresh;
        Ok(())
    }

    /// Makes a socket that only asks one of the family of whom it asks, which is seen only now.
    async fn turn(&mut self, socket: &Udp, real: SocketAddr) -> SocketResult<()> {
        let family = udp::HostUdpSocket::address_family(&mut self.inner, same(socket)).map_err(SocketError::trap)?;
        let is_client = self.socket(socket.rep()).asked.is_some_and(|asked| asked.port() == 0);
        if (family == IpAddressFamily::Ipv4) == real.is_ipv4() || !is_client {
            return Ok(());
        }
        self.match_udp_family(socket, real).await?;
        self.unbind(socket.rep());
        let network = instance_network::Host::instance_network(&mut self.inner).map_err(SocketError::trap)?;
        let any = if real.is_ipv4() { SocketAddr::from(([0; 4], 0)) } else { SocketAddr::from(([0_u16; 8], 0)) };
        let bound = if real.is_ipv4() == self.sockets.pod.attachment().ip().is_ipv4() {
            self.bind(socket, &network, any).await
        } else {
            // In a family that the pods do not have, it is a socket of the machine's as any other.
            self.socket(socket.rep()).asked = Some(any);
            udp::HostUdpSocket::start_bind(&mut self.inner, same(socket), same(&network), any.into()).await
        };
        network::HostNetwork::drop(&mut self.inner, network).map_err(SocketError::trap)?;
        bound?;
        udp::HostUdpSocket::finish_bind(&mut self.inner, same(socket))
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
        self.bind(&socket, &network, local.into()).await
    }

    async fn stream(&mut self, socket: Udp, remote: Option<IpSocketAddress>) -> SocketResult<(Incoming, Outgoing)> {
        let number = socket.rep();
        let remote = remote.map(|remote| canonical(remote.into()));
        if let Some(remote) = remote {
            if remote.ip().to_canonical().is_unspecified() || remote.port() == 0 {
                return Err(ErrorCode::InvalidArgument.into());
            }
            let real = self.send_target(number, remote)?;
            self.turn(&socket, real).await?;
        }
        let (incoming, outgoing) = udp::HostUdpSocket::stream(&mut self.inner, socket, None).await?;
        self.socket(number).peer = remote;
        let streams = &mut self.sockets.streams;
        streams.insert(incoming.rep(), number);
        streams.insert(outgoing.rep(), number);
        Ok((incoming, outgoing))
    }

    fn local_address(&mut self, socket: Udp) -> SocketResult<IpSocketAddress> {
        let number = socket.rep();
        let real = udp::HostUdpSocket::local_address(&mut self.inner, socket)?;
        Ok(self.own(number, Protocol::Udp, real.into()).into())
    }

    fn remote_address(&mut self, socket: Udp) -> SocketResult<IpSocketAddress> {
        let open = self.socket(socket.rep());
        let peer = open.peer.ok_or(ErrorCode::InvalidState)?;
        Ok(outward(open.is_six, peer).into())
    }

    fn address_family(&mut self, socket: Udp) -> Result<IpAddressFamily> {
        let number = socket.rep();
        let real = udp::HostUdpSocket::address_family(&mut self.inner, socket)?;
        Ok(if self.socket(number).is_six { IpAddressFamily::Ipv6 } else { real })
    }

    fn drop(&mut self, socket: Udp) -> Result<()> {
        self.forget(socket.rep());
        udp::HostUdpSocket::drop(&mut self.inner, socket)
    }

    forward! { udp::HostUdpSocket;
        fn finish_bind(&mut self, socket: Udp) -> SocketResult<()>;
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
        let datagrams = udp::HostIncomingDatagramStream::receive(&mut self.inner, stream, max)?;
        let mut received = Vec::with_capacity(datagrams.len());
        for mut datagram in datagrams {
            if let Some(sender) = self.sender(number, datagram.remote_address.into()) {
                self.sockets.pod.counters().received(datagram.data.len());
                datagram.remote_address = sender.into();
                received.push(datagram);
            }
        }
        Ok(received)
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
        let mut failure = None;
        for at in 0..datagrams.len() {
            let Some(datagram) = datagrams.get_mut(at) else { break };
            let named = datagram.remote_address.map(SocketAddr::from);
            match self.destination(number, named) {
                Ok(real) => datagram.remote_address = Some(real.into()),
                Err(error) => {
                    // What is before it is sent, and it is the first of the next call.
                    datagrams.truncate(at);
                    failure = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = failure.filter(|_| datagrams.is_empty()) {
            return Err(error.into());
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

    /// Where a datagram really goes, which is for whom it names, or for whom the socket is connected to.
    pub(super) fn destination(&mut self, number: u32, named: Option<SocketAddr>) -> Result<SocketAddr, ErrorCode> {
        let peer = self.socket(number).peer;
        let wanted = match (named, peer) {
            (Some(named), Some(peer)) if canonical(named) != canonical(peer) => return Err(ErrorCode::InvalidArgument),
            (Some(wanted), _) | (None, Some(wanted)) => wanted,
            (None, None) => return Err(ErrorCode::InvalidArgument),
        };
        if wanted.ip().to_canonical().is_unspecified() || wanted.port() == 0 {
            return Err(ErrorCode::InvalidArgument);
        }
        self.send_target(number, canonical(wanted))
    }
}
