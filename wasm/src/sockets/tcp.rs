//! `wasi:sockets/tcp` 0.2: bind, connect, accept and addresses are the pod's; the rest is wasmtime's as it is.

use std::net::SocketAddr;
use std::sync::Arc;

use coracle_api::meet::Protocol;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::{tcp, tcp_create_socket};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, SocketError, SocketResult, TcpSocket};
use wasmtime_wasi::sockets::WasiSocketsCtxView;

use super::counted::{count_input, count_output};
use super::{Open, PodSockets, at_once, forward};

type Tcp = Resource<TcpSocket>;
type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

/// Another handle of the same socket, for a call that consumes one.
pub(super) fn same<T: 'static>(resource: &Resource<T>) -> Resource<T> {
    Resource::new_borrow(resource.rep())
}

impl PodSockets<'_> {
    /// Gives the socket the family of the address it is going to be used with: a guest that binds `[::]`
    /// gets the pod's only address, which may be of IPv4.
    fn match_family(&mut self, socket: &Tcp, real: SocketAddr) -> SocketResult<()> {
        let wanted = if real.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
        let family = tcp::HostTcpSocket::address_family(&mut self.inner, same(socket)).map_err(SocketError::trap)?;
        if family == wanted { Ok(()) } else { self.replace(socket, wanted) }
    }

    /// Puts a new socket in the place of one that has done nothing yet, with the same options.
    fn replace(&mut self, socket: &Tcp, family: IpAddressFamily) -> SocketResult<()> {
        let fresh = tcp_create_socket::Host::create_tcp_socket(&mut self.inner, family)?;
        let backlog = self.socket(socket.rep()).backlog;
        let inner = &mut self.inner;
        if let Some(backlog) = backlog {
            tcp::HostTcpSocket::set_listen_backlog_size(inner, same(&fresh), backlog)?;
        }
        macro_rules! copy {
            ($( $get:ident => $set:ident; )*) => { $(
                let value = tcp::HostTcpSocket::$get(inner, same(socket))?;
                tcp::HostTcpSocket::$set(inner, same(&fresh), value)?;
            )* };
        }
        copy! {
            keep_alive_enabled => set_keep_alive_enabled;
            keep_alive_idle_time => set_keep_alive_idle_time;
            keep_alive_interval => set_keep_alive_interval;
            keep_alive_count => set_keep_alive_count;
            hop_limit => set_hop_limit;
            receive_buffer_size => set_receive_buffer_size;
            send_buffer_size => set_send_buffer_size;
        }
        let fresh = inner.table.delete(fresh)?;
        *inner.table.get_mut(socket)? = fresh;
        Ok(())
    }

    /// Whether the policies let an accepted connection in. One that has no peer any more is nobody's.
    fn is_let_in(&mut self, listener: &Tcp, accepted: &Tcp) -> bool {
        let Ok(real) = tcp::HostTcpSocket::remote_address(&mut self.inner, same(accepted)) else { return false };
        let peer = self.sockets.pod.attachment().shown(Protocol::Tcp, real.into());
        self.admits(listener.rep(), Protocol::Tcp, peer)
    }

    /// Counts the connection, and what its streams carry from now on.
    fn count(
        &mut self,
        number: u32,
        input: &Resource<DynInputStream>,
        output: &Resource<DynOutputStream>,
    ) -> SocketResult<()> {
        let counters = self.sockets.pod.counters();
        count_input(self.inner.table.get_mut(input)?, counters);
        count_output(self.inner.table.get_mut(output)?, counters);
        self.connected(number);
        Ok(())
    }

    /// Makes the socket one that can be connected to `real`, from the pod's address, so that its peer knows it.
    fn bind_source(
        &mut self,
        socket: &Tcp,
        network: &Resource<Network>,
        real: SocketAddr,
        wanted: SocketAddr,
    ) -> SocketResult<()> {
        let number = socket.rep();
        if self.socket(number).port.is_some() {
            if self.sockets.pod.is_near(real.ip()) {
                return Ok(());
            }
            // From the pod's address no packet finds its way back from outside: it is the machine's then.
            self.unbind(number);
            let family = if real.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
            return self.replace(socket, family);
        }
        for source in self.sockets.pod.sources_for(real) {
            let bind = tcp::HostTcpSocket::start_bind(&mut self.inner, same(socket), same(network), source.into());
            // Where the pod's address is not one of this machine it fails.
            if matches!(at_once(bind), Some(Ok(()))) {
                tcp::HostTcpSocket::finish_bind(&mut self.inner, same(socket))?;
                let own = tcp::HostTcpSocket::local_address(&mut self.inner, same(socket))?.into();
                self.socket(number).guise = self.sockets.pod.attachment().guise(Protocol::Tcp, own, wanted);
                break;
            }
        }
        Ok(())
    }
}

impl tcp_create_socket::Host for PodSockets<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Tcp> {
        let room = self.room()?;
        let socket = tcp_create_socket::Host::create_tcp_socket(&mut self.inner, family)?;
        self.opened(socket.rep(), room, family == IpAddressFamily::Ipv6);
        Ok(socket)
    }
}

impl tcp::Host for PodSockets<'_> {}

