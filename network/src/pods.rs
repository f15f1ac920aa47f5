//! Pods in the network: each gets an address, and its ports are served or reserved.
//!
//! Invariant: what the table says about a pod ends before its address can be with another: ports are closed first,
//! then the address is given back.

use std::collections::{BTreeMap, HashMap, btree_map::Entry};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use coracle_api::meet::{
    Address, Attachment, BoundPort, ConnectError, Connection, ConnectionHandler, PodNetwork, PodSlot, Protocol, Reached,
};
use coracle_api::names::Uid;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;

use crate::accept::{BACKLOG, Door};
use crate::addresses::PodAddresses;
use crate::bind::{Mode, bind};
use crate::carry::reset;
use crate::cidr::Cidr;
use crate::table::{Listener, Table};

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
    ports: Mutex<BTreeMap<u16, Held>>,
}

/// What holds a port.
struct Held {
    real: SocketAddr,
    hold: Hold,
}

enum Hold {
    /// A listener of ours, accepted from for a handler.
    Served { _door: Door },
    /// A socket that keeps the port for the guest.
    Reserved { _socket: TcpSocket },
}

/// A port in use, as given to whoever asked for it.
struct Port {
    pod: Weak<Pod>,
    number: u16,
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
            ports: Mutex::new(BTreeMap::new()),
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
        self.claim(port, |socket, local| {
            let _on_our_runtime = self.node.runtime.enter();
            let listener = socket.listen(BACKLOG)?;
            let (table, taker) = (Arc::clone(&self.node.table), Arc::clone(&handler));
            let take = move |stream: TcpStream, peer| {
                let peer = table.shown(peer);
                if !table.policies().allow(peer.ip(), Protocol::Tcp, local) {
                    return reset(&stream);
                }
                let taken = stream.into_std().map(|stream| taker.take(Connection { stream, peer, local }));
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

    fn listen(&self, port: u16) -> io::Result<Box<dyn BoundPort>> {
        self.claim(port, |socket, _| Ok((Hold::Reserved { _socket: socket }, None)))
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

    fn admits(&self, protocol: Protocol, port: u16, peer: SocketAddr) -> bool {
        self.node.table.policies().allow(peer.ip(), protocol, SocketAddr::new(self.ip, port))
    }

    fn shown(&self, real: SocketAddr) -> SocketAddr {
        self.node.table.shown(real)
    }

    async fn withdrawn(&self) {
        self.node.table.withdrawn(self.ip).await;
    }
}

impl Pod {
    /// Binds a port of the pod (0: any), lets `hold` make use of the socket, and puts it into the table.
    fn claim(
        &self,
        port: u16,
        hold: impl FnOnce(TcpSocket, Address) -> io::Result<(Hold, Option<Arc<dyn ConnectionHandler>>)>,
    ) -> io::Result<Box<dyn BoundPort>> {
        let mut ports = lock(&self.ports);
        if ports.contains_key(&port) {
            return Err(self.taken(port));
        }
        let socket = bind(self.node.mode, SocketAddr::new(self.ip, port))?;
        let real = socket.local_addr()?;
        let number = if port == 0 { real.port() } else { port };
        let Entry::Vacant(entry) = ports.entry(number) else { return Err(self.taken(number)) };
        let at = SocketAddr::new(self.ip, number);
        let (hold, handler) = hold(socket, at)?;
        entry.insert(Held { real, hold });
        self.node.table.open(at, Listener { real, handler });
        Ok(Box::new(Port { pod: Weak::clone(&self.me), number, real }))
    }

    fn taken(&self, port: u16) -> io::Error {
        let text = format!("port {port} of pod {} is already in use by another of its containers", self.slot.pod);
        io::Error::new(io::ErrorKind::AddrInUse, text)
    }

    fn close(&self, number: u16) {
        // What a handler holds may be dropped with it, other ports of this pod among it: not under the lock.
        let held = lock(&self.ports).remove(&number);
        if let Some(held) = held {
            self.end(number, held);
        }
    }

    fn end(&self, number: u16, held: Held) {
        self.node.table.close(SocketAddr::new(self.ip, number), held.real);
        drop(held.hold);
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let ports = std::mem::take(&mut *lock(&self.ports));
        for (number, held) in ports {
            self.end(number, held);
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
            pod.close(self.number);
        }
    }
}

/// The lock, also after a panic elsewhere: each critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
