//! `wasi:sockets` 0.3: the same rewriting as for 0.2, on its asynchronous interface.
//!
//! The streams of a connection, and that of the connections of a listener, are wasmtime's own, led through ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use coracle_api::meet::Protocol;
use wasmtime::component::{Access, Accessor, FutureReader, Linker, Resource, StreamReader};
use wasmtime::{AsContextMut, Result};
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode as ErrorCode02;
use wasmtime_wasi::p3::bindings::sockets::{ip_name_lookup as names, types};
use wasmtime_wasi::p3::sockets::{SocketError, SocketResult};
use wasmtime_wasi::sockets::{TcpSocket, UdpSocket, WasiSockets, WasiSocketsCtxView, WasiSocketsView};

use super::accepted;
use super::lookup::NAME_BYTES_MAX;
use super::passage::{Inlet, Outlet, Way, passage};
use super::tcp::same;
use super::{BIND_TRIES, Open, PodSockets, PodSocketsData, at_once, canonical, forward, outward};
use crate::state::State;

type Tcp = Resource<TcpSocket>;
type Udp = Resource<UdpSocket>;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    types::add_to_linker::<State, PodSocketsData>(linker, State::pod_sockets)?;
    names::add_to_linker::<State, PodSocketsData>(linker, State::pod_sockets)
}

/// Our refusals, in the words of 0.3.
fn refusal(error: ErrorCode02) -> types::ErrorCode {
    match error {
        ErrorCode02::AccessDenied => types::ErrorCode::AccessDenied,
        ErrorCode02::ConnectionRefused => types::ErrorCode::ConnectionRefused,
        ErrorCode02::AddressInUse => types::ErrorCode::AddressInUse,
        ErrorCode02::AddressNotBindable => types::ErrorCode::AddressNotBindable,
        ErrorCode02::InvalidArgument => types::ErrorCode::InvalidArgument,
        ErrorCode02::InvalidState => types::ErrorCode::InvalidState,
        ErrorCode02::NewSocketLimit => types::ErrorCode::Other(Some("too many open sockets".into())),
        _ => types::ErrorCode::Other(None),
    }
}