impl tcp::HostTcpSocket for PodSockets<'_> {
    async fn start_bind(
        &mut self,
        socket: Tcp,
        network: Resource<Network>,
        local: IpSocketAddress,
    ) -> SocketResult<()> {
        let number = socket.rep();
        if self.socket(number).peer.is_some() {
            return Err(ErrorCode::InvalidState.into());
        }
        let real = self.bind_target(number, Protocol::Tcp, local.into())?;
        self.match_family(&socket, real)?;
        let bound = tcp::HostTcpSocket::start_bind(&mut self.inner, socket, network, real.into()).await;
        if bound.is_err() {
            self.unbind(number);
        }
        bound
    }

    fn start_connect(&mut self, socket: Tcp, network: Resource<Network>, remote: IpSocketAddress) -> SocketResult<()> {
        let (number, wanted) = (socket.rep(), remote.into());
        let listens = tcp::HostTcpSocket::is_listening(&mut self.inner, same(&socket)).map_err(SocketError::trap)?;
        if listens || self.socket(number).peer.is_some() || self.socket(number).connection.is_some() {
            return Err(ErrorCode::InvalidState.into());
        }
        let real = self.connect_target(number, wanted)?;
        self.match_family(&socket, real)?;
        self.bind_source(&socket, &network, real, wanted)?;
        tcp::HostTcpSocket::start_connect(&mut self.inner, socket, network, real.into())
    }

    async fn start_listen(&mut self, socket: Tcp) -> SocketResult<()> {
        tcp::HostTcpSocket::start_listen(&mut self.inner, socket).await
    }

    fn accept(&mut self, socket: Tcp) -> SocketResult<(Tcp, Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let room = Some(self.room()?);
        let is_six = self.socket(socket.rep()).is_six;
        let (accepted, input, output) = loop {
            let (accepted, input, output) = tcp::HostTcpSocket::accept(&mut self.inner, same(&socket))?;
            let is_stopping = self.sockets.pod.is_stopping();
            if !is_stopping && self.is_let_in(&socket, &accepted) {
                break (accepted, input, output);
            }
            self.inner.table.delete(input)?;
            self.inner.table.delete(output)?;
            self.inner.table.delete(accepted)?;
            if is_stopping {
                return Err(ErrorCode::WouldBlock.into());
            }
        };
        let in_flight = Some(Arc::new(self.sockets.pod.in_flight()));
        self.sockets.open.insert(accepted.rep(), Open { is_six, in_flight, _room: room, ..Open::default() });
        self.count(accepted.rep(), &input, &output)?;
        Ok((accepted, input, output))
    }

    fn finish_connect(&mut self, socket: Tcp) -> SocketResult<Streams> {
        let number = socket.rep();
        let (input, output) = tcp::HostTcpSocket::finish_connect(&mut self.inner, socket)?;
        self.count(number, &input, &output)?;
        Ok((input, output))
    }

    fn local_address(&mut self, socket: Tcp) -> SocketResult<IpSocketAddress> {
        let number = socket.rep();
        let real = tcp::HostTcpSocket::local_address(&mut self.inner, socket)?;
        Ok(self.own(number, Protocol::Tcp, real.into()).into())
    }

    fn remote_address(&mut self, socket: Tcp) -> SocketResult<IpSocketAddress> {
        let number = socket.rep();
        let real = tcp::HostTcpSocket::remote_address(&mut self.inner, socket)?;
        Ok(self.peer(number, real.into()).into())
    }

    fn address_family(&mut self, socket: Tcp) -> Result<IpAddressFamily> {
        let number = socket.rep();
        let real = tcp::HostTcpSocket::address_family(&mut self.inner, socket)?;
        Ok(if self.socket(number).is_six { IpAddressFamily::Ipv6 } else { real })
    }

    fn set_listen_backlog_size(&mut self, socket: Tcp, value: u64) -> SocketResult<()> {
        let number = socket.rep();
        tcp::HostTcpSocket::set_listen_backlog_size(&mut self.inner, socket, value)?;
        self.socket(number).backlog = Some(value);
        Ok(())
    }

    fn drop(&mut self, socket: Tcp) -> Result<()> {
        self.forget(socket.rep());
        tcp::HostTcpSocket::drop(&mut self.inner, socket)
    }

    forward! { tcp::HostTcpSocket;
        fn finish_bind(&mut self, socket: Tcp) -> SocketResult<()>;
        fn finish_listen(&mut self, socket: Tcp) -> SocketResult<()>;
        fn is_listening(&mut self, socket: Tcp) -> Result<bool>;
        fn keep_alive_enabled(&mut self, socket: Tcp) -> SocketResult<bool>;
        fn set_keep_alive_enabled(&mut self, socket: Tcp, value: bool) -> SocketResult<()>;
        fn keep_alive_idle_time(&mut self, socket: Tcp) -> SocketResult<u64>;
        fn set_keep_alive_idle_time(&mut self, socket: Tcp, value: u64) -> SocketResult<()>;
        fn keep_alive_interval(&mut self, socket: Tcp) -> SocketResult<u64>;
        fn set_keep_alive_interval(&mut self, socket: Tcp, value: u64) -> SocketResult<()>;
        fn keep_alive_count(&mut self, socket: Tcp) -> SocketResult<u32>;
        fn set_keep_alive_count(&mut self, socket: Tcp, value: u32) -> SocketResult<()>;
        fn hop_limit(&mut self, socket: Tcp) -> SocketResult<u8>;
        fn set_hop_limit(&mut self, socket: Tcp, value: u8) -> SocketResult<()>;
        fn receive_buffer_size(&mut self, socket: Tcp) -> SocketResult<u64>;
        fn set_receive_buffer_size(&mut self, socket: Tcp, value: u64) -> SocketResult<()>;
        fn send_buffer_size(&mut self, socket: Tcp) -> SocketResult<u64>;
        fn set_send_buffer_size(&mut self, socket: Tcp, value: u64) -> SocketResult<()>;
        fn subscribe(&mut self, socket: Tcp) -> Result<Resource<DynPollable>>;
        fn shutdown(&mut self, socket: Tcp, how: tcp::ShutdownType) -> SocketResult<()>;
    }
}
