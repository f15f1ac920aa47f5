//! The guest's sockets: wasmtime's own, with the pod's addresses in place of the machine's.
//!
//! Invariant: no guest listens on, connects to or sends to an address of the machine that the pod's attachment did
//! not name. What the guest sees of addresses is the cluster's, what the system sees is the machine's.
//!
//! Reading order: the pod's side (`pod`), then each host interface that stands before wasmtime's.

mod pod;

mod counted;
mod lookup;
mod preview3;
mod tcp;
mod udp;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use coracle_api::meet::{BoundPort, ConnectError, Protocol};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::p2::SocketError;
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, Network};
use wasmtime_wasi::p2::bindings::sockets::{tcp as tcp02, tcp_create_socket, udp as udp02, udp_create_socket};
use wasmtime_wasi::sockets::WasiSocketsCtxView;

use super::state::State;
use super::traffic::Held;
use pod::InFlight;
pub(super) use pod::Pod;

/// Calls a method of wasmtime's implementation as it is.
macro_rules! forward {
    ($interface:path; $( fn $name:ident(&mut self $(, $parameter:ident: $type:ty)*) -> $result:ty; )*) => {
        $( fn $name(&mut self $(, $parameter: $type)*) -> $result {
            <WasiSocketsCtxView<'_> as $interface>::$name(&mut self.inner $(, $parameter)*)
        } )*
    };
}
use forward;

/// Peers that a socket remembers: more than any guest talks to at once. Then it forgets them all, and each is
/// looked up anew.
const PEERS_MAX: usize = 256;

/// What is kept of an instance's sockets beside wasmtime's own state, by the socket's number in the table.
pub(super) struct Sockets {
    pod: Arc<Pod>,
    open: HashMap<u32, Open>,
    /// Which socket a stream of datagrams belongs to.
    streams: HashMap<u32, u32>,
}

/// One socket.
#[derive(Default)]
struct Open {
    /// The pod's port it asked for and is bound to; freed with the last socket that has it.
    port: Option<(u16, Arc<dyn BoundPort>)>,
    /// By their real addresses, the peers as the guest knows them: the Service it asked for, though an endpoint
    /// answers, and who sent it a datagram.
    peers: HashMap<SocketAddr, SocketAddr>,
    /// It was accepted: a stop waits for its end.
    _in_flight: Option<InFlight>,
    /// It is one of those that the container may have.
    _room: Option<OwnedSemaphorePermit>,
    /// It is connected.
    _connection: Option<Held>,
}

impl Sockets {
    /// An instance without sockets.
    pub(super) fn new(pod: Arc<Pod>) -> Self {
        Self { pod, open: HashMap::new(), streams: HashMap::new() }
    }
}

/// The host functions' view of an instance: wasmtime's sockets and ours.
pub(super) struct PodSockets<'a> {
    pub(super) inner: WasiSocketsCtxView<'a>,
    pub(super) sockets: &'a mut Sockets,
}

/// Tells the linker which view the interfaces work on.
struct PodSocketsData;

impl HasData for PodSocketsData {
    type Data<'a> = PodSockets<'a>;
}

/// Puts our interfaces in the place of wasmtime's. Shadowing must be allowed.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    tcp02::add_to_linker::<State, PodSocketsData>(linker, State::pod_sockets)?;
    udp02::add_to_linker::<State, PodSocketsData>(linker, State::pod_sockets)?;
    tcp_create_socket::add_to_linker::<State, PodSocketsData>(linker, State::pod_sockets)?;
    udp_create_socket::add_to_linker::<State, PodSocketsData>(linker, State::pod_sockets)?;
    lookup::add_to_linker(linker)?;
    preview3::add_to_linker(linker)
}

impl PodSockets<'_> {
    fn socket(&mut self, number: u32) -> &mut Open {
        self.sockets.open.entry(number).or_default()
    }

    /// Where a guest's bind really goes. The port is held until the socket is dropped.
    fn bind_target(&mut self, number: u32, wanted: SocketAddr) -> Result<SocketAddr, ErrorCode> {
        let pod = &self.sockets.pod;
        if !pod.is_own(wanted.ip()) {
            return Err(ErrorCode::AddressNotBindable);
        }
        // TCP and UDP of one number are one port of the pod: who asks for the second is given the first.
        let held = self.sockets.open.values().find_map(|open| match &open.port {
            Some((number, port)) if *number == wanted.port() && *number != 0 => Some(port.clone()),
            Some(_) | None => None,
        });
        let port: Arc<dyn BoundPort> = match held {
            Some(port) => port,
            None => pod.attachment().listen(wanted.port()).map_err(|error| ErrorCode::from(&error))?.into(),
        };
        let real = port.real();
        self.socket(number).port = Some((wanted.port(), port));
        Ok(real)
    }

    /// Where a guest's connect really goes, by the network's choice and under its policy.
    fn connect_target(&mut self, number: u32, protocol: Protocol, wanted: SocketAddr) -> Result<SocketAddr, ErrorCode> {
        let real = self.sockets.pod.attachment().connect(protocol, wanted).map_err(connect_error)?;
        if real != wanted {
            self.remember(number, real, wanted);
        }
        Ok(real)
    }

    fn remember(&mut self, number: u32, real: SocketAddr, known_as: SocketAddr) {
        let peers = &mut self.socket(number).peers;
        if peers.len() >= PEERS_MAX && !peers.contains_key(&real) {
            peers.clear();
        }
        peers.insert(real, known_as);
    }

    /// The address as the guest knows it.
    fn shown(&self, number: u32, real: SocketAddr) -> SocketAddr {
        let known_as = self.sockets.open.get(&number).and_then(|open| open.peers.get(&real));
        known_as.copied().unwrap_or_else(|| self.sockets.pod.attachment().shown(real))
    }

    /// Counts the socket as a connection until it is dropped.
    fn connected(&mut self, number: u32) {
        let open = self.sockets.pod.counters().connected();
        self.socket(number)._connection = Some(open);
    }

    /// Room for one more socket of the container.
    fn room(&self) -> Result<OwnedSemaphorePermit, ErrorCode> {
        self.sockets.pod.room().ok_or(ErrorCode::NewSocketLimit)
    }

    /// A bind failed: the port that was to be its own is free again.
    fn unbind(&mut self, number: u32) {
        if let Some(open) = self.sockets.open.get_mut(&number) {
            open.port = None;
        }
    }

    fn forget(&mut self, number: u32) {
        self.sockets.open.remove(&number);
    }
}

fn connect_error(error: ConnectError) -> ErrorCode {
    match error {
        ConnectError::Refused => ErrorCode::ConnectionRefused,
        ConnectError::Denied => ErrorCode::AccessDenied,
    }
}

impl network::Host for PodSockets<'_> {
    forward! { network::Host;
        fn convert_error_code(&mut self, error: SocketError) -> Result<ErrorCode>;
        fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<ErrorCode>>;
    }
}

impl network::HostNetwork for PodSockets<'_> {
    forward! { network::HostNetwork;
        fn drop(&mut self, network: Resource<Network>) -> Result<()>;
    }
}
