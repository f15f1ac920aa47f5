//! Where a node agent meets the pod network: a pod gets an address, its guest's sockets are bound and connected.
//!
//! Addresses that guests see (`Address`: a pod's or Service's IP and port) and addresses of real sockets on this
//! machine are different things; only the network knows how the first map onto the second.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;

use super::http::HttpServer;
use crate::names::{InvalidName, NamespacedName, Uid};
use crate::outside::{InvalidOutside, Outside};

/// An address in the cluster's own address space: what guests, endpoints and Services name.
pub type Address = SocketAddr;

/// A transport protocol that guests have sockets for; SCTP has no host calls in WASI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Streams.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Protocol {
    /// The one that an object names; TCP where it names none.
    #[must_use]
    pub fn named(text: Option<&str>) -> Option<Self> {
        match text.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            _ => None,
        }
    }
}

/// A port that a container gives a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedPort {
    /// The name, as policies and Services use it.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub number: u16,
}

impl NamedPort {
    /// The named ports of a pod: those of its containers, and of the sidecars among its init containers.
    #[must_use]
    pub fn of(pod: &Pod) -> Vec<Self> {
        let Some(spec) = &pod.spec else { return Vec::new() };
        let init = spec.init_containers.iter().flatten();
        let sidecars = init.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
        let named = ports.filter_map(|port| {
            let (name, protocol) = (port.name.clone()?, Protocol::named(port.protocol.as_deref())?);
            Some(Self { name, protocol, number: u16::try_from(port.container_port).ok()? })
        });
        named.collect()
    }
}

/// Which pod wants an address, and what policies look at: so a pod is known to them before its first connection.
#[derive(Debug, Clone)]
pub struct PodSlot {
    /// Namespace and name, for policies and logs.
    pub pod: NamespacedName,
    /// Tells it from a namesake that came before.
    pub uid: Uid,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its named ports.
    pub ports: Vec<NamedPort>,
    /// What it may reach outside the cluster, where that is narrowed.
    pub outside: Option<Arc<Outside>>,
}

/// A pod that can have no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSlot {
    /// The object has no uid.
    #[error(transparent)]
    Uid(#[from] InvalidName),
    /// What it may reach is not to be understood.
    #[error("annotation {annotation}: {0}", annotation = .0.annotation)]
    Outside(#[from] InvalidOutside),
}

impl PodSlot {
    /// The slot of a pod.
    ///
    /// # Errors
    /// [`InvalidSlot`]: nothing that the API server lets in.
    pub fn of(pod: &Pod) -> Result<Self, InvalidSlot> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let meta = &pod.metadata;
        let outside = meta.annotations.as_ref().map(Outside::of).transpose()?.flatten();
        Ok(Self {
            pod: NamespacedName::new(text(&meta.namespace), text(&meta.name)),
            uid: Uid::new(text(&meta.uid))?,
            labels: meta.labels.clone().unwrap_or_default(),
            ports: NamedPort::of(pod),
            outside: outside.map(Arc::new),
        })
    }
}

/// A connection that arrived for an address, handed over with no second hop.
///
/// The stream is a standard one, non-blocking: whoever takes it registers it with the reactor of its own runtime.
#[derive(Debug)]
pub struct Connection {
    /// The stream.
    pub stream: std::net::TcpStream,
    /// Who connected: a pod's address, or a client's outside.
    pub peer: SocketAddr,
    /// The cluster address it is for.
    pub local: Address,
    /// To be kept until the connection has ended: by its drop, who counts connections knows.
    pub held: Option<Box<dyn Any + Send>>,
}

/// Takes connections for an address: how an HTTP component is served.
///
/// Who made one may know it again where it is [`Reached`], and spare both sides the connection.
pub trait ConnectionHandler: Any + Send + Sync {
    /// Takes one connection. Returns at once: the handler serves it on its own runtime.
    ///
    /// # Errors
    /// The connection, of which nothing was read, when the handler takes none: it is stopping, or has too many.
    /// Another endpoint may take it.
    fn take(&self, connection: Connection) -> Result<(), Connection>;

    /// The same server, asked request by request, if it speaks HTTP: spares both sides a connection.
    fn http(&self) -> Option<&dyn HttpServer> {
        None
    }
}

/// Where a connect to an address leads.
#[derive(Clone)]
pub struct Reached {
    /// The address of the real socket.
    pub real: SocketAddr,
    /// Who takes the connections there, if that is a handler in this process.
    pub handler: Option<Arc<dyn ConnectionHandler>>,
}

