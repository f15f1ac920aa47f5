//! Brings a connection that came for a Service to one of its endpoints.
//!
//! A handler in this process is given the connection itself, with no second hop; only what a guest or another machine
//! listens for is carried, byte by byte. It refuses to let a client wait for nobody: without endpoints it resets, unless the Service may sleep.

use std::any::Any;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::meet::{Address, Connection, ConnectionHandler, Protocol};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::carry::{carry, reset};
use crate::health;
use crate::routes::Front;
use crate::table::{Destination, Table, Turned};
use crate::wake::{Met, Sleeper, Using};

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

/// Somebody who has connected.
struct Caller {
    stream: TcpStream,
    peer: SocketAddr,
    /// As policies see it.
    from: IpAddr,
}

/// What has become of a connection that was brought to some endpoints.
enum Brought {
    /// A handler has it, or it is lost.
    Gone,
    /// An endpoint is connected to.
    Connected(Box<Carried>),
    /// Nobody took it.
    Untaken(Caller),
}

/// Two connections that become one.
struct Carried {
    client: TcpStream,
    server: TcpStream,
    peer: SocketAddr,
    local: Address,
    _disguise: Option<Disguise>,
    _permit: OwnedSemaphorePermit,
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
    pub(crate) fn take(self: &Arc<Self>, front: Front, client: TcpStream, peer: SocketAddr) {
        let Some(turned) = self.table.turned(front) else { return reset(&client) };
        if let Front::HealthCheck(_) = front {
            return self.aside(health::answer(client, turned.route));
        }
        if !turned.route.lets_in(peer.ip()) {
            tracing::debug!(service = %turned.route.service, %peer, "not in loadBalancerSourceRanges: reset");
            return reset(&client);
        }
        let from = self.client(&client, peer);
        self.deliver(front, &turned, Caller { stream: client, peer, from });
    }

    /// The same for a connection of one of our pods, which came by a door that no one else knows.
    pub(crate) fn take_of_pod(self: &Arc<Self>, front: Front, client: TcpStream, peer: SocketAddr) {
        let Some(turned) = self.table.turned(front) else { return reset(&client) };
        let from = self.table.shown(Protocol::Tcp, peer).ip();
        self.deliver(front, &turned, Caller { stream: client, peer, from });
    }

    fn deliver(self: &Arc<Self>, front: Front, turned: &Turned, mut caller: Caller) {
        if let Some(sleeper) = self.table.sleepers().of(&turned.route) {
            return self.aside(Arc::clone(self).hold(front, caller, sleeper));
        }
        let mut tried = self.destinations(turned, &caller);
        loop {
            match tried.next() {
                None => return reset(&caller.stream),
                Some((local, Destination::Handler(handler))) => match self.hand_over(caller, local, &*handler, None) {
                    Some(back) => caller = back,
                    None => return,
                },
                Some(first) => {
                    let destinations = std::iter::once(first).chain(tried).collect();
                    let this = Arc::clone(self);
                    return self.aside(async move {
                        match this.bring(caller, destinations, None).await {
                            Brought::Gone => {}
                            Brought::Connected(carried) => carried.run().await,
                            Brought::Untaken(caller) => reset(&caller.stream),
                        }
                    });
                }
            }
        }
    }

    /// Where a connection may be brought, best first. What policies forbid ends it: others would be forbidden as well.
    fn destinations<'a>(
        &'a self,
        turned: &'a Turned,
        caller: &Caller,
    ) -> impl Iterator<Item = (Address, Destination)> + use<'a> {
        let from = caller.from;
        let is_let = move |(to, _): &(Address, Destination)| self.table.policies().allow(from, Protocol::Tcp, *to);
        let known =
            turned.endpoints(caller.peer.ip()).filter_map(|to| Some((to, self.table.destination(Protocol::Tcp, to)?)));
        known.take_while(is_let).take(ENDPOINTS_TRIED_MAX)
    }

    /// Delivers a connection to a Service that may sleep: it waits where nobody takes it, and is counted until its end.
    async fn hold(self: Arc<Self>, front: Front, mut caller: Caller, sleeper: Arc<Sleeper>) {
        let using = Arc::new(sleeper.using());
        let mut wait = using.wait(self.table.changes());
        let carried = loop {
            let Some(turned) = self.table.turned(front) else { return reset(&caller.stream) };
            let destinations: Vec<_> = self.destinations(&turned, &caller).collect();
            let is_known = |to: &Address| self.table.destination(Protocol::Tcp, *to).is_some();
            let met = match (destinations.is_empty(), turned.route.endpoints.iter().any(is_known)) {
                (true, true) => return reset(&caller.stream),
                (true, false) => Met::Nobody,
                (false, _) => Met::Unwilling,
            };
            match self.bring(caller, destinations, Some(&using)).await {
                Brought::Gone => return,
                Brought::Connected(carried) => break carried,
                Brought::Untaken(back) => caller = back,
            }
            if !wait.again(met).await {
                return reset(&caller.stream);
            }
        };
        drop(wait);
        carried.run().await;
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
        caller: Caller,
        local: Address,
        handler: &dyn ConnectionHandler,
        using: Option<&Arc<Using>>,
    ) -> Option<Caller> {
        let Caller { stream, peer, from } = caller;
        let handed = stream.into_std().and_then(|stream| {
            let held = using.map(|using| Box::new(Arc::clone(using)) as Box<dyn Any + Send>);
            let connection = Connection { stream, peer: self.table.shown(Protocol::Tcp, peer), local, held };
            handler.take(connection).err().map(|back| TcpStream::from_std(back.stream)).transpose()
        });
        let back = handed.unwrap_or_else(|error| {
            tracing::debug!(%error, %peer, "a connection could not be handed over");
            None
        });
        back.map(|stream| Caller { stream, peer, from })
    }

    /// Brings a connection to the first of these that takes it.
    async fn bring(
        &self,
        mut caller: Caller,
        destinations: Vec<(Address, Destination)>,
        using: Option<&Arc<Using>>,
    ) -> Brought {
        let mut permit = None;
        for (local, destination) in destinations {
            let peer = caller.peer;
            if permit.is_none() && !matches!(destination, Destination::Handler(_)) {
                permit = Arc::clone(&self.permits).try_acquire_owned().ok();
                if permit.is_none() {
                    tracing::warn!(%peer, %local, "too many carried connections: one was not carried");
                    return Brought::Untaken(caller);
                }
            }
            let connected = match destination {
                Destination::Handler(handler) => match self.hand_over(caller, local, &*handler, using) {
                    Some(back) => {
                        caller = back;
                        continue;
                    }
                    None => return Brought::Gone,
                },
                Destination::Pod(real) => self.connect_to_pod(real, peer).await,
                Destination::Outside(real) => connect(None, real).await.map(|stream| (stream, None)),
            };
            match (connected, permit.take()) {
                (Ok((server, disguise)), Some(permit)) => {
                    let client = caller.stream;
                    let carried = Carried { client, server, peer, local, _disguise: disguise, _permit: permit };
                    return Brought::Connected(Box::new(carried));
                }
                (Ok(_), None) => return Brought::Untaken(caller),
                (Err(error), held) => {
                    permit = held;
                    tracing::debug!(%error, %peer, %local, "an endpoint did not answer");
                }
            }
        }
        Brought::Untaken(caller)
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

impl Carried {
    /// Carries both ways until both have ended.
    async fn run(mut self) {
        if let Err(error) = carry(&mut self.client, &mut self.server).await {
            let Self { peer, local, .. } = &self;
            tracing::debug!(%error, %peer, %local, "a carried connection broke off");
        }
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