impl PodSockets<'_> {
    /// Makes the socket one that can be connected where `wanted` leads, from the pod's address. Returns where that is.
    fn prepare_connect(&mut self, socket: &Tcp, wanted: SocketAddr) -> SocketResult<types::IpSocketAddress> {
        let number = socket.rep();
        let listens =
            types::HostTcpSocket::get_is_listening(&mut self.inner, same(socket)).map_err(SocketError::trap)?;
        if listens || self.socket(number).peer.is_some() || self.socket(number).connection.is_some() {
            return Err(types::ErrorCode::InvalidState.into());
        }
        let real = self.connect_target(number, wanted).map_err(refusal)?;
        let is_bound = self.socket(number).port.is_some();
        if is_bound && !self.sockets.pod.is_near(real.ip()) {
            // From the pod's address no packet finds its way back from outside: it is the machine's then.
            self.unbind(number);
            self.replace03(socket, family_of(real))?;
        } else {
            self.match_family03(socket, real)?;
        }
        if is_bound {
            return Ok(real.into());
        }
        for source in self.sockets.pod.sources_for(real) {
            let bind = types::HostTcpSocket::bind(&mut self.inner, same(socket), source.into());
            if matches!(at_once(bind), Some(Ok(()))) {
                let own = types::HostTcpSocket::get_local_address(&mut self.inner, same(socket))?.into();
                self.socket(number).guise = self.sockets.pod.attachment().guise(Protocol::Tcp, own, wanted);
                break;
            }
        }
        Ok(real.into())
    }

    fn match_family03(&mut self, socket: &Tcp, real: SocketAddr) -> SocketResult<()> {
        let family =
            types::HostTcpSocket::get_address_family(&mut self.inner, same(socket)).map_err(SocketError::trap)?;
        if family == family_of(real) { Ok(()) } else { self.replace03(socket, family_of(real)) }
    }

    /// Puts a new socket in the place of one that has done nothing yet, with the same options.
    fn replace03(&mut self, socket: &Tcp, family: types::IpAddressFamily) -> SocketResult<()> {
        let fresh = types::HostTcpSocket::create(&mut self.inner, family)?;
        let backlog = self.socket(socket.rep()).backlog;
        let inner = &mut self.inner;
        if let Some(backlog) = backlog {
            types::HostTcpSocket::set_listen_backlog_size(inner, same(&fresh), backlog)?;
        }
        macro_rules! copy {
            ($( $get:ident => $set:ident; )*) => { $(
                let value = types::HostTcpSocket::$get(inner, same(socket))?;
                types::HostTcpSocket::$set(inner, same(&fresh), value)?;
            )* };
        }
        copy! {
            get_keep_alive_enabled => set_keep_alive_enabled;
            get_keep_alive_idle_time => set_keep_alive_idle_time;
            get_keep_alive_interval => set_keep_alive_interval;
            get_keep_alive_count => set_keep_alive_count;
            get_hop_limit => set_hop_limit;
            get_receive_buffer_size => set_receive_buffer_size;
            get_send_buffer_size => set_send_buffer_size;
        }
        self.put_in_place(socket, fresh)
    }

    /// Puts what is new in the place of a socket.
    fn put_in_place<T: Send + 'static>(&mut self, socket: &Resource<T>, fresh: Resource<T>) -> SocketResult<()> {
        let fresh = self.inner.table.delete(fresh).map_err(SocketError::trap)?;
        *self.inner.table.get_mut(socket).map_err(SocketError::trap)? = fresh;
        Ok(())
    }

    /// Binds a socket of datagrams as the guest wants it.
    async fn bind_udp(&mut self, socket: &Udp, wanted: SocketAddr) -> SocketResult<()> {
        let number = socket.rep();
        let mut tries = BIND_TRIES;
        loop {
            let real = self.bind_target(number, Protocol::Udp, wanted).map_err(refusal)?;
            let family =
                types::HostUdpSocket::get_address_family(&mut self.inner, same(socket)).map_err(SocketError::trap)?;
            if family != family_of(real) {
                let fresh = types::HostUdpSocket::create(&mut self.inner, family_of(real)).await?;
                self.put_in_place(socket, fresh)?;
            }
            tries -= 1;
            let bind = types::HostUdpSocket::bind(&mut self.inner, same(socket), real.into());
            let Err(error) = bind.await else { return Ok(()) };
            self.unbind(number);
            let error = error.downcast().map_err(SocketError::trap)?;
            if !matches!(error, types::ErrorCode::AddressInUse) || tries == 0 {
                return Err(error.into());
            }
        }
    }

    /// Binds a socket of datagrams that the guest did not, or that is of another family than whom it asks.
    fn bind_client(&mut self, socket: &Udp, real: SocketAddr) -> SocketResult<()> {
        let number = socket.rep();
        let open = self.socket(number);
        let is_client = open.asked.is_none_or(|asked| asked.port() == 0);
        let is_bound = open.port.is_some();
        let family =
            types::HostUdpSocket::get_address_family(&mut self.inner, same(socket)).map_err(SocketError::trap)?;
        if !is_client || (is_bound && family == family_of(real)) {
            return Ok(());
        }
        if is_bound {
            self.unbind(number);
            let fresh = at_once(types::HostUdpSocket::create(&mut self.inner, family_of(real)));
            self.put_in_place(socket, fresh.unwrap_or_else(|| Err(types::ErrorCode::NotSupported.into()))?)?;
        }
        let any: IpAddr = if real.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let any = SocketAddr::new(any, 0);
        let bound = if real.is_ipv4() == self.sockets.pod.attachment().ip().is_ipv4() {
            at_once(self.bind_udp(socket, any))
        } else {
            // In a family that the pods do not have, it is a socket of the machine's as any other.
            self.socket(number).asked = Some(any);
            at_once(types::HostUdpSocket::bind(&mut self.inner, same(socket), any.into()))
        };
        bound.unwrap_or_else(|| Err(types::ErrorCode::NotSupported.into()))
    }

    /// Where a datagram goes that the guest sends to `remote`, on a socket that can send there.
    fn prepare_send(
        &mut self,
        socket: &Udp,
        remote: Option<types::IpSocketAddress>,
    ) -> SocketResult<types::IpSocketAddress> {
        let real = self.destination(socket.rep(), remote.map(SocketAddr::from)).map_err(refusal)?;
        self.bind_client(socket, real)?;
        Ok(real.into())
    }
}

fn family_of(real: SocketAddr) -> types::IpAddressFamily {
    if real.is_ipv4() { types::IpAddressFamily::Ipv4 } else { types::IpAddressFamily::Ipv6 }
}

