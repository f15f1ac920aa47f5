//! Pods in the network: each gets an address, and its ports are served or reserved.
//!
//! Invariant: what the table says about a pod ends before its address can be with another: ports are closed first,
//! then the address is given back.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use coracle_api::meet::{
    Address, Attachment, BoundPort, ConnectError, Connection, ConnectionHandler, Guise, PodNetwork, PodSlot, Protocol,
    Reached,
};
use coracle_api::names::Uid;
use coracle_api::outside::Outside;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;

use crate::accept::{BACKLOG, Door};
use crate::addresses::PodAddresses;
use crate::bind::{Binding, Mode, bind};
use crate::carry::reset;
use crate::cidr::Cidr;
use crate::ports::{Bound, Claim, Family, Ports, Target};
use crate::table::{Asker, Listener, Table};

/// The pods of a node and their addresses.
pub(crate) struct Pods(Arc<Node>);

/// What all pods of the node share.
struct Node {
    table: Arc<Table>,
    mode: Mode,
    /// Where the accept loops run, whoever asks for them: guests have a runtime of their own.
    runtime: Handle,
    places: Mutex<Places>,
}

struct Places {
    addresses: PodAddresses,
    by_uid: HashMap<Uid, (IpAddr, Weak<Pod>)>,
}

/// One pod's place.
struct Pod {
    slot: PodSlot,
    ip: IpAddr,
    node: Arc<Node>,
    /// For a pod to hand out ports that outlive none of it.
    me: Weak<Self>,
    ports: Mutex<Ports<Held>>,
}

/// What holds a port.
struct Held {
    listener: Listener,
    _hold: Hold,
}

enum Hold {
    /// A listener of ours, accepted from for a handler.
    Served { _door: Door },
    /// A socket that keeps the port for the guest; none does for datagrams.
    Reserved { _socket: Option<TcpSocket> },
}

/// A port in use, as given to whoever asked for it.
struct Port {
    pod: Weak<Pod>,
    id: u64,
    real: SocketAddr,
}

/// A real address that is shown as another.
struct Shown {
    table: Arc<Table>,
    protocol: Protocol,
    real: SocketAddr,
}

impl Pods {
    /// The network of one node. Accept loops run on the runtime that calls this.
    pub(crate) fn new(table: Arc<Table>, cidr: Cidr, mode: Mode) -> Self {
        let places = Places { addresses: PodAddresses::new(cidr), by_uid: HashMap::new() };
        Self(Arc::new(Node { table, mode, runtime: Handle::current(), places: Mutex::new(places) }))
    }
}

#[async_trait]
impl PodNetwork for Pods {
    async fn attach(&self, slot: PodSlot) -> io::Result<Arc<dyn Attachment>> {
        // A pod that ran before its policies are known would reach what they forbid.
        self.0.table.policies().known().await;
        let mut places = lock(&self.0.places);
        if let Some(pod) = places.by_uid.get(&slot.uid).and_then(|(_, pod)| pod.upgrade()) {
            return Ok(pod);
        }
        let ip = places.addresses.take().map_err(io::Error::other)?;
        let uid = slot.uid.clone();
        self.0.table.policies().attached(&slot, ip);
        let pod = Arc::new_cyclic(|me| Pod {
            slot,
            ip,
            node: Arc::clone(&self.0),
            me: Weak::clone(me),
            ports: Mutex::default(),
        });
        places.by_uid.insert(uid, (ip, Arc::downgrade(&pod)));
        Ok(pod)
    }
}

#[async_trait]
impl Attachment for Pod {
    fn ip(&self) -> IpAddr {
        self.ip
    }

