//! The API server as a component: built from its configuration, then run until told to stop.
//!
//! Invariant: once built it is ready: its port is bound, its store open, its first objects there.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use coracle_api::meet::{Figures, HttpService, Nodes};
use coracle_api::wellknown::NAMESPACE_DEFAULT;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::admit::plugins::{PluginError, Plugins};
use crate::authenticator::accounts::Accounts;
use crate::authenticator::token_file::{TokenFileError, Tokens as TokenFile};
use crate::authenticator::{Anonymous, Authenticator};
use crate::authorizer::rbac::{self, Rbac, Source};
use crate::authorizer::{AuthorizationMode, Authorizer, ModeError};
use crate::bootstrap::{self, bootstrap};
use crate::chain;
use crate::config::{Config, StoreKind};
use crate::expiry::forget_events;
use crate::fairness::Fairness;
use crate::identity::Identity;
use crate::machine::{Limits, Machine};
use crate::pki::{self, Pki, PkiError, kubeconfig};
use crate::registry::Registry;
use crate::registry::addresses::{Addresses, Cidr};
use crate::store::redb::OpenError;
use crate::store::{self, Prefix, Store};
use crate::tls::{self, Tls, TlsError};
use crate::tokens::Tokens;

/// The file in the data directory with which its owner reaches the server.
const KUBECONFIG: &str = "admin.kubeconfig";

/// What the API server meets in the same process.
pub struct Mounts {
    /// The way to the nodes' kubelets.
    pub nodes: Arc<dyn Nodes>,
    /// The image registry, served under `/v2/`.
    pub images: Arc<dyn HttpService>,
    /// What other parts count, for `/metrics`.
    pub figures: Arc<dyn Figures>,
}