/// Looks at a connection that socket number `listener` has accepted: gives it back if the guest may have it.
pub(super) fn admit(view: &mut PodSockets<'_>, listener: u32, accepted: Tcp) -> Result<Option<Tcp>> {
    let peer = types::HostTcpSocket::get_remote_address(&mut view.inner, Tcp::new_borrow(accepted.rep()));
    let peer = peer.ok().map(|real| view.sockets.pod.attachment().shown(Protocol::Tcp, real.into()));
    let is_let_in = peer.is_some_and(|peer| view.admits(listener, Protocol::Tcp, peer));
    let room = view.room().ok().filter(|_| is_let_in && !view.sockets.pod.is_stopping());
    let Some(room) = room else {
        view.inner.table.delete(accepted)?;
        return Ok(None);
    };
    let is_six = view.socket(listener).is_six;
    let in_flight = Some(Arc::new(view.sockets.pod.in_flight()));
    view.sockets.open.insert(accepted.rep(), Open { is_six, in_flight, _room: Some(room), ..Open::default() });
    view.connected(accepted.rep());
    Ok(Some(accepted))
}

/// Wasmtime's view of the same store.
fn inner<'a>(access: &'a mut Access<'_, State, PodSocketsData>) -> Access<'a, State, WasiSockets> {
    Access::new(access.as_context_mut(), |state: &mut State| state.sockets())
}

impl types::Host for PodSockets<'_> {
    forward! { types::Host;
        fn convert_error_code(&mut self, error: SocketError) -> Result<types::ErrorCode>;
    }
}

impl types::HostTcpSocketWithStore<State> for PodSocketsData {
    async fn connect(store: &Accessor<State, Self>, socket: Tcp, remote: types::IpSocketAddress) -> SocketResult<()> {
        let number = socket.rep();
        let real = store.with(|mut access| access.get().prepare_connect(&socket, remote.into()))?;
        let theirs = store.with_getter::<WasiSockets>(|state| state.sockets());
        <WasiSockets as types::HostTcpSocketWithStore<State>>::connect(&theirs, socket, real).await?;
        store.with(|mut access| access.get().connected(number));
        Ok(())
    }

    async fn listen(mut store: Access<'_, State, Self>, socket: Tcp) -> SocketResult<StreamReader<Tcp>> {
        let (entrance, exit) = accepted::way(socket.rep());
        let theirs = <WasiSockets as types::HostTcpSocketWithStore<State>>::listen(inner(&mut store), socket).await?;
        theirs.pipe(&mut store, entrance).map_err(SocketError::trap)?;
        StreamReader::new(&mut store, exit).map_err(SocketError::trap)
    }

    fn send(
        mut store: Access<'_, State, Self>,
        socket: Tcp,
        data: StreamReader<u8>,
    ) -> Result<FutureReader<Result<(), types::ErrorCode>>> {
        let (inlet, outlet) = store.get().passage(Way::Out, &socket);
        data.pipe(&mut store, inlet)?;
        let data = StreamReader::new(&mut store, outlet)?;
        <WasiSockets as types::HostTcpSocketWithStore<State>>::send(inner(&mut store), socket, data)
    }

    fn receive(
        mut store: Access<'_, State, Self>,
        socket: Tcp,
    ) -> Result<(StreamReader<u8>, FutureReader<Result<(), types::ErrorCode>>)> {
        let (inlet, outlet) = store.get().passage(Way::In, &socket);
        let (data, over) = <WasiSockets as types::HostTcpSocketWithStore<State>>::receive(inner(&mut store), socket)?;
        data.pipe(&mut store, inlet)?;
        Ok((StreamReader::new(&mut store, outlet)?, over))
    }
}

impl PodSockets<'_> {
    /// A way for bytes of a connection.
    fn passage(&mut self, way: Way, socket: &Tcp) -> (Inlet, Outlet) {
        let in_flight = self.socket(socket.rep()).in_flight.clone();
        passage(way, self.sockets.pod.counters().clone(), in_flight)
    }
}

