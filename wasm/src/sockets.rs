//! The guest's sockets: wasmtime's own, with the pod's addresses in place of the machine's.
//!
//! Invariant: no guest listens on, connects to or sends to an address of the machine that the pod's attachment did
//! not name. What the guest sees of addresses is the cluster's, what the system sees is the machine's.
//!
//! Reading order: the pod's side (`pod`), then each host interface that stands before wasmtime's.

mod flows;
mod pod;

mod accepted;
mod counted;
mod lookup;
mod passage;
mod preview3;
mod tcp;
mod udp;

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use coracle_api::meet::{BoundPort, ConnectError, Guise, Protocol};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::p2::SocketError;
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, Network};
use wasmtime_wasi::p2::bindings::sockets::{tcp as tcp02, tcp_create_socket, udp as udp02, udp_create_socket};
use wasmtime_wasi::sockets::WasiSocketsCtxView;

use super::state::State;
use super::traffic::Held;
use flows::{Begun, Flows};
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

/// How often a free port is sought: between our finding one for datagrams and the guest's having it, it may be taken.
const BIND_TRIES: usize = 8;

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
    /// It was made for addresses of IPv6, whatever it has become.
    is_six: bool,
    /// What the guest bound it to.
    asked: Option<SocketAddr>,
    /// The pod's port that it has; freed with it.
    port: Option<Arc<dyn BoundPort>>,
    /// Whom the guest connected it to, as the guest knows him.
    peer: Option<SocketAddr>,
    /// Whom datagrams went to and came from.
    flows: Flows,
    /// How many connections may wait for it.
    backlog: Option<u64>,
    /// Its own address is shown as the pod's.
    guise: Option<Box<dyn Guise>>,
    /// It was accepted: a stop waits for its end.
    in_flight: Option<Arc<InFlight>>,
    /// It is one of those that the container may have.
    _room: Option<OwnedSemaphorePermit>,
    /// It is connected.
    connection: Option<Held>,
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

    /// A new socket of the guest.
    fn opened(&mut self, number: u32, room: OwnedSemaphorePermit, is_six: bool) {
        self.sockets.open.insert(number, Open { is_six, _room: Some(room), ..Open::default() });
    }

    /// Where a guest's bind really goes. The port is held until the socket is dropped.
    fn bind_target(&mut self, number: u32, protocol: Protocol, wanted: SocketAddr) -> Result<SocketAddr, ErrorCode> {
        let pod = &self.sockets.pod;
        // Refused here and not later, because what is bound already keeps its port.
        if self.sockets.open.get(&number).is_some_and(|open| open.port.is_some()) {
            return Err(ErrorCode::InvalidState);
        }
        let port = pod.attachment().listen(protocol, wanted).map_err(|error| ErrorCode::from(&error))?;
        let real = port.real();
        let open = self.socket(number);
        (open.asked, open.port) = (Some(wanted), Some(port.into()));
        Ok(real)
    }

    /// Where a guest's connect really goes, by the network's choice and under its policy.
    fn connect_target(&mut self, number: u32, wanted: SocketAddr) -> Result<SocketAddr, ErrorCode> {
        let real = self.sockets.pod.attachment().connect(Protocol::Tcp, wanted).map_err(connect_error)?;
        self.socket(number).peer = Some(wanted);
        Ok(real)
    }

    /// Where a datagram really goes. A peer stays who he is while he is spoken to, as in a table of connection
    /// tracking: the endpoint of a Service that was chosen first as long as it is one, or who sent a datagram.
    fn send_target(&mut self, number: u32, wanted: SocketAddr) -> Result<SocketAddr, ErrorCode> {
        let now = Instant::now();
        let pod = self.sockets.pod.clone();
        let flow = self.socket(number).flows.of(wanted, now);
        let goes_on = |flow: &flows::Flow| match flow.begun {
            Begun::There => true,
            Begun::Here => pod.attachment().still_leads(Protocol::Udp, wanted, flow.real),
        };
        let real = match flow.filter(goes_on) {
            Some(flow) => flow.real,
            None => pod.attachment().connect(Protocol::Udp, wanted).map_err(connect_error)?,
        };
        self.socket(number).flows.note(wanted, real, Begun::Here, now);
        Ok(real)
    }

    /// Who sent a datagram, as the guest knows him; nobody if the guest is not to have it.
    fn sender(&mut self, number: u32, real: SocketAddr) -> Option<SocketAddr> {
        let pod = self.sockets.pod.clone();
        let open = self.socket(number);
        let asked = open.flows.name(real);
        let name = asked.unwrap_or_else(|| pod.attachment().shown(Protocol::Udp, real));
        if open.peer.is_some_and(|peer| canonical(peer) != canonical(name)) {
            return None;
        }
        // A socket without a port of its own has one of the machine's: nobody outside speaks to it first.
        let is_client = open.asked.is_none_or(|asked| asked.ip().is_unspecified() && asked.port() == 0);
        if is_client && asked.is_none() && name == real && !pod.is_near(real.ip()) {
            return None;
        }
        let now = Instant::now();
        let is_answer = open.flows.of(name, now).is_some_and(|flow| flow.real == real && flow.begun == Begun::Here);
        if !is_answer && !self.admits(number, Protocol::Udp, name) {
            return None;
        }
        let open = self.socket(number);
        open.flows.note(name, real, Begun::There, now);
        Some(outward(open.is_six, name))
    }

    /// Whether the policies let `peer`, as the network shows it, speak to the port that the socket is bound to.
    fn admits(&self, number: u32, protocol: Protocol, peer: SocketAddr) -> bool {
        let attachment = self.sockets.pod.attachment();
        let bound = self.sockets.open.get(&number).and_then(|open| open.port.as_ref());
        let port = bound.map_or(0, |port| attachment.shown(protocol, port.real()).port());
        attachment.admits(protocol, port, peer)
    }

    /// The address of the other side of a connection, as the guest knows it.
    fn peer(&self, number: u32, real: SocketAddr) -> SocketAddr {
        let Some(open) = self.sockets.open.get(&number) else { return real };
        let known = open.peer.unwrap_or_else(|| self.sockets.pod.attachment().shown(Protocol::Tcp, real));
        outward(open.is_six, known)
    }

    /// The socket's own address, as the guest knows it.
    fn own(&self, number: u32, protocol: Protocol, real: SocketAddr) -> SocketAddr {
        let pod = &self.sockets.pod;
        let Some(open) = self.sockets.open.get(&number) else { return real };
        // One that is bound to no address is found by the loopback's.
        let bound =
            if real.ip().is_unspecified() { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), real.port()) } else { real };
        let shown = pod.attachment().shown(protocol, bound);
        let ip = match open.asked.filter(|_| open.peer.is_none()) {
            Some(asked) => asked.ip(),
            None if shown != bound => shown.ip(),
            None => pod.attachment().ip(),
        };
        outward(open.is_six, SocketAddr::new(ip, shown.port()))
    }

    /// Counts the socket as a connection until it is dropped.
    fn connected(&mut self, number: u32) {
        let open = self.sockets.pod.counters().connected();
        self.socket(number).connection = Some(open);
    }

    /// Room for one more socket of the container.
    fn room(&self) -> Result<OwnedSemaphorePermit, ErrorCode> {
        self.sockets.pod.room().ok_or(ErrorCode::NewSocketLimit)
    }

    /// A bind failed: the port that was to be its own is free again.
    fn unbind(&mut self, number: u32) {
        if let Some(open) = self.sockets.open.get_mut(&number) {
            (open.port, open.asked) = (None, None);
        }
    }

    fn forget(&mut self, number: u32) {
        self.sockets.open.remove(&number);
    }
}

/// An address of IPv4 as such, however it was written.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An address as a socket has it that was made for IPv6: there, one of IPv4 is mapped, as on a socket of both families.
fn outward(is_six: bool, address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if is_six => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        _ => address,
    }
}

/// What a future gives that waits for nothing. Wasmtime's bind is one: it waits for the check of the address, which
/// is ready.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
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