    async fn serve(&self, port: u16, handler: Arc<dyn ConnectionHandler>) -> io::Result<Box<dyn BoundPort>> {
        self.claim(Protocol::Tcp, Bound::any(self.ip), port, |binding, local| {
            let _on_our_runtime = self.node.runtime.enter();
            let Binding::Tcp(socket) = binding else { return Err(io::ErrorKind::Unsupported.into()) };
            let listener = socket.listen(BACKLOG)?;
            let (table, taker) = (Arc::clone(&self.node.table), Arc::clone(&handler));
            let take = move |stream: TcpStream, peer| {
                let peer = table.shown(Protocol::Tcp, peer);
                if !table.policies().allow(peer.ip(), Protocol::Tcp, local) {
                    return reset(&stream);
                }
                let taken = stream.into_std().map(|stream| taker.take(Connection { stream, peer, local, held: None }));
                match taken {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => tracing::debug!(%peer, %local, "a connection was not taken"),
                    Err(error) => tracing::debug!(%error, %peer, "a connection could not be handed over"),
                }
            };
            let door = Door::open(listener, &self.node.runtime, take);
            Ok((Hold::Served { _door: door }, Some(handler)))
        })
    }

    fn listen(&self, protocol: Protocol, at: Address) -> io::Result<Box<dyn BoundPort>> {
        let is_ours = self.node.table.mean_this_pod(at.ip()) || at.ip().to_canonical() == self.ip;
        let bound = Bound::to(at.ip(), self.ip).filter(|_| is_ours).ok_or(io::ErrorKind::AddrNotAvailable)?;
        self.claim(protocol, bound, at.port(), |binding, _| {
            let socket = match binding {
                Binding::Tcp(socket) => Some(socket),
                // Two sockets of datagrams cannot have the same port, so nothing keeps it.
                Binding::Udp(socket) => {
                    drop(socket);
                    None
                }
            };
            Ok((Hold::Reserved { _socket: socket }, None))
        })
    }

    fn reach(&self, protocol: Protocol, to: Address) -> Result<Reached, ConnectError> {
        let table = &self.node.table;
        if let Some(outside) = &self.slot.outside
            && table.is_outside(protocol, to)
            && !outside.may_reach(to.ip(), to.port())
        {
            return Err(ConnectError::Denied);
        }
        table.reach(self.ip, protocol, to)
    }

    fn outside(&self) -> Option<Arc<Outside>> {
        self.slot.outside.clone()
    }

    fn admits(&self, protocol: Protocol, port: u16, peer: SocketAddr) -> bool {
        self.node.table.policies().allow(peer.ip(), protocol, SocketAddr::new(self.ip, port))
    }

    fn still_leads(&self, protocol: Protocol, to: Address, real: SocketAddr) -> bool {
        self.node.table.still_leads(self.ip, protocol, to, real)
    }

    fn shown(&self, protocol: Protocol, real: SocketAddr) -> SocketAddr {
        self.node.table.shown(protocol, real)
    }

    fn guise(&self, protocol: Protocol, real: SocketAddr, to: Address) -> Option<Box<dyn Guise>> {
        let table = &self.node.table;
        let ip = if table.mean_this_pod(to.ip()) { Ipv4Addr::LOCALHOST.into() } else { self.ip };
        let as_if = SocketAddr::new(ip, real.port());
        (real != as_if).then(|| {
            table.show(protocol, real, as_if);
            Box::new(Shown { table: Arc::clone(table), protocol, real }) as Box<dyn Guise>
        })
    }

    async fn withdrawn(&self) {
        self.node.table.withdrawn(self.ip).await;
    }
}

impl Pod {
    /// Binds a port of the pod (0: any), lets `hold` make use of the socket, and puts it into the table.
    fn claim(
        &self,
        protocol: Protocol,
        bound: Bound,
        port: u16,
        hold: impl FnOnce(Binding, Address) -> io::Result<(Hold, Option<Arc<dyn ConnectionHandler>>)>,
    ) -> io::Result<Box<dyn BoundPort>> {
        let mut ports = lock(&self.ports);
        if ports.is_taken(protocol, port, bound) {
            return Err(self.taken(port));
        }
        let binding = self.bind(protocol, bound, port, ports.is_shared(protocol, port))?;
        let real = binding.local_addr()?;
        let number = if port == 0 { real.port() } else { port };
        if ports.is_taken(protocol, number, bound) {
            return Err(self.taken(number));
        }
        let at = SocketAddr::new(self.ip, number);
        let (hold, handler) = hold(binding, at)?;
        let reached = reached_at(real);
        // What was closed a moment ago may have had the same real address under another name.
        self.node.table.show(protocol, reached, at);
        let held = Held { listener: Listener { real: reached, handler }, _hold: hold };
        let id = ports.take(protocol, number, bound, held);
        self.settle(&ports, protocol, number);
        Ok(Box::new(Port { pod: Weak::clone(&self.me), id, real }))
    }

