//! The pod network of one node: pod addresses, and Services that reach ready pods.
//!
//! It holds two things that others ask: the table of who listens where ([`PodNetwork`], asked by the node agent)
//! and the listeners by which the world outside reaches Services. It refuses to decide who is ready: that is in
//! the EndpointSlices.
//!
//! Reading order: ranges and addresses, how they are bound, the table, policies, pods, then Services and how they sleep, at last Ingresses.

mod addresses;
mod cidr;
mod local;

mod accept;
mod bind;

mod affinity;
mod asked;
mod offered;
mod ports;
mod routes;
mod shards;
mod table;

mod policy;

mod pods;

mod balancers;
mod book;
mod carry;
mod delivery;
mod events;
mod everywhere;
mod health;
mod listeners;
mod relay;
mod services;
mod watched;

mod wake;

mod ingress;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use coracle_api::meet::PodNetwork;
use coracle_api::names::{InvalidName, NodeName};
use kube::Client;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use bind::Mode;
pub use cidr::{Cidr, InvalidCidr};
pub use ingress::{Ingress, IngressConfig, IngressError};
pub use local::{LocalError, LocalRanges};
pub use wake::ScaleToZero;

use addresses::PodAddresses;
use balancers::Balancers;
use delivery::Delivery;
use events::Events;
use listeners::{Listeners, NodeAddress};
use pods::Pods;
use services::{Say, Watch};
use table::{Ranges, Table};
use wake::Doors;

/// What the network of a node needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// The node's name: it tells which endpoints are local. It has no default.
    pub node_name: String,
    /// The pod addresses of all nodes, in CIDR notation; without it the node is the only one.
    pub cluster_cidr: Option<String>,
    /// The pod addresses of this node: a part of `cluster_cidr`.
    pub pod_cidr: String,
    /// The cluster addresses of Services.
    pub service_cidr: String,
    /// Where NodePorts, load balancers and Ingresses listen.
    pub bind_address: IpAddr,
    /// By which address the node goes: it is where load balancers and Ingresses are found, as their status says.
    pub node_address: IpAddr,
    /// Whether cluster addresses are bound for real.
    pub mode: Mode,
}

impl Default for Config {
    /// Addresses of loopback, which any user of Linux may bind.
    fn default() -> Self {
        Self {
            node_name: String::new(),
            cluster_cidr: None,
            pod_cidr: "127.42.0.0/16".to_owned(),
            service_cidr: "127.43.0.0/16".to_owned(),
            bind_address: Ipv4Addr::LOCALHOST.into(),
            node_address: Ipv4Addr::LOCALHOST.into(),
            mode: Mode::default(),
        }
    }
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The node has no name.
    #[error("the network needs the name of its node")]
    NodeName(#[source] InvalidName),
    /// A range cannot be read.
    #[error(transparent)]
    Cidr(#[from] InvalidCidr),
    /// No pod would ever get an address.
    #[error("the range of pod addresses {0} has no room for a pod: it needs at least 4 addresses, as in 127.42.0.0/16")]
    NoRoom(Cidr),
    /// The node's pods would not be recognised as pods.
    #[error(
        "the node's range of pod addresses {pods} is not within the cluster's range {cluster}: make it a part of it"
    )]
    OutsideCluster {
        /// The node's range.
        pods: Cidr,
        /// The cluster's.
        cluster: Cidr,
    },
    /// An address could be a pod's and a Service's.
    #[error("the range of Services {services} and the range of pods {cluster} overlap: choose two that do not")]
    Overlap {
        /// The range of Services.
        services: Cidr,
        /// The range of pods.
        cluster: Cidr,
    },
}

/// The network of one node.
pub struct Network {
    config: Config,
    client: Client,
    table: Arc<Table>,
    pods: Arc<Pods>,
}

impl Network {
    /// Makes a network; pods can be attached from now on, Services are routed by [`Network::run`].
    /// What is accepted for pods is accepted on the runtime that calls this.
    ///
    /// # Errors
    /// [`BuildError`] when the ranges cannot work.
    pub async fn build(client: Client, config: Config) -> Result<Self, BuildError> {
        NodeName::new(&*config.node_name).map_err(BuildError::NodeName)?;
        let pods: Cidr = config.pod_cidr.parse()?;
        let services: Cidr = config.service_cidr.parse()?;
        let cluster: Cidr = config.cluster_cidr.as_ref().unwrap_or(&config.pod_cidr).parse()?;
        if PodAddresses::room(pods) == 0 {
            return Err(BuildError::NoRoom(pods));
        }
        if !cluster.covers(pods) {
            return Err(BuildError::OutsideCluster { pods, cluster });
        }
        if cluster.covers(services) || services.covers(cluster) {
            return Err(BuildError::Overlap { services, cluster });
        }
        let table = Table::new(Ranges { cluster, pods, services }).known_as(config.bind_address);
        let table = Arc::new(table.on_this_machine());
        let pods = Arc::new(Pods::new(Arc::clone(&table), pods, config.mode));
        Ok(Self { config, client, table, pods })
    }

    /// Where pods get their addresses.
    #[must_use]
    pub fn pods(&self) -> Arc<dyn PodNetwork> {
        Arc::clone(&self.pods) as Arc<dyn PodNetwork>
    }

    /// Routes Services until `shutdown`, then closes their listeners and ends what it carries.
    /// Pods keep their ports until they are dropped.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { config, client, table, pods: _ } = self;
        let delivery = Delivery::new(Arc::clone(&table), shutdown.clone());
        let node = NodeAddress { name: config.node_name.clone(), ip: config.bind_address };
        let listeners = Listeners::new(Arc::clone(&table), Arc::clone(&delivery), node, config.mode);
        let doors = Doors::new(Arc::clone(&table), Arc::clone(&delivery));
        let events = Events::new(client.clone(), &config.node_name);
        let say = Say { events, balancers: Balancers::new(client.clone(), config.node_address) };
        let watch = Watch::new(&client, &config.node_name);
        let policies = policy::Watch::new(&client).run(Arc::clone(&table));
        let work = async { tokio::join!(watch.run(table, listeners, doors, say), policies) };
        shutdown.run_until_cancelled(work).await;
        shutdown.cancelled().await;
        delivery.ended().await;
    }
}

#[cfg(test)]
mod fake_api;
#[cfg(test)]
mod tests;
