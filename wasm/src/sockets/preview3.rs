//! `wasi:sockets` 0.3: the same rewriting as for 0.2, on its asynchronous interface.
//!
//! Connections that a 0.3 command accepted are not counted as in flight, and bytes of its TCP streams not as traffic:
//! both are streams of wasmtime's own.

use std::net::{IpAddr, SocketAddr};

use coracle_api::meet::Protocol;
use wasmtime::component::{Access, Accessor, FutureReader, Linker, Resource, StreamReader};
use wasmtime::{AsContextMut, Result};
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode as ErrorCode02;
use wasmtime_wasi::p3::bindings::sockets::{ip_name_lookup as names, types};
use wasmtime_wasi::p3::sockets::{SocketError, SocketResult};
use wasmtime_wasi::sockets::{TcpSocket, UdpSocket, WasiSockets, WasiSocketsCtxView, WasiSocketsView};

use super::lookup::NAME_BYTES_MAX;
use super::{PodSockets, PodSocketsData, forward};
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
        ErrorCode02::NewSocketLimit => types::ErrorCode::Other(Some("too many open sockets".into())),
        _ => types::ErrorCode::Other(None),
    }
}

impl PodSockets<'_> {
    fn bind03(&mut self, number: u32, wanted: types::IpSocketAddress) -> SocketResult<types::IpSocketAddress> {
        Ok(self.bind_target(number, wanted.into()).map_err(refusal)?.into())
    }

    fn connect03(
        &mut self,
        number: u32,
        protocol: Protocol,
        wanted: types::IpSocketAddress,
    ) -> SocketResult<types::IpSocketAddress> {
        Ok(self.connect_target(number, protocol, wanted.into()).map_err(refusal)?.into())
    }

    fn shown03(&self, number: u32, real: types::IpSocketAddress) -> types::IpSocketAddress {
        self.shown(number, SocketAddr::from(real)).into()
    }
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
        let real = store.with(|mut access| access.get().connect03(socket.rep(), Protocol::Tcp, remote))?;
        let theirs = store.with_getter::<WasiSockets>(|state| state.sockets());
        let number = socket.rep();
        <WasiSockets as types::HostTcpSocketWithStore<State>>::connect(&theirs, socket, real).await?;
        store.with(|mut access| access.get().connected(number));
        Ok(())
    }

    async fn listen(mut store: Access<'_, State, Self>, socket: Tcp) -> SocketResult<StreamReader<Tcp>> {
        <WasiSockets as types::HostTcpSocketWithStore<State>>::listen(inner(&mut store), socket).await
    }

    fn send(
        mut store: Access<'_, State, Self>,
        socket: Tcp,
        data: StreamReader<u8>,
    ) -> Result<FutureReader<Result<(), types::ErrorCode>>> {
        <WasiSockets as types::HostTcpSocketWithStore<State>>::send(inner(&mut store), socket, data)
    }

    fn receive(
        mut store: Access<'_, State, Self>,
        socket: Tcp,
    ) -> Result<(StreamReader<u8>, FutureReader<Result<(), types::ErrorCode>>)> {
        <WasiSockets as types::HostTcpSocketWithStore<State>>::receive(inner(&mut store), socket)
    }
}

