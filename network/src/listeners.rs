//! The listeners of Services: one per port of the node that they have, and one per cluster or external address where
//! the host lets us bind it.
//!
//! Level, not edge: [`Listeners::follow`] makes what is open equal to what is routed. A port that cannot be opened
//! is said once and tried again; it never ends anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use coracle_api::meet::Protocol;
use coracle_api::names::NamespacedName;
use futures::future::join_all;
use tokio::runtime::Handle;

use crate::accept::{BACKLOG, Door};
use crate::bind::{Mode, bind_at};
use crate::delivery::Delivery;
use crate::everywhere::{Bound, Changes};
use crate::relay::Relay;
use crate::routes::Front;
use crate::table::Table;

/// How many cluster addresses are bound for people outside the cluster: each takes a file.
/// Inside the cluster the table is asked, so Services beyond it work there all the same.
const BOUND_CLUSTER_IPS_MAX: usize = 1024;

/// What Services listen with.
pub(crate) struct Listeners {
    table: Arc<Table>,
    delivery: Arc<Delivery>,
    node: NodeAddress,
    mode: Mode,
    open: BTreeMap<Front, Bound<Open>>,
    /// How many of them are cluster addresses.
    bound: usize,
    failed: BTreeMap<Front, String>,
    /// Those that failed and are tried again.
    waiting: BTreeSet<Front>,
}

/// The node, as it names itself to people.
pub(crate) struct NodeAddress {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
}

enum Open {
    Tcp { _door: Door },
    Udp(Relay),
}

impl Open {
    /// When this returns, the port is free.
    async fn close(self) {
        match self {
            Self::Tcp { .. } => {}
            Self::Udp(relay) => relay.close().await,
        }
    }
}

/// A port of the node that a Service does not have, and why, for the person who wrote the Service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) service: NamespacedName,
    pub(crate) uid: String,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Listeners {
    /// Listeners at the node's address, and at cluster addresses if `mode` is real.
    pub(crate) fn new(table: Arc<Table>, delivery: Arc<Delivery>, node: NodeAddress, mode: Mode) -> Self {
        let (open, failed, waiting) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { table, delivery, node, mode, open, bound: 0, failed, waiting }
    }

    /// Opens those of these fronts that are routed and closes the others; returns what newly failed and concerns a
    /// person.
    pub(crate) async fn follow(&mut self, changed: &[Front]) -> Vec<Refusal> {
        let mut missing = Vec::new();
        for front in changed {
            if self.table.turned(*front).is_none() {
                self.close(*front).await;
            } else if !self.open.contains_key(front) && !self.failed.contains_key(front) {
                missing.push(*front);
            }
        }
        self.try_open(missing)
    }

    async fn close(&mut self, front: Front) {
        self.failed.remove(&front);
        self.waiting.remove(&front);
        let Some(open) = self.open.remove(&front) else { return };
        self.bound -= usize::from(matches!(front, Front::ClusterIp(..)));
        join_all(open.into_each().map(Open::close)).await;
    }

    /// Tries again what may be opened later.
    pub(crate) fn retry(&mut self) -> Vec<Refusal> {
        let again = self.waiting.iter().copied().collect();
        self.try_open(again)
    }

    /// What tells that this machine has other addresses.
    pub(crate) fn changes(&self) -> Changes {
        Changes::of(self.node.ip)
    }

    /// Makes the ports of the node be open at the addresses that the machine has now.
    pub(crate) async fn follow_addresses(&mut self) {
        for (front, bound) in &mut self.open {
            match bound.follow(|at| open_at(at, *front, &self.delivery, &self.table)) {
                Ok(gone) => drop(join_all(gone.into_iter().map(Open::close)).await),
                Err(error) => tracing::warn!(%error, ?front, "a port is not open at all addresses of this machine"),
            }
        }
    }

    /// Whether there is something to retry.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether `service` has what is routed at a front, and the front is open.
    pub(crate) fn is_open(&self, front: Front, service: &NamespacedName) -> bool {
        self.open.contains_key(&front)
            && self.table.turned(front).is_some_and(|turned| turned.route.service == *service)
    }

    fn try_open(&mut self, fronts: Vec<Front>) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for front in fronts {
            match self.open(front) {
                Ok(open) => {
                    self.failed.remove(&front);
                    self.waiting.remove(&front);
                    self.bound += usize::from(matches!(front, Front::ClusterIp(..)));
                    self.open.insert(front, open);
                }
                Err(error) => {
                    let text = error.to_string();
                    if may_come(front) {
                        self.waiting.insert(front);
                    }
                    if self.failed.insert(front, text.clone()).as_ref() != Some(&text) {
                        refusals.extend(self.refusal(front, &error));
                    }
                }
            }
        }
        refusals
    }

    fn open(&self, front: Front) -> io::Result<Bound<Open>> {
        let at = match front {
            Front::NodePort(_, port) | Front::LoadBalancer(_, port) | Front::HealthCheck(port) => {
                SocketAddr::new(self.node.ip, port)
            }
            Front::ExternalIp(_, at) => at,
            Front::ClusterIp(_, at) => {
                if self.mode == Mode::Mapped || self.bound >= BOUND_CLUSTER_IPS_MAX {
                    return Err(io::Error::from(io::ErrorKind::Unsupported));
                }
                at
            }
        };
        Bound::new(at, |at| open_at(at, front, &self.delivery, &self.table))
    }

    fn refusal(&self, front: Front, error: &io::Error) -> Option<Refusal> {
        if !concerns_people(front, error) {
            tracing::debug!(%error, ?front, "an address is reached inside the cluster only");
            return None;
        }
        let turned = self.table.turned(front)?;
        let at = |port| SocketAddr::new(self.node.ip, port);
        let (reason, message) = match front {
            Front::NodePort(protocol, port) => (BIND, refused_text("nodePort", protocol, at(port), error)),
            Front::LoadBalancer(protocol, port) => (BIND, refused_text("port", protocol, at(port), error)),
            Front::ClusterIp(protocol, at) => (BIND, refused_text("port", protocol, at, error)),
            Front::ExternalIp(protocol, at) => (BIND, refused_text("externalIP", protocol, at, error)),
            Front::HealthCheck(port) => {
                let (node, service) = (&self.node.name, turned.route.service.to_string());
                let message = format!("node {node} failed to start healthcheck {service:?} on port {port}: {error}");
                ("FailedToStartServiceHealthcheck", message)
            }
        };
        Some(Refusal { service: turned.route.service.clone(), uid: turned.route.uid.clone(), reason, message })
    }
}

