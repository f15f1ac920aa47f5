//! Datagrams to a Service: each client gets a flow of its own to one endpoint, and replies come back by it.
//!
//! Invariant: a flow keeps its endpoint while both are there, as a connection would; what cannot be sent is dropped,
//! as datagrams may be.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use coracle_api::meet::{Address, Protocol};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinSet;

use crate::routes::{Front, Route};
use crate::table::{Destination, Table, Turned};

/// How many clients one port of a Service has at the same time: each takes a file.
const FLOWS_MAX: usize = 1024;

/// How long a flow may be silent: Linux' own figure for UDP connection tracking.
const FLOW_IDLE_MAX: Duration = Duration::from_secs(30);

/// How many datagrams may wait for a flow; more are dropped.
const WAITING_DATAGRAMS_MAX: usize = 64;

/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// A socket whose datagrams are relayed.
pub(crate) struct Relay(JoinSet<()>);

impl Relay {
    /// Relays what comes to `at` for the front.
    pub(crate) fn open(at: SocketAddr, front: Front, table: Arc<Table>) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(at)?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let mut task = JoinSet::new();
        task.spawn(relay(socket, front, table));
        Ok(Self(task))
    }

    /// Closes the socket; when this returns, its port is free.
    pub(crate) async fn close(mut self) {
        self.0.shutdown().await;
    }
}

/// The way of one client's datagrams.
struct Flow {
    sender: mpsc::Sender<Vec<u8>>,
    endpoint: Address,
    /// The route by which the endpoint was last found usable.
    route: Arc<Route>,
}

impl Flow {
    /// Whether the endpoint may still be used.
    fn holds(&mut self, route: &Arc<Route>) -> bool {
        let holds = Arc::ptr_eq(&self.route, route) || route.endpoints.binary_search(&self.endpoint).is_ok();
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
        let Some((endpoint, real)) = endpoint(&table, &turned, client) else { continue };
        let (sender, receiver) = mpsc::channel(WAITING_DATAGRAMS_MAX);
        if sender.try_send(datagram).is_ok() {
            flows.insert(client, Flow { sender, endpoint, route: turned.route });
            tasks.spawn(flow(Arc::downgrade(&socket), client, real, receiver));
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

/// Carries the datagrams of one client until it has been silent for long enough; returns whose it was.
async fn flow(
    listener: Weak<UdpSocket>,
    client: SocketAddr,
    endpoint: SocketAddr,
    mut from_client: mpsc::Receiver<Vec<u8>>,
) -> SocketAddr {
    let carried = async {
        let socket = connected(endpoint).await?;
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            tokio::select! {
                datagram = from_client.recv() => match datagram {
                    Some(datagram) => { socket.send(&datagram).await?; }
                    None => return Ok(()),
                },
                length = socket.recv(&mut buffer) => {
                    let Some(listener) = listener.upgrade() else { return io::Result::Ok(()) };
                    listener.send_to(buffer.get(..length?).unwrap_or_default(), client).await?;
                }
                () = tokio::time::sleep(FLOW_IDLE_MAX) => return Ok(()),
            }
        }
    };
    if let Err(error) = carried.await {
        tracing::debug!(%error, %client, %endpoint, "a datagram flow ended");
    }
    client
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