    /// A socket at a port of the pod, for real where that can be. What other pods must not find is bound where they
    /// do not look, and of two families with the same number only the first can be real.
    fn bind(&self, protocol: Protocol, bound: Bound, port: u16, is_shared: bool) -> io::Result<Binding> {
        let is_client = protocol == Protocol::Udp && port == 0 && bound.is_any();
        if is_client {
            // Who only asks speaks to the cluster and to the world alike, so the system chooses the source for each.
            let any: IpAddr =
                if self.ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            return bind(Mode::Real, protocol, SocketAddr::new(any, 0));
        }
        let mode = if bound.is_localhost() || is_shared { Mode::Mapped } else { self.node.mode };
        bind(mode, protocol, SocketAddr::new(self.ip, port))
    }

    /// Makes the table say whom connections to a port find.
    fn settle(&self, ports: &Ports<Held>, protocol: Protocol, number: u16) {
        let at = SocketAddr::new(self.ip, number);
        let found = |target| ports.found(protocol, number, target);
        let anybody = found(Target::Own(Family::of(self.ip)));
        let listener = |claim: &Claim<Held>| claim.value.listener.clone();
        self.node.table.put(Asker::Anybody, protocol, at, anybody.map(listener));
        for family in [Family::V4, Family::V6] {
            let itself = found(Target::Localhost(family));
            if itself.map(|claim| claim.id) == anybody.map(|claim| claim.id) {
                self.node.table.take(Asker::Itself(family), protocol, at);
            } else {
                self.node.table.put(Asker::Itself(family), protocol, at, itself.map(listener));
            }
        }
    }

    fn taken(&self, port: u16) -> io::Error {
        let text = format!("port {port} of pod {} is already in use by another of its containers", self.slot.pod);
        io::Error::new(io::ErrorKind::AddrInUse, text)
    }

    fn close(&self, id: u64) {
        // What a handler holds may be dropped with it, other ports of this pod among it: not under the lock.
        let claim = {
            let mut ports = lock(&self.ports);
            let claim = ports.give_back(id);
            if let Some(claim) = &claim {
                self.settle(&ports, claim.protocol, claim.port);
                self.node.table.forget(claim.protocol, claim.value.listener.real);
            }
            claim
        };
        drop(claim);
    }
}

/// Where a socket bound like this is reached on this machine.
fn reached_at(real: SocketAddr) -> SocketAddr {
    match real.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), real.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), real.port()),
        _ => real,
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let claims = lock(&self.ports).drain();
        let nobody = Ports::default();
        for claim in claims {
            self.settle(&nobody, claim.protocol, claim.port);
            self.node.table.forget(claim.protocol, claim.value.listener.real);
        }
        let mut places = lock(&self.node.places);
        if places.by_uid.get(&self.slot.uid).is_some_and(|(ip, _)| *ip == self.ip) {
            places.by_uid.remove(&self.slot.uid);
        }
        self.node.table.policies().detached(&self.slot, self.ip);
        places.addresses.give_back(self.ip);
    }
}

impl BoundPort for Port {
    fn real(&self) -> SocketAddr {
        self.real
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Some(pod) = self.pod.upgrade() {
            pod.close(self.id);
        }
    }
}

impl Guise for Shown {}

impl Drop for Shown {
    fn drop(&mut self) {
        self.table.forget(self.protocol, self.real);
    }
}

/// The lock, also after a panic elsewhere: each critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
