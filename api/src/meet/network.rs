//! Where a node agent meets the pod network: a pod gets an address, its guest's sockets are bound and connected.
//!
//! Addresses that guests see (`Address`: a pod's or Service's IP and port) and addresses of real sockets on this
//! machine are different things; only the network knows how the first map onto the second.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;

use crate::names::{NamespacedName, Uid};

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

/// Which pod wants an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodSlot {
    /// Namespace and name, for policies and logs.
    pub pod: NamespacedName,
    /// Tells it from a namesake that came before.
    pub uid: Uid,
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
}

/// Takes connections for an address: how an HTTP component is served.
///
/// Who made one may know it again where it is [`Reached`], and spare both sides the connection.
pub trait ConnectionHandler: Any + Send + Sync {
    /// Takes one connection. Returns at once: the handler serves it on its own runtime.
    fn take(&self, connection: Connection);
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
    /// The address that the real socket has, or for a guest's own listener must be bound to.
    fn real(&self) -> SocketAddr;
}

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

    /// Reserves `port` (0: any) of the pod for a listener that the guest binds itself, and says where it must bind for real.
    ///
    /// # Errors
    /// An I/O error when the port of this pod is already taken.
    fn listen(&self, port: u16) -> std::io::Result<Box<dyn BoundPort>>;

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

    /// Whether this pod may be spoken to at its `port` by `peer`, as [`Attachment::shown`] names it: asked before a
    /// guest is given a connection that it accepted, or a datagram.
    fn admits(&self, protocol: Protocol, port: u16, peer: SocketAddr) -> bool;

    /// The cluster address behind the address of a real socket, if it is one of ours: what the guest is shown as peer.
    fn shown(&self, real: SocketAddr) -> SocketAddr;
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

/// Answers names in process: the cluster's own from its zone, others by the host's resolvers.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of `name`, asked from a pod in `namespace` (whose search path applies). Empty: no such name.
    async fn lookup(&self, name: &str, namespace: &str) -> Vec<IpAddr>;
}