/// Why a connect to an address cannot go anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there: a Service without ready endpoints, or a pod without a listener.
    #[error("connection refused")]
    Refused,
    /// A policy forbids it.
    #[error("access denied by policy")]
    Denied,
}

/// A port of a pod that is in use; dropping it frees the port and everything that was mapped for it.
pub trait BoundPort: Send + Sync + 'static {
    /// The address that the real socket has, or for a guest's own socket must be bound to.
    fn real(&self) -> SocketAddr;
}

/// While it lives, the address of a real socket is shown as another.
pub trait Guise: Send + Sync + 'static {}

/// A pod's place in the network. Dropping it gives the address back and ends its listeners.
#[async_trait]
pub trait Attachment: Send + Sync + 'static {
    /// The pod's address, as in `status.podIP`.
    fn ip(&self) -> IpAddr;

    /// Serves `port` of the pod by `handler`: the network accepts, the handler takes.
    ///
    /// # Errors
    /// An I/O error when the port of this pod is already taken.
    async fn serve(&self, port: u16, handler: Arc<dyn ConnectionHandler>) -> std::io::Result<Box<dyn BoundPort>>;

    /// Reserves a port of the pod for a socket that the guest binds itself, and says where it must bind for real.
    ///
    /// `at` is what the guest asked for: its port (0: any), and as address the pod's own, one of loopback, for who is
    /// found by this pod alone, or the unspecified one, for both. Ports of TCP and of UDP are apart, and so are those
    /// of IPv4 and IPv6; who listens for one family only is found by the other as well.
    ///
    /// The system keeps a port of TCP for the guest. One of UDP was free a moment ago: who finds it taken asks again.
    ///
    /// # Errors
    /// An I/O error when the port of this pod is already taken, or the address is none of the pod's.
    fn listen(&self, protocol: Protocol, at: Address) -> std::io::Result<Box<dyn BoundPort>>;

    /// Where a connect of this pod to `to` really goes: an endpoint of a Service, a pod's real socket, or outside.
    /// `localhost` is this pod. Chosen anew at each call, as kube-proxy does per connection.
    ///
    /// # Errors
    /// [`ConnectError`], which the guest sees as the matching socket error.
    fn connect(&self, protocol: Protocol, to: Address) -> Result<SocketAddr, ConnectError> {
        self.reach(protocol, to).map(|reached| reached.real)
    }

    /// The same, with who takes the connections there.
    ///
    /// # Errors
    /// As `connect`.
    fn reach(&self, protocol: Protocol, to: Address) -> Result<Reached, ConnectError>;

    /// What this pod may reach outside the cluster, where that is narrowed: the same for its look-ups.
    fn outside(&self) -> Option<Arc<Outside>> {
        None
    }

    /// Whether this pod may be spoken to at its `port` by `peer`, as [`Attachment::shown`] names it: asked before a
    /// guest is given a connection that it accepted, or a datagram.
    fn admits(&self, protocol: Protocol, port: u16, peer: SocketAddr) -> bool;

    /// Whether datagrams to `to` may go on to `real`, where they went before: it is still an endpoint of the Service,
    /// or the pod's socket.
    fn still_leads(&self, protocol: Protocol, to: Address, real: SocketAddr) -> bool;

    /// The cluster address behind the address of a real socket, if it is one of ours: what the guest is shown as peer.
    fn shown(&self, protocol: Protocol, real: SocketAddr) -> SocketAddr;

    /// Lets a socket that the pod connects to `to` with be shown as the pod's, though it is bound to `real`: the pod's
    /// own address is not always one of the machine's, and who connects to `localhost` does so from there. Nothing if
    /// it is shown as it should already.
    fn guise(&self, protocol: Protocol, real: SocketAddr, to: Address) -> Option<Box<dyn Guise>>;

    /// Returns when no Service leads to this pod: from then on, nobody who asks a Service finds it. Who stops a server
    /// waits for that first (and not for ever: the last endpoint of a Service is led to until its end), so that no
    /// connection comes for one that has just closed.
    async fn withdrawn(&self) {}
}

/// Hands out places in the pod network of one node.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Gives the pod an address. The same pod (by UID) asking again gets the address it has.
    ///
    /// # Errors
    /// An I/O error when the node's range of pod addresses is used up.
    async fn attach(&self, slot: PodSlot) -> std::io::Result<Arc<dyn Attachment>>;
}