fn open_at(at: SocketAddr, front: Front, delivery: &Arc<Delivery>, table: &Arc<Table>) -> io::Result<Open> {
    match front.protocol() {
        Protocol::Tcp => {
            let listener = bind_at(at)?.listen(BACKLOG)?;
            let delivery = Arc::clone(delivery);
            let take = move |client, peer| delivery.take(front, client, peer);
            Ok(Open::Tcp { _door: Door::open(listener, &Handle::current(), take) })
        }
        Protocol::Udp => Relay::open(at, front, Arc::clone(table)).map(Open::Udp),
    }
}

/// The reason of events that tell of a port that is not open.
pub(crate) const BIND: &str = "FailedToBind";

/// Whether what could not be opened is tried again. An external address often comes to a machine long after the Service
/// that names it: by a router that moves it, or by hand.
const fn may_come(front: Front) -> bool {
    match front {
        Front::NodePort(..) | Front::LoadBalancer(..) | Front::HealthCheck(_) | Front::ExternalIp(..) => true,
        Front::ClusterIp(..) => false,
    }
}

/// Whether somebody is told of what could not be opened: a cluster address is reached inside the cluster all the same,
/// and an external address may be that of another machine.
fn concerns_people(front: Front, error: &io::Error) -> bool {
    match front {
        Front::NodePort(..) | Front::LoadBalancer(..) | Front::HealthCheck(_) => true,
        Front::ExternalIp(..) => error.kind() != io::ErrorKind::AddrNotAvailable,
        Front::ClusterIp(..) => false,
    }
}

/// What a person reads when a port of the node is not open, with the fix.
fn refused_text(field: &str, protocol: Protocol, at: SocketAddr, error: &io::Error) -> String {
    let (protocol, port) = (if protocol == Protocol::Tcp { "TCP" } else { "UDP" }, at.port());
    let fix = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another process or an Ingress listens there: free the port, or give the Service another {field}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need root or CAP_NET_BIND_SERVICE: give the Service a higher {field}")
        }
        _ => format!("{error}: check that {} is an address of this machine", at.ip()),
    };
    format!("{field} {port}/{protocol} cannot be opened on {at}; {fix}; it is tried again every few seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_address_of_another_machine_is_waited_for_in_silence() {
        let front = Front::ExternalIp(Protocol::Tcp, SocketAddr::from(([192, 0, 2, 77], 80)));
        assert!(may_come(front));
        assert!(!concerns_people(front, &io::ErrorKind::AddrNotAvailable.into()));
        assert!(concerns_people(front, &io::ErrorKind::AddrInUse.into()));
    }
}
