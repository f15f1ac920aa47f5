//! Ingress: several sites of the outside, by host and path, on one port of the node.
//!
//! A controller of its own: it follows Ingresses of the class `coracle`, and serves them at the node's address by HTTP/1.1
//! and HTTP/2, with and without TLS. It asks the table where requests may go, as every connection to a Service does, and
//! hands them to programs of this process without a connection between. It costs next to nothing while there are none:
//! one watch, and no port.
//!
//! Reading order: which host and path lead where (`host`, `path`, `sites`), certificates, what is followed (`watch`), then
//! the way of a request: `doors`, `conversation`, `asked`, `proxy`, `backends`.

mod asked;
mod backends;
mod body;
mod certificates;
mod complaint;
mod conversation;
mod doors;
mod host;
mod path;
mod proxy;
mod refusal;
mod sites;
mod status;
mod tasks;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::Network;
use asked::Scheme;
use certificates::Certificates;
use conversation::Conversations;
use doors::Doors;
use proxy::Proxy;
use status::Status;
use watch::{Made, Watch};

/// How long requests that are under way may take when the network stops: less than the stage has.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Where Ingresses are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressConfig {
    /// The ports for HTTP, best first: the first that can be opened is taken. 0 is any that is free.
    pub http_ports: Vec<u16>,
    /// The same for HTTPS.
    pub https_ports: Vec<u16>,
}

impl Default for IngressConfig {
    /// The usual ports; where they need root or are taken, their usual substitutes.
    fn default() -> Self {
        Self { http_ports: vec![80, 8080], https_ports: vec![443, 8443] }
    }
}

/// Why Ingresses cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// The crypto library does not work.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// The controller of Ingresses on one node.
pub struct Ingress {
    config: IngressConfig,
    node: crate::Config,
    client: Client,
    proxy: Arc<Proxy>,
    certificates: Arc<Certificates>,
    tls: TlsAcceptor,
}

impl Ingress {
    /// Makes a controller that leads to what `network` knows. Nothing is opened before [`Ingress::run`].
    ///
    /// # Errors
    /// [`IngressError`].
    pub fn build(client: Client, config: IngressConfig, network: &Network) -> Result<Self, IngressError> {
        let certificates = Arc::new(Certificates::default());
        let tls = TlsAcceptor::from(Arc::new(certificates.tls().map_err(IngressError::Tls)?));
        let (node, proxy) = (network.config.clone(), Proxy::new(Arc::clone(&network.table)));
        Ok(Self { config, node, client, proxy, certificates, tls })
    }

    /// Where Ingresses will be served, as far as can be told before there are any: by HTTP and by HTTPS.
    #[must_use]
    pub fn likely(&self) -> Vec<(&'static str, SocketAddr)> {
        let kinds = [(Scheme::Http, &self.config.http_ports), (Scheme::Https, &self.config.https_ports)];
        let likely = |(scheme, ports): (Scheme, &Vec<u16>)| {
            let port = doors::likely(self.node.bind_address, ports)?;
            Some((scheme.as_str(), SocketAddr::new(self.node.bind_address, port)))
        };
        kinds.into_iter().filter_map(likely).collect()
    }

    /// Serves Ingresses until `shutdown`, then finishes what is under way, within bounds.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { config, node, client, proxy, certificates, tls } = self;
        let conversations = Conversations::new(Arc::clone(&proxy), tls, shutdown.clone());
        let doors = Doors::new(node.bind_address, &config.http_ports, &config.https_ports, conversations);
        let status = Status::new(client.clone(), node.node_address, &node.node_name);
        let mut made = Made { proxy: Arc::clone(&proxy), certificates, doors, status };
        shutdown.run_until_cancelled(Watch::new(client).run(&mut made)).await;
        made.doors.close();
        proxy.end(DRAIN_TIMEOUT).await;
    }
}

#[cfg(test)]
mod tests;