impl types::HostTcpSocket for PodSockets<'_> {
    async fn bind(&mut self, socket: Tcp, local: types::IpSocketAddress) -> SocketResult<()> {
        let number = socket.rep();
        if self.socket(number).peer.is_some() {
            return Err(types::ErrorCode::InvalidState.into());
        }
        let real = self.bind_target(number, Protocol::Tcp, local.into()).map_err(refusal)?;
        self.match_family03(&socket, real)?;
        let bound = types::HostTcpSocket::bind(&mut self.inner, socket, real.into()).await;
        if bound.is_err() {
            self.unbind(number);
        }
        bound
    }

    fn get_local_address(&mut self, socket: Tcp) -> SocketResult<types::IpSocketAddress> {
        let number = socket.rep();
        let real = types::HostTcpSocket::get_local_address(&mut self.inner, socket)?;
        Ok(self.own(number, Protocol::Tcp, real.into()).into())
    }

    fn get_remote_address(&mut self, socket: Tcp) -> SocketResult<types::IpSocketAddress> {
        let number = socket.rep();
        let real = types::HostTcpSocket::get_remote_address(&mut self.inner, socket)?;
        Ok(self.peer(number, real.into()).into())
    }

    fn create(&mut self, family: types::IpAddressFamily) -> SocketResult<Tcp> {
        let room = self.room().map_err(refusal)?;
        let socket = types::HostTcpSocket::create(&mut self.inner, family)?;
        self.opened(socket.rep(), room, family == types::IpAddressFamily::Ipv6);
        Ok(socket)
    }

    fn get_address_family(&mut self, socket: Tcp) -> Result<types::IpAddressFamily> {
        let number = socket.rep();
        let real = types::HostTcpSocket::get_address_family(&mut self.inner, socket)?;
        Ok(if self.socket(number).is_six { types::IpAddressFamily::Ipv6 } else { real })
    }

    fn set_listen_backlog_size(&mut self, socket: Tcp, value: u64) -> SocketResult<()> {
        let number = socket.rep();
        types::HostTcpSocket::set_listen_backlog_size(&mut self.inner, socket, value)?;
        self.socket(number).backlog = Some(value);
        Ok(())
    }

    fn drop(&mut self, socket: Tcp) -> Result<()> {
        self.forget(socket.rep());
        types::HostTcpSocket::drop(&mut self.inner, socket)
    }

    forward! { types::HostTcpSocket;
        fn get_is_listening(&mut self, socket: Tcp) -> Result<bool>;
        fn get_keep_alive_enabled(&mut self, socket: Tcp) -> SocketResult<bool>;
        fn set_keep_alive_enabled(&mut self, socket: Tcp, value: bool) -> SocketResult<()>;
        fn get_keep_alive_idle_time(&mut self, socket: Tcp) -> SocketResult<u64>;
        fn set_keep_alive_idle_time(&mut self, socket: Tcp, value: u64) -> SocketResult<()>;
        fn get_keep_alive_interval(&mut self, socket: Tcp) -> SocketResult<u64>;
        fn set_keep_alive_interval(&mut self, socket: Tcp, value: u64) -> SocketResult<()>;
        fn get_keep_alive_count(&mut self, socket: Tcp) -> SocketResult<u32>;
        fn set_keep_alive_count(&mut self, socket: Tcp, value: u32) -> SocketResult<()>;
        fn get_hop_limit(&mut self, socket: Tcp) -> SocketResult<u8>;
        fn set_hop_limit(&mut self, socket: Tcp, value: u8) -> SocketResult<()>;
        fn get_receive_buffer_size(&mut self, socket: Tcp) -> SocketResult<u64>;
        fn set_receive_buffer_size(&mut self, socket: Tcp, value: u64) -> SocketResult<()>;
        fn get_send_buffer_size(&mut self, socket: Tcp) -> SocketResult<u64>;
        fn set_send_buffer_size(&mut self, socket: Tcp, value: u64) -> SocketResult<()>;
    }
}

impl types::HostUdpSocketWithStore<State> for PodSocketsData {
    async fn send(
        store: &Accessor<State, Self>,
        socket: Udp,
        data: Vec<u8>,
        remote: Option<types::IpSocketAddress>,
    ) -> SocketResult<()> {
        let real = store.with(|mut access| access.get().prepare_send(&socket, remote))?;
        let theirs = store.with_getter::<WasiSockets>(|state| state.sockets());
        let length = data.len();
        <WasiSockets as types::HostUdpSocketWithStore<State>>::send(&theirs, socket, data, Some(real)).await?;
        store.with(|mut access| access.get().sockets.pod.counters().sent(length));
        Ok(())
    }

