//! What an API server is told: plain data, read by `cli` from flags, files and environment.
//!
//! It holds no defaults of the machine (such as the data directory): those are the composition root's to choose.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authorizer::AuthorizationMode;

/// The configuration of an API server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Where everything is kept. Deleting it deletes the cluster.
    pub data_dir: PathBuf,
    /// The address to listen on.
    #[serde(default = "Config::default_bind_address")]
    pub bind_address: IpAddr,
    /// The port to listen on; 0 picks a free one.
    #[serde(default = "Config::default_secure_port")]
    pub secure_port: u16,
    /// Where Services get their addresses from: `10.96.0.0/16`.
    #[serde(default = "Config::default_service_cidr")]
    pub service_cidr: String,
    /// The first and last node port that Services may have.
    #[serde(default = "Config::default_node_ports")]
    pub node_ports: (u16, u16),
    /// More names and addresses for the serving certificate, for example the machine's host name.
    #[serde(default)]
    pub extra_sans: Vec<String>,
    /// A file of bearer tokens, `token,user,uid,"group1,group2"` a line.
    #[serde(default)]
    pub token_auth_file: Option<PathBuf>,
    /// A file of certificates, PEM, whose holders may sign client certificates, as our own authority may.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Whether requests without credentials are served, as `system:anonymous`.
    #[serde(default = "Config::default_anonymous_auth")]
    pub anonymous_auth: bool,
    /// How it is decided who may do what, in this order.
    #[serde(default = "Config::default_authorization_mode")]
    pub authorization_mode: Vec<AuthorizationMode>,
    /// So many reads of one user may be under way or wait; 0: any number.
    #[serde(default = "Config::default_max_requests_inflight")]
    pub max_requests_inflight: usize,
    /// So many writes of one user may be under way or wait, and so many of all are worked on at once; 0: any number.
    #[serde(default = "Config::default_max_mutating_requests_inflight")]
    pub max_mutating_requests_inflight: usize,
    /// How long a request may take that is no watch and no stream.
    #[serde(default = "Config::default_request_timeout")]
    pub request_timeout: Duration,
    /// How long a watch lasts at least if its client does not say; at most twice as long.
    #[serde(default = "Config::default_min_request_timeout")]
    pub min_request_timeout: Duration,
    /// Admission plugins in force beside the usual ones, by Kubernetes' names.
    #[serde(default)]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins that are usual, but not in force.
    #[serde(default)]
    pub disable_admission_plugins: Vec<String>,
    /// Where objects are kept.
    #[serde(default)]
    pub store: StoreKind,
}

/// Where objects are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// In a file of the data directory.
    #[default]
    Redb,
    /// In memory, until the process ends: for tests.
    Memory,
}

impl Config {
    /// The usual configuration over a data directory.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            bind_address: Self::default_bind_address(),
            secure_port: Self::default_secure_port(),
            service_cidr: Self::default_service_cidr(),
            node_ports: Self::default_node_ports(),
            extra_sans: Vec::new(),
            token_auth_file: None,
            client_ca_file: None,
            anonymous_auth: Self::default_anonymous_auth(),
            authorization_mode: Self::default_authorization_mode(),
            max_requests_inflight: Self::default_max_requests_inflight(),
            max_mutating_requests_inflight: Self::default_max_mutating_requests_inflight(),
            request_timeout: Self::default_request_timeout(),
            min_request_timeout: Self::default_min_request_timeout(),
            enable_admission_plugins: Vec::new(),
            disable_admission_plugins: Vec::new(),
            store: StoreKind::default(),
        }
    }

    /// For tests of a part without the controllers: on a free port, in memory, and without the plugins that count on
    /// what a controller does later.
    #[must_use]
    pub fn alone(data_dir: impl Into<PathBuf>) -> Self {
        let of_controllers = ["ServiceAccount", "TaintNodesByCondition"];
        Self {
            secure_port: 0,
            store: StoreKind::Memory,
            disable_admission_plugins: of_controllers.map(str::to_owned).to_vec(),
            ..Self::new(data_dir)
        }
    }

    /// The address to bind.
    #[must_use]
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.secure_port)
    }

    fn default_bind_address() -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    fn default_secure_port() -> u16 {
        6443
    }

    fn default_service_cidr() -> String {
        "127.43.0.0/16".to_owned()
    }

    /// As upstream; nobody in particular may see whether the server is well, and little else.
    fn default_anonymous_auth() -> bool {
        true
    }

    fn default_authorization_mode() -> Vec<AuthorizationMode> {
        vec![AuthorizationMode::Node, AuthorizationMode::Rbac]
    }

    /// kube-apiserver's default, as the next three.
    fn default_max_requests_inflight() -> usize {
        400
    }

    fn default_max_mutating_requests_inflight() -> usize {
        200
    }

    fn default_request_timeout() -> Duration {
        Duration::from_secs(60)
    }

    fn default_min_request_timeout() -> Duration {
        Duration::from_secs(1800)
    }

    fn default_node_ports() -> (u16, u16) {
        (30000, 32767)
    }
}
