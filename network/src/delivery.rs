//! Brings a connection that came for a Service to one of its endpoints.
//!
//! A handler in this process is given the connection itself, with no second hop; only what a guest or another machine
//! listens for is carried, byte by byte. It refuses to let a client wait for nobody: without endpoints it resets.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::meet::{Address, Connection, ConnectionHandler, Protocol};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::carry::{carry, reset};
use crate::health;
use crate::routes::Front;
use crate::table::{Destination, Table};

/// How many connections are carried at the same time: each takes two files, and processes often have few thousand.
/// Connections handed to a handler do not count.
pub(crate) const CARRIED_CONNECTIONS_MAX: usize = 4096;

/// How many endpoints a connection is tried at: one that does not answer may be stopping,
/// but when three do not, the next hundred would only keep the client waiting.
const ENDPOINTS_TRIED_MAX: usize = 3;

/// How long an endpoint may take to answer; on this machine it answers at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The way from the listeners of Services to their endpoints.
pub(crate) struct Delivery {
    table: Arc<Table>,
    permits: Arc<Semaphore>,
    carried: TaskTracker,
    shutdown: CancellationToken,
}

/// While it lives, a guest that asks who connected is told the client's address and not ours.
struct Disguise {
    table: Arc<Table>,
    ours: SocketAddr,
}

impl Drop for Disguise {
    fn drop(&mut self) {
        self.table.forget(Protocol::Tcp, self.ours);
    }
}

impl Delivery {
    /// Delivers what `table` routes, until `shutdown`.
    pub(crate) fn new(table: Arc<Table>, shutdown: CancellationToken) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(CARRIED_CONNECTIONS_MAX));
        Arc::new(Self { table, permits, carried: TaskTracker::new(), shutdown })
    }

    /// Takes a connection that came for a front. Returns at once.
    pub(crate) fn take(self: &Arc<Self>, front: Front, mut client: TcpStream, peer: SocketAddr) {
        let Some(turned) = self.table.turned(front) else { return reset(&client) };
        if let Front::HealthCheck(_) = front {
            return self.aside(health::answer(client, turned.route));
        }
        if !turned.route.lets_in(peer.ip()) {
            tracing::debug!(service = %turned.route.service, %peer, "not in loadBalancerSourceRanges: reset");
            return reset(&client);
        }
        let destination = |to: Address| Some((to, self.table.destination(Protocol::Tcp, to)?));
        let from = self.client(&client, peer);
        let is_let = |(to, _): &(Address, Destination)| self.table.policies().allow(from, Protocol::Tcp, *to);
        let mut tried =
            turned.endpoints(peer.ip()).filter_map(destination).take_while(is_let).take(ENDPOINTS_TRIED_MAX);
        loop {
            match tried.next() {
                None => return reset(&client),
                Some((local, Destination::Handler(handler))) => match self.hand_over(client, peer, local, &*handler) {
                    Some(back) => client = back,
                    None => return,
                },
                Some(first) => {
                    let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
                        tracing::warn!(service = %turned.route.service, "too many carried connections: one was reset");
                        return reset(&client);
                    };
                    let destinations = std::iter::once(first).chain(tried).collect();
                    let this = Arc::clone(self);
                    return self.aside(async move {
                        let _permit = permit;
                        this.carry(client, peer, destinations).await;
                    });
                }
            }
        }
    }

    /// The client as policies see it: by its own address, whatever the Service.
    fn client(&self, client: &TcpStream, peer: SocketAddr) -> IpAddr {
        match client.local_addr() {
            // Who comes from where we listen is this machine itself, at whichever of its addresses.
            Ok(local) if local.ip() == peer.ip() => Ipv4Addr::LOCALHOST.into(),
            Ok(_) | Err(_) => self.table.shown(Protocol::Tcp, peer).ip(),
        }
    }

    /// Runs a connection of ours until it ends, or all end.
    fn aside(&self, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.carried.spawn(async move { shutdown.run_until_cancelled(work).await });
    }

    /// Waits until everything that was carried has ended; `shutdown` makes it end.
    pub(crate) async fn ended(&self) {
        self.carried.close();
        self.carried.wait().await;
    }

    /// Hands a connection to a handler; gives it back if the handler does not take it.
    fn hand_over(
        &self,
        client: TcpStream,
        peer: SocketAddr,
        local: Address,
        handler: &dyn ConnectionHandler,
    ) -> Option<TcpStream> {
        let handed = client.into_std().and_then(|stream| {
            let connection = Connection { stream, peer: self.table.shown(Protocol::Tcp, peer), local };
            handler.take(connection).err().map(|back| TcpStream::from_std(back.stream)).transpose()
        });
        handed.unwrap_or_else(|error| {
            tracing::debug!(%error, %peer, "a connection could not be handed over");
            None
        })
    }

    async fn carry(&self, mut client: TcpStream, peer: SocketAddr, destinations: Vec<(Address, Destination)>) {
        for (local, destination) in destinations {
            let connected = match destination {
                Destination::Handler(handler) => match self.hand_over(client, peer, local, &*handler) {
                    Some(back) => {
                        client = back;
                        continue;
                    }
                    None => return,
                },
                Destination::Pod(real) => self.connect_to_pod(real, peer).await,
                Destination::Outside(real) => connect(None, real).await.map(|stream| (stream, None)),
            };
            match connected {
                Ok((mut server, _disguise)) => {
                    if let Err(error) = carry(&mut client, &mut server).await {
                        tracing::debug!(%error, %peer, %local, "a carried connection broke off");
                    }
                    return;
                }
                Err(error) => tracing::debug!(%error, %peer, %local, "an endpoint did not answer"),
            }
        }
        reset(&client);
    }

    /// Connects to a guest, which is to see `peer` as the one who connected.
    async fn connect_to_pod(&self, real: SocketAddr, peer: SocketAddr) -> io::Result<(TcpStream, Option<Disguise>)> {
        if !(real.is_ipv4() && real.ip().is_loopback()) {
            return Ok((connect(None, real).await?, None));
        }
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))?;
        let ours = socket.local_addr()?;
        self.table.show(Protocol::Tcp, ours, self.table.shown(Protocol::Tcp, peer));
        let disguise = Disguise { table: Arc::clone(&self.table), ours };
        Ok((connect(Some(socket), real).await?, Some(disguise)))
    }
}

async fn connect(socket: Option<TcpSocket>, to: SocketAddr) -> io::Result<TcpStream> {
    let connecting = async {
        match socket {
            Some(socket) => socket.connect(to).await,
            None => TcpStream::connect(to).await,
        }
    };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
