//! The listeners of Services: one per NodePort and port of a load balancer, and one per cluster address where the host lets us bind it.
//!
//! Level, not edge: [`Listeners::follow`] makes what is open equal to what is routed. A port that cannot be opened
//! is said once and tried again; it never ends anything.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use coracle_api::meet::Protocol;
use coracle_api::names::NamespacedName;
use tokio::runtime::Handle;

use crate::accept::{BACKLOG, Door};
use crate::bind::{Mode, bind_at};
use crate::delivery::Delivery;
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
    node: IpAddr,
    mode: Mode,
    open: BTreeMap<Front, Open>,
    failed: BTreeMap<Front, String>,
}

enum Open {
    Tcp { _door: Door },
    Udp(Relay),
}

/// A port of the node that could not be opened, and why, for the person who wrote the Service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) service: NamespacedName,
    pub(crate) uid: String,
    pub(crate) message: String,
}

impl Listeners {
    /// Listeners at `node`'s address for its NodePorts and load balancers.
    pub(crate) fn new(table: Arc<Table>, delivery: Arc<Delivery>, node: IpAddr, mode: Mode) -> Self {
        Self { table, delivery, node, mode, open: BTreeMap::new(), failed: BTreeMap::new() }
    }

    /// Opens what is routed and closes what is not; returns what newly failed and concerns a person.
    pub(crate) async fn follow(&mut self) -> Vec<Refusal> {
        let routed = self.table.routed();
        let gone: Vec<Front> = self.open.keys().filter(|front| !routed.contains_key(front)).copied().collect();
        for front in gone {
            if let Some(Open::Udp(relay)) = self.open.remove(&front) {
                relay.close().await;
            }
        }
        self.failed.retain(|front, _| routed.contains_key(front));
        let missing = |front: &&Front| !self.open.contains_key(front) && !self.failed.contains_key(front);
        let missing: Vec<Front> = routed.keys().filter(missing).copied().collect();
        self.try_open(missing)
    }

    /// Tries again what a person is waiting for.
    pub(crate) fn retry(&mut self) -> Vec<Refusal> {
        let again = self.failed.keys().filter(|front| front.is_for_people()).copied().collect();
        self.try_open(again)
    }

    /// Whether there is something to retry.
    pub(crate) fn is_waiting(&self) -> bool {
        self.failed.keys().any(|front| front.is_for_people())
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
                    self.open.insert(front, open);
                }
                Err(error) => {
                    let text = error.to_string();
                    if self.failed.insert(front, text.clone()).as_ref() != Some(&text) {
                        refusals.extend(self.refusal(front, &error));
                    }
                }
            }
        }
        refusals
    }

    fn open(&self, front: Front) -> io::Result<Open> {
        let (protocol, at) = match front {
            Front::NodePort(protocol, port) | Front::LoadBalancer(protocol, port) => {
                (protocol, SocketAddr::new(self.node, port))
            }
            Front::ClusterIp(protocol, at) => {
                let bound = self.open.keys().filter(|front| matches!(front, Front::ClusterIp(..))).count();
                if self.mode == Mode::Mapped || bound >= BOUND_CLUSTER_IPS_MAX {
                    return Err(io::Error::from(io::ErrorKind::Unsupported));
                }
                (protocol, at)
            }
        };
        match protocol {
            Protocol::Tcp => {
                let listener = bind_at(at)?.listen(BACKLOG)?;
                let delivery = Arc::clone(&self.delivery);
                let take = move |client, peer| delivery.take(front, client, peer);
                Ok(Open::Tcp { _door: Door::open(listener, &Handle::current(), take) })
            }
            Protocol::Udp => Relay::open(at, front, Arc::clone(&self.table)).map(Open::Udp),
        }
    }

    fn refusal(&self, front: Front, error: &io::Error) -> Option<Refusal> {
        let (field, protocol, port) = match front {
            Front::NodePort(protocol, port) => ("nodePort", protocol, port),
            Front::LoadBalancer(protocol, port) => ("port", protocol, port),
            Front::ClusterIp(_, at) => {
                tracing::debug!(%error, %at, "a cluster address is reached inside the cluster only");
                return None;
            }
        };
        let turned = self.table.turned(front)?;
        let message = refused_text(field, protocol, SocketAddr::new(self.node, port), error);
        Some(Refusal { service: turned.route.service.clone(), uid: turned.route.uid.clone(), message })
    }
}

/// What a person reads when a port of the node is not open, with the fix.
fn refused_text(field: &str, protocol: Protocol, at: SocketAddr, error: &io::Error) -> String {
    let (protocol, port) = (if protocol == Protocol::Tcp { "TCP" } else { "UDP" }, at.port());
    let fix = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another process listens there: stop it, or give the Service another {field}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need root or CAP_NET_BIND_SERVICE: give the Service a higher {field}")
        }
        _ => format!("{error}: check that {} is an address of this machine", at.ip()),
    };
    format!("{field} {port}/{protocol} cannot be opened on {at}; {fix}; it is tried again every few seconds")
}
