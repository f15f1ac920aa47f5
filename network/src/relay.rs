//! Datagrams to a Service: each client gets a flow of its own to one endpoint, and replies come back by it.
//!
//! Invariant: a flow keeps its endpoint while both are there, as a connection would; what cannot be sent is dropped,
//! as datagrams may be.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use coracle_api::meet::{Address, Protocol};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinSet;

use crate::routes::{Front, Route};
use crate::table::{Destination, Table, Turned};
use crate::wake::{Met, Sleeper, Using};

/// How many clients one port of a Service has at the same time: each takes a file.
const FLOWS_MAX: usize = 1024;

/// How long a flow may be silent: Linux' own figure for UDP connection tracking.
const FLOW_IDLE_MAX: Duration = Duration::from_secs(30);

/// How many datagrams may wait for a flow; more are dropped.
const WAITING_DATAGRAMS_MAX: usize = 64;

/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// A socket whose datagrams are relayed.
pub(crate) struct Relay {
    at: SocketAddr,
    task: JoinSet<()>,
}

impl Relay {
    /// Relays what comes to `at` for the front.
    pub(crate) fn open(at: SocketAddr, front: Front, table: Arc<Table>) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(at)?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let at = socket.local_addr()?;
        let mut task = JoinSet::new();
        task.spawn(relay(socket, front, table));
        Ok(Self { at, task })
    }

    /// Where it listens.
    pub(crate) fn at(&self) -> SocketAddr {
        self.at
    }

    /// Closes the socket; when this returns, its port is free.
    pub(crate) async fn close(mut self) {
        self.task.shutdown().await;
    }
}

/// The way of one client's datagrams.
struct Flow {
    sender: mpsc::Sender<Vec<u8>>,
    /// Nothing while it waits for one.
    endpoint: Arc<OnceLock<Address>>,
    /// The route by which the endpoint was last found usable.
    route: Arc<Route>,
}

/// What carries them.
struct Way {
    table: Arc<Table>,
    front: Front,
    listener: Weak<UdpSocket>,
    client: SocketAddr,
}

impl Flow {
    /// Whether the endpoint may still be used.
    fn holds(&mut self, route: &Arc<Route>) -> bool {
        let holds = Arc::ptr_eq(&self.route, route)
            || self.endpoint.get().is_none_or(|endpoint| route.endpoints.binary_search(endpoint).is_ok());
        self.route = Arc::clone(route);
        holds
    }
}

async fn relay(socket: UdpSocket, front: Front, table: Arc<Table>) {
    let socket = Arc::new(socket);
    let mut flows: HashMap<SocketAddr, Flow> = HashMap::new();
    let mut tasks: JoinSet<SocketAddr> = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let (length, client) = tokio::select! {
            Some(ended) = tasks.join_next() => {
                if let Ok(client) = ended && flows.get(&client).is_some_and(|flow| flow.sender.is_closed()) {
                    flows.remove(&client);
                }
                continue;
            }
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                Err(error) => {
                    tracing::debug!(%error, "a datagram was not received");
                    continue;
                }
            },
        };
        let Some(turned) = table.turned(front).filter(|turned| turned.route.lets_in(client.ip())) else { continue };
        let mut datagram = buffer.get(..length).unwrap_or_default().to_vec();
        if let Some(flow) = flows.get_mut(&client) {
            if flow.holds(&turned.route) {
                match flow.sender.try_send(datagram) {
                    Ok(()) | Err(TrySendError::Full(_)) => continue,
                    Err(TrySendError::Closed(back)) => datagram = back,
                }
            } else {
                // Its endpoint is gone: the next one answers. Without a sender the old flow ends.
                flows.remove(&client);
            }
        }
        if tasks.len() >= FLOWS_MAX {
            tracing::warn!(%client, "too many datagram flows: a datagram was dropped");
            continue;
        }
        let found = endpoint(&table, &turned, client);
        let sleeper = table.sleepers().of(&turned.route);
        if found.is_none() && sleeper.is_none() {
            continue;
        }
        let (sender, receiver) = mpsc::channel(WAITING_DATAGRAMS_MAX);
        if sender.try_send(datagram).is_ok() {
            let endpoint = found.map_or_else(OnceLock::new, |(endpoint, _)| OnceLock::from(endpoint));
            let endpoint = Arc::new(endpoint);
            flows.insert(client, Flow { sender, endpoint: Arc::clone(&endpoint), route: turned.route });
            let way = Way { table: Arc::clone(&table), front, listener: Arc::downgrade(&socket), client };
            tasks.spawn(way.carry(found, sleeper, endpoint, receiver));
        }
    }
}

/// An endpoint that takes datagrams, and its real address, if the policies let the client send to it.
fn endpoint(table: &Table, turned: &Turned, client: SocketAddr) -> Option<(Address, SocketAddr)> {
    let found = turned.endpoints(client.ip()).find_map(|to| match table.destination(Protocol::Udp, to)? {
        Destination::Pod(real) | Destination::Outside(real) => Some((to, real)),
        Destination::Handler(_) => None,
    });
    found.filter(|(to, _)| table.policies().allow(table.shown(Protocol::Udp, client).ip(), Protocol::Udp, *to))
}

impl Way {
    /// Carries the datagrams of one client until it has been silent for long enough; returns whose it was.
    async fn carry(
        self,
        found: Option<(Address, SocketAddr)>,
        sleeper: Option<Arc<Sleeper>>,
        endpoint: Arc<OnceLock<Address>>,
        from_client: mpsc::Receiver<Vec<u8>>,
    ) -> SocketAddr {
        let using = sleeper.map(|sleeper| sleeper.using());
        let found = match (found, &using) {
            (None, Some(using)) => self.wait(using).await,
            (found, _) => found,
        };
        let Some((to, real)) = found else { return self.client };
        let to = *endpoint.get_or_init(|| to);
        if let Err(error) = self.exchange(real, from_client).await {
            tracing::debug!(%error, client = %self.client, endpoint = %to, "a datagram flow ended");
        }
        self.client
    }

    /// Waits for an endpoint of a Service that wakes.
    async fn wait(&self, using: &Using) -> Option<(Address, SocketAddr)> {
        let mut wait = using.wait(self.table.changes());
        loop {
            let turned = self.table.turned(self.front)?;
            if let Some(found) = endpoint(&self.table, &turned, self.client) {
                return Some(found);
            }
            if !wait.again(Met::Nobody).await {
                return None;
            }
        }
    }

    async fn exchange(&self, real: SocketAddr, mut from_client: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
        let socket = connected(real).await?;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            tokio::select! {
                datagram = from_client.recv() => match datagram {
                    Some(datagram) => { socket.send(&datagram).await?; }
                    None => return Ok(()),
                },
                length = socket.recv(&mut buffer) => {
                    let Some(listener) = self.listener.upgrade() else { return Ok(()) };
                    listener.send_to(buffer.get(..length?).unwrap_or_default(), self.client).await?;
                }
                () = tokio::time::sleep(FLOW_IDLE_MAX) => return Ok(()),
            }
        }
    }
}

async fn connected(endpoint: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match endpoint.ip() {
        IpAddr::V4(v4) if v4.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(endpoint).await?;
    Ok(socket)
}