    async fn receive(store: &Accessor<State, Self>, socket: Udp) -> SocketResult<(Vec<u8>, types::IpSocketAddress)> {
        let number = socket.rep();
        let theirs = store.with_getter::<WasiSockets>(|state| state.sockets());
        loop {
            let next = <WasiSockets as types::HostUdpSocketWithStore<State>>::receive(&theirs, same(&socket));
            let (data, real) = next.await?;
            let sender = store.with(|mut access| {
                let mut view = access.get();
                let sender = view.sender(number, real.into());
                if sender.is_some() {
                    view.sockets.pod.counters().received(data.len());
                }
                sender
            });
            if let Some(sender) = sender {
                return Ok((data, sender.into()));
            }
        }
    }
}

impl types::HostUdpSocket for PodSockets<'_> {
    async fn bind(&mut self, socket: Udp, local: types::IpSocketAddress) -> SocketResult<()> {
        self.bind_udp(&socket, local.into()).await
    }

    async fn connect(&mut self, socket: Udp, remote: types::IpSocketAddress) -> SocketResult<()> {
        let remote = canonical(remote.into());
        // It may be connected again, to somebody else.
        let before = self.socket(socket.rep()).peer.take();
        let prepared = self.prepare_send(&socket, Some(remote.into()));
        self.socket(socket.rep()).peer = if prepared.is_ok() { Some(remote) } else { before };
        prepared.map(drop)
    }

    fn disconnect(&mut self, socket: Udp) -> SocketResult<()> {
        let peer = self.socket(socket.rep()).peer.take();
        peer.map(drop).ok_or_else(|| types::ErrorCode::InvalidState.into())
    }

    async fn create(&mut self, family: types::IpAddressFamily) -> SocketResult<Udp> {
        let room = self.room().map_err(refusal)?;
        let socket = types::HostUdpSocket::create(&mut self.inner, family).await?;
        self.opened(socket.rep(), room, family == types::IpAddressFamily::Ipv6);
        Ok(socket)
    }

    fn get_local_address(&mut self, socket: Udp) -> SocketResult<types::IpSocketAddress> {
        let number = socket.rep();
        let real = types::HostUdpSocket::get_local_address(&mut self.inner, socket)?;
        Ok(self.own(number, Protocol::Udp, real.into()).into())
    }

    fn get_remote_address(&mut self, socket: Udp) -> SocketResult<types::IpSocketAddress> {
        let open = self.socket(socket.rep());
        let peer = open.peer.ok_or(types::ErrorCode::InvalidState)?;
        Ok(outward(open.is_six, peer).into())
    }

    fn get_address_family(&mut self, socket: Udp) -> Result<types::IpAddressFamily> {
        let number = socket.rep();
        let real = types::HostUdpSocket::get_address_family(&mut self.inner, socket)?;
        Ok(if self.socket(number).is_six { types::IpAddressFamily::Ipv6 } else { real })
    }

    fn drop(&mut self, socket: Udp) -> Result<()> {
        self.forget(socket.rep());
        types::HostUdpSocket::drop(&mut self.inner, socket)
    }

    forward! { types::HostUdpSocket;
        fn get_unicast_hop_limit(&mut self, socket: Udp) -> SocketResult<u8>;
        fn set_unicast_hop_limit(&mut self, socket: Udp, value: u8) -> SocketResult<()>;
        fn get_receive_buffer_size(&mut self, socket: Udp) -> SocketResult<u64>;
        fn set_receive_buffer_size(&mut self, socket: Udp, value: u64) -> SocketResult<()>;
        fn get_send_buffer_size(&mut self, socket: Udp) -> SocketResult<u64>;
        fn set_send_buffer_size(&mut self, socket: Udp, value: u64) -> SocketResult<()>;
    }
}

impl names::Host for PodSockets<'_> {}

impl names::HostWithStore<State> for PodSocketsData {
    async fn resolve_addresses(
        store: &Accessor<State, Self>,
        name: String,
    ) -> Result<Result<Vec<types::IpAddress>, names::ErrorCode>> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Ok(Err(names::ErrorCode::InvalidArgument));
        }
        let pod = store.with(|mut access| access.get().sockets.pod.clone());
        let addresses = pod.look_up(&name).await;
        let found: Vec<_> = addresses.into_iter().map(address).collect();
        Ok(if found.is_empty() { Err(names::ErrorCode::NameUnresolvable) } else { Ok(found) })
    }
}

fn address(ip: IpAddr) -> types::IpAddress {
    match ip {
        IpAddr::V4(ip) => types::IpAddress::Ipv4(ip.octets().into()),
        IpAddr::V6(ip) => types::IpAddress::Ipv6(ip.segments().into()),
    }
}