impl types::HostTcpSocket for PodSockets<'_> {
    async fn bind(&mut self, socket: Tcp, local: types::IpSocketAddress) -> SocketResult<()> {
        let number = socket.rep();
        let real = self.bind03(number, local)?;
        let bound = types::HostTcpSocket::bind(&mut self.inner, socket, real).await;
        if bound.is_err() {
            self.unbind(number);
        }
        bound
    }

    fn get_local_address(&mut self, socket: Tcp) -> SocketResult<types::IpSocketAddress> {
        let number = socket.rep();
        let real = types::HostTcpSocket::get_local_address(&mut self.inner, socket)?;
        Ok(self.shown03(number, real))
    }

    fn get_remote_address(&mut self, socket: Tcp) -> SocketResult<types::IpSocketAddress> {
        let number = socket.rep();
        let real = types::HostTcpSocket::get_remote_address(&mut self.inner, socket)?;
        Ok(self.shown03(number, real))
    }

    fn create(&mut self, family: types::IpAddressFamily) -> SocketResult<Tcp> {
        let room = self.room().map_err(refusal)?;
        let socket = types::HostTcpSocket::create(&mut self.inner, family)?;
        self.socket(socket.rep())._room = Some(room);
        Ok(socket)
    }

    fn drop(&mut self, socket: Tcp) -> Result<()> {
        self.forget(socket.rep());
        types::HostTcpSocket::drop(&mut self.inner, socket)
    }

    forward! { types::HostTcpSocket;
        fn get_is_listening(&mut self, socket: Tcp) -> Result<bool>;
        fn get_address_family(&mut self, socket: Tcp) -> Result<types::IpAddressFamily>;
        fn set_listen_backlog_size(&mut self, socket: Tcp, value: u64) -> SocketResult<()>;
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
        let real = match remote {
            Some(remote) => Some(
                store.with(|mut access| access.get().send_target(socket.rep(), remote.into())).map_err(refusal)?.into(),
            ),
            None => None,
        };
        let theirs = store.with_getter::<WasiSockets>(|state| state.sockets());
        let length = data.len();
        <WasiSockets as types::HostUdpSocketWithStore<State>>::send(&theirs, socket, data, real).await?;
        store.with(|mut access| access.get().sockets.pod.counters().sent(length));
        Ok(())
    }

    async fn receive(store: &Accessor<State, Self>, socket: Udp) -> SocketResult<(Vec<u8>, types::IpSocketAddress)> {
        let number = socket.rep();
        let theirs = store.with_getter::<WasiSockets>(|state| state.sockets());
        let (data, real) = <WasiSockets as types::HostUdpSocketWithStore<State>>::receive(&theirs, socket).await?;
        let sender = store.with(|mut access| {
            let mut view = access.get();
            view.sockets.pod.counters().received(data.len());
            let sender = view.shown03(number, real);
            view.remember(number, real.into(), sender.into());
            sender
        });
        Ok((data, sender))
    }
}

impl types::HostUdpSocket for PodSockets<'_> {
    async fn bind(&mut self, socket: Udp, local: types::IpSocketAddress) -> SocketResult<()> {
        let number = socket.rep();
        let real = self.datagram_bind_target(number, local.into()).map_err(refusal)?.into();
        let bound = types::HostUdpSocket::bind(&mut self.inner, socket, real).await;
        if bound.is_err() {
            self.unbind(number);
        }
        bound
    }

    async fn connect(&mut self, socket: Udp, remote: types::IpSocketAddress) -> SocketResult<()> {
        let real = self.connect03(socket.rep(), Protocol::Udp, remote)?;
        types::HostUdpSocket::connect(&mut self.inner, socket, real).await
    }

    async fn create(&mut self, family: types::IpAddressFamily) -> SocketResult<Udp> {
        let room = self.room().map_err(refusal)?;
        let socket = types::HostUdpSocket::create(&mut self.inner, family).await?;
        self.socket(socket.rep())._room = Some(room);
        Ok(socket)
    }

    fn get_local_address(&mut self, socket: Udp) -> SocketResult<types::IpSocketAddress> {
        let number = socket.rep();
        let real = types::HostUdpSocket::get_local_address(&mut self.inner, socket)?;
        Ok(self.shown03(number, real))
    }

    fn get_remote_address(&mut self, socket: Udp) -> SocketResult<types::IpSocketAddress> {
        let number = socket.rep();
        let real = types::HostUdpSocket::get_remote_address(&mut self.inner, socket)?;
        Ok(self.shown03(number, real))
    }

    fn drop(&mut self, socket: Udp) -> Result<()> {
        self.forget(socket.rep());
        types::HostUdpSocket::drop(&mut self.inner, socket)
    }

    forward! { types::HostUdpSocket;
        fn disconnect(&mut self, socket: Udp) -> SocketResult<()>;
        fn get_address_family(&mut self, socket: Udp) -> Result<types::IpAddressFamily>;
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