/// Why an API server cannot start, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The data directory cannot be made.
    #[error("cannot make the data directory {path:?}: {source}; choose another with --data-dir")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store in memory cannot be made.
    #[error("cannot open a store in memory: {0}")]
    Memory(#[source] std::io::Error),
    /// The certificates cannot be read or made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The port is taken.
    #[error(
        "{addr} is in use by another process; stop it, or choose another port with --secure-port (0 picks a free one)"
    )]
    PortInUse {
        /// Where.
        addr: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}; check --bind-address and --secure-port")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The range of Service addresses makes no sense.
    #[error("--service-cluster-ip-range {cidr:?} cannot be used: {why}")]
    ServiceCidr {
        /// What was given.
        cidr: String,
        /// What is wrong.
        why: String,
    },
    /// The file of tokens cannot be used.
    #[error(transparent)]
    TokenFile(#[from] TokenFileError),
    /// The modes of authorization are not as they should be.
    #[error(transparent)]
    AuthorizationMode(#[from] ModeError),
    /// The admission plugins are not as they should be.
    #[error(transparent)]
    Plugins(#[from] PluginError),
    /// The first objects cannot be made.
    #[error("cannot make the first objects: {0}")]
    Bootstrap(String),
}

/// An API server, ready to run.
pub struct Apiserver {
    machine: Arc<Machine>,
    router: Router,
    listener: TcpListener,
    addr: SocketAddr,
    /// The address of its Service.
    service: IpAddr,
    tls: Tls,
    kubeconfig: PathBuf,
    root_ca: String,
}

impl Apiserver {
    /// Opens the store, binds the port, makes the certificates and the first objects.
    ///
    /// # Errors
    /// [`BuildError`], which says the fix.
    pub async fn build(config: Config, mounts: Mounts) -> Result<Self, BuildError> {
        let cidr = parse_cidr(&config.service_cidr)?;
        let service = first_address(&config.service_cidr)?;
        let plugins = Plugins::choose(&config.enable_admission_plugins, &config.disable_admission_plugins)?;
        let token_file = config.token_auth_file.as_deref().map(TokenFile::read).transpose()?.unwrap_or_default();
        let dir = config.data_dir.clone();
        make_dir(&dir)?;
        // The store first: its lock keeps a second server off the directory.
        let store = open(config.store, &dir).await?;
        let (listener, addr) = listen(config.socket_addr()).await?;
        let names = pki::names(config.bind_address, service, &config.extra_sans);
        let pki_dir = dir.join("pki");
        let pki = Pki::open(&pki_dir, &names)?;
        let tokens = Arc::new(Tokens::open(&pki_dir)?);
        let kubeconfig = dir.join(KUBECONFIG);
        pki::write_private(&kubeconfig, &kubeconfig::text(&pki, addr))?;
        let tls = Tls::new(&pki, config.client_ca_file.as_deref())?;
        let registry = Registry::builtin();
        let authorizer = authorizer(&config.authorization_mode, &registry, &store)?;
        let authenticator = Authenticator {
            tokens: token_file,
            accounts: Accounts::new(Arc::clone(&tokens)),
            anonymous: anonymous(&config),
        };
        let addresses = Addresses::new(cidr, config.node_ports.0..=config.node_ports.1);
        for entry in store.list(&Prefix::resource("", "services")).entries {
            addresses.occupy(&entry.value());
        }
        let machine = Arc::new(Machine {
            store,
            registry,
            authenticator,
            authorizer,
            fairness: Fairness::new(
                config.max_requests_inflight,
                config.max_mutating_requests_inflight,
                config.request_timeout,
            ),
            limits: Limits { request_timeout: config.request_timeout, min_request_timeout: config.min_request_timeout },
            plugins,
            addresses,
            tokens,
            nodes: mounts.nodes,
            images: mounts.images,
            figures: mounts.figures,
            discovery: crate::discovery::Discovery::new(addr),
            health: crate::health::Health::default(),
            metrics: crate::metrics::Metrics::default(),
            stopping: CancellationToken::new(),
        });
        let made = bootstrap(&machine, addr, service).await.and(bootstrap::policy(&machine).await);
        made.map_err(|refused| BuildError::Bootstrap(refused.json().to_string()))?;
        machine.health.bootstrapped();
        let router = chain::router(Arc::clone(&machine));
        Ok(Self { machine, router, listener, addr, service, tls, kubeconfig, root_ca: pki.authority })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The file with which its owner reaches it.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The certificate of the authority that signed the server's own, as PEM.
    #[must_use]
    pub fn root_ca(&self) -> &str {
        &self.root_ca
    }

    /// A client in the same process, with no socket between, that is `identity`.
    ///
    /// Must be called within a tokio runtime. The client goes on working as long as the server does.
    #[must_use]
    pub fn client(&self, identity: Identity) -> kube::Client {
        let service = self.router.clone().map_request(move |mut request: http::Request<kube::client::Body>| {
            request.extensions_mut().insert(identity.clone());
            request.map(axum::body::Body::new)
        });
        kube::Client::new(service, NAMESPACE_DEFAULT)
    }

    /// Serves until told to stop: then ends watches, lets requests end, and closes the store.
    pub async fn run(self, shutdown: CancellationToken) {
        let stopping = self.machine.stopping.clone();
        let serving = tls::serve(self.listener, self.tls, self.router, stopping.clone());
        let told = async {
            shutdown.cancelled().await;
            stopping.cancel();
        };
        let forgetting = forget_events(Arc::clone(&self.machine));
        let keeping = async {
            tokio::select! {
                () = bootstrap::keep(&self.machine, self.addr, self.service) => {}
                () = stopping.cancelled() => {}
            }
        };
        tokio::join!(serving, forgetting, keeping, told);
        self.machine.store.stop().await;
    }
}

/// Where everybody may do everything, nobody is served who shows nothing, as upstream.
fn anonymous(config: &Config) -> Anonymous {
    if !config.anonymous_auth {
        return Anonymous::Refused;
    }
    if config.authorization_mode.contains(&AuthorizationMode::AlwaysAllow) {
        tracing::warn!(
            "AnonymousAuth is not allowed with the AlwaysAllow authorizer: requests without credentials get 401"
        );
        return Anonymous::Refused;
    }
    Anonymous::Served
}

fn authorizer(
    modes: &[AuthorizationMode],
    registry: &Registry,
    store: &Arc<dyn Store>,
) -> Result<Authorizer, ModeError> {
    let stored = registry.rows().iter().any(|row| row.group == rbac::GROUP && row.plural == "clusterrolebindings");
    let source = if stored { Source::Stored(Arc::clone(store)) } else { Source::Defaults };
    Authorizer::new(modes, Rbac::new(source))
}

fn make_dir(dir: &Path) -> Result<(), BuildError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| BuildError::DataDir { path: dir.to_owned(), source })
}

async fn open(kind: StoreKind, dir: &Path) -> Result<Arc<dyn Store>, BuildError> {
    match kind {
        StoreKind::Memory => Ok(Arc::new(store::memory::open().map_err(BuildError::Memory)?)),
        StoreKind::Redb => {
            let dir = dir.to_owned();
            let opened = tokio::task::spawn_blocking(move || store::redb::open(&dir)).await;
            match opened {
                Ok(opened) => Ok(Arc::new(opened?)),
                Err(error) => Err(BuildError::Memory(std::io::Error::other(error))),
            }
        }
    }
}

async fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), BuildError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::AddrInUse => BuildError::PortInUse { addr },
        _ => BuildError::Listen { addr, source },
    };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn parse_cidr(text: &str) -> Result<Cidr, BuildError> {
    text.parse().map_err(|why| BuildError::ServiceCidr { cidr: text.to_owned(), why: format!("{why}") })
}

/// The first address of the range after its network's own: the API's.
fn first_address(cidr: &str) -> Result<IpAddr, BuildError> {
    let network = cidr.split('/').next().unwrap_or_default();
    match network.parse::<IpAddr>() {
        Ok(IpAddr::V4(network)) => Ok(std::net::Ipv4Addr::from(u32::from(network).saturating_add(1)).into()),
        Ok(IpAddr::V6(network)) => Ok(std::net::Ipv6Addr::from(u128::from(network).saturating_add(1)).into()),
        Err(error) => Err(BuildError::ServiceCidr { cidr: cidr.to_owned(), why: error.to_string() }),
    }
}
