//! Names of the cluster: answered in process for guests, and over UDP and TCP by hickory for everybody else.
//!
//! It refuses to let a name of the cluster out: only names outside the cluster domain are asked of the host's resolvers.
//!
//! Reading order: the zone and how it follows the cluster, then who answers: forwarder, server, resolver.

mod book;
mod counts;
mod watch;
mod zone;
mod zones;

mod cache;
mod directions;
mod exchange;
mod forward;
mod host;
mod map;
mod resolver;
mod server;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use coracle_api::meet::{Figures, Resolver};
use coracle_api::wellknown::CLUSTER_DOMAIN;
use hickory_proto::rr::Name;
use hickory_server::server::Server;
use ipnet::IpNet;
use kube::Client;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use counts::{Counts, Told};
pub use directions::{NoResolver, resolver_at};
use directions::{Sources, Wanted};
use forward::Forwarder;
use host::Host;
use resolver::Lookup;
use server::datagrams::answer_apart;
use server::{Handler, Streams};
use watch::Watch;
use zone::Authority;
use zones::Zones;

/// How long a client's TCP connection may be silent.
const TCP_IDLE_MAX: Duration = Duration::from_secs(10);

/// How many answers may wait for one TCP client that does not read.
const TCP_ANSWERS_MAX: usize = 32;

/// How long questions that are being answered may take to end at shutdown.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// How often a free port is sought that is free for both protocols.
const FREE_PORT_TRIES: usize = 16;

/// What the DNS server needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Where to listen.
    pub bind_address: IpAddr,
    /// The port, for UDP and TCP alike; 0 picks a free one.
    pub port: u16,
    /// The domain of all names in the cluster: `cluster.local`.
    pub cluster_domain: String,
    /// The ranges of the cluster's addresses, whose reverse names are never asked outside.
    pub cluster_ranges: Vec<IpNet>,
    /// The resolvers that are asked about names outside the cluster domain, in this order. Without any, those of the
    /// ConfigMap `kube-dns` in `kube-system` are, and without these, those of `resolv_conf`.
    pub upstreams: Vec<SocketAddr>,
    /// This machine's `resolv.conf`, which is read again when it changes. Without it nobody else is asked.
    pub resolv_conf: Option<PathBuf>,
    /// Domains outside with resolvers of their own, as `corp.example`.
    pub stub_domains: BTreeMap<String, Vec<SocketAddr>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind_address: Ipv4Addr::LOCALHOST.into(),
            port: 10_053,
            cluster_domain: CLUSTER_DOMAIN.to_owned(),
            cluster_ranges: Vec::new(),
            upstreams: Vec::new(),
            resolv_conf: None,
            stub_domains: BTreeMap::new(),
        }
    }
}

/// Why there is no DNS server.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The cluster domain, or a stub domain, is no name.
    #[error("the domain {domain:?} is not a domain name: write one like cluster.local")]
    Domain {
        /// What was given.
        domain: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The address cannot be listened at.
    #[error("the DNS server cannot listen on {addr}: choose another port, or 0 for any free one")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The DNS server.
pub struct Dns {
    addr: SocketAddr,
    udp: UdpSocket,
    tcp: TcpListener,
    zones: Arc<Zones>,
    forwarder: Arc<Forwarder>,
    client: Client,
    watch: Watch,
    counts: Arc<Counts>,
}

impl Dns {
    /// Binds the server's sockets; questions are answered by [`Dns::run`].
    ///
    /// # Errors
    /// [`BuildError`] when the domain is none or the address cannot be listened at.
    pub async fn build(client: Client, config: Config) -> Result<Self, BuildError> {
        let domain =
            |text: &str| domain_of(text).map_err(|source| BuildError::Domain { domain: text.to_owned(), source });
        let own = domain(&config.cluster_domain)?;
        let stubs = config.stub_domains.into_iter();
        let stubs = stubs.map(|(name, servers)| Ok((domain(&name)?, servers))).collect::<Result<_, BuildError>>()?;
        let wanted = SocketAddr::new(config.bind_address, config.port);
        let (udp, tcp, addr) = bind(wanted).await.map_err(|source| BuildError::Bind { addr: wanted, source })?;
        let flags = Wanted { upstreams: config.upstreams, stubs };
        let sources = Sources { flags, own: Some(addr), ..Sources::default() };
        let forwarder = Arc::new(Forwarder::new(sources, config.resolv_conf.map(Host::new)));
        let authority = Arc::new(Authority::new(own, config.cluster_ranges));
        let watch = Watch::new(&client, Arc::clone(&authority));
        let zones = Arc::new(Zones::new(authority));
        Ok(Self { addr, udp, tcp, zones, forwarder, client, watch, counts: Arc::default() })
    }

    /// Where it listens, for UDP and TCP.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Look-ups without a socket, as pods make them.
    #[must_use]
    pub fn resolver(&self) -> Arc<dyn Resolver> {
        let (zones, forwarder) = (Arc::clone(&self.zones), Arc::clone(&self.forwarder));
        let counts = Arc::clone(&self.counts);
        Arc::new(Lookup { zones, forwarder, turn: AtomicUsize::new(0), counts })
    }

    /// What it counts, for `/metrics`.
    #[must_use]
    pub fn figures(&self) -> Arc<dyn Figures> {
        Arc::new(Told { counts: Arc::clone(&self.counts), forwarder: Arc::clone(&self.forwarder) })
    }

    /// Follows the cluster and answers until `shutdown`; then what is being answered may end.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { addr, udp, tcp, zones, forwarder, client, watch, counts } = self;
        let map = map::follow(client, Arc::clone(&forwarder));
        let handler = Arc::new(Handler { zones: Arc::clone(&zones), forwarder, turn: AtomicUsize::new(0), counts });
        let mut server = Server::new(Streams(Arc::clone(&handler)));
        server.register_listener(tcp, TCP_IDLE_MAX, TCP_ANSWERS_MAX);
        let serving = async {
            if let Err(error) = server.block_until_done().await {
                tracing::error!(%error, %addr, "the DNS server no longer listens");
            }
        };
        // Who drops the server ends its thread too.
        let stop = shutdown.child_token();
        let _stops = stop.clone().drop_guard();
        let datagrams = tokio::task::spawn_blocking(move || answer_apart(udp, handler, &stop));
        shutdown.run_until_cancelled(async { tokio::join!(watch.run(zones), map, serving) }).await;
        shutdown.cancelled().await;
        if let Err(error) = datagrams.await {
            tracing::error!(%error, "the thread for datagrams broke off");
        }
        match tokio::time::timeout(DRAIN_MAX, server.shutdown_gracefully()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the DNS server ended with an error"),
            Err(_) => tracing::debug!("questions were left unanswered"),
        }
    }
}

/// A domain: absolute and in lower case.
fn domain_of(text: &str) -> Result<Name, Box<dyn std::error::Error + Send + Sync>> {
    let mut name = Name::from_ascii(text.to_ascii_lowercase())?;
    if name.num_labels() == 0 {
        return Err("it is the root of all names".into());
    }
    name.set_fqdn(true);
    Ok(name)
}

/// Both sockets at the same port.
async fn bind(wanted: SocketAddr) -> io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let mut tries = if wanted.port() == 0 { FREE_PORT_TRIES } else { 1 };
    loop {
        let tcp = TcpListener::bind(wanted).await?;
        let addr = tcp.local_addr()?;
        tries -= 1;
        match bind_datagrams(addr) {
            Ok(udp) => return Ok((udp, tcp, addr)),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

fn bind_datagrams(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(addr)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod fake_api;
#[cfg(test)]
mod tests;
