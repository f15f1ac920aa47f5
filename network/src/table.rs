//! The table: what every address of the cluster means on this machine, read by every connection without a lock.
//!
//! Invariant: readers see whole snapshots. Pod ports change with every pod and so are kept in shards, each a small
//! map that is copied and swapped; routes are swapped as a whole by the one task that watches Services.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use coracle_api::meet::{Address, ConnectError, ConnectionHandler, Protocol, Reached};

use crate::cidr::Cidr;
use crate::policy::Policies;
use crate::routes::{Front, Route, Routes};
use crate::shards::Shards;

/// Who listens at a pod's port.
#[derive(Clone)]
pub(crate) struct Listener {
    /// The address of the real socket.
    pub(crate) real: SocketAddr,
    /// Takes connections in this process, if it is not a guest's own listener.
    pub(crate) handler: Option<Arc<dyn ConnectionHandler>>,
}

/// Where a connection to an endpoint goes.
pub(crate) enum Destination {
    /// Handed to a handler in this process.
    Handler(Arc<dyn ConnectionHandler>),
    /// To a socket of one of our pods.
    Pod(SocketAddr),
    /// To an address that is not ours, as it is.
    Outside(SocketAddr),
}

/// A route and whose turn it is.
#[derive(Clone)]
pub(crate) struct Turned {
    pub(crate) route: Arc<Route>,
    turn: Arc<AtomicUsize>,
}

/// The cluster's ranges of addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ranges {
    /// The pods of all nodes.
    pub(crate) cluster: Cidr,
    /// The pods of this node: part of `cluster`.
    pub(crate) pods: Cidr,
    pub(crate) services: Cidr,
}

/// The table of one node.
pub(crate) struct Table {
    ranges: Ranges,
    policies: Policies,
    listeners: Shards<SocketAddr, Listener>,
    shown: Shards<SocketAddr, SocketAddr>,
    routes: ArcSwap<BTreeMap<Front, Turned>>,
}

impl Table {
    pub(crate) fn new(ranges: Ranges) -> Self {
        Self {
            ranges,
            policies: Policies::new(ranges.pods),
            listeners: Shards::new(),
            shown: Shards::new(),
            routes: ArcSwap::from_pointee(BTreeMap::new()),
        }
    }

    /// The node is known by this address.
    pub(crate) fn known_as(mut self, node: IpAddr) -> Self {
        self.policies.known_as(node);
        self
    }

    /// Who may speak to whom.
    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Puts a listener at an address of a pod.
    pub(crate) fn open(&self, at: Address, listener: Listener) {
        self.show(listener.real, at);
        self.listeners.insert(at, listener);
    }

    /// Takes it away again.
    pub(crate) fn close(&self, at: Address, real: SocketAddr) {
        self.listeners.remove(&at);
        self.forget(real);
    }

    /// From now on, who asks about `real` is shown `as_if`.
    pub(crate) fn show(&self, real: SocketAddr, as_if: SocketAddr) {
        if real != as_if {
            self.shown.insert(real, as_if);
        }
    }

    /// Ends what `show` began.
    pub(crate) fn forget(&self, real: SocketAddr) {
        self.shown.remove(&real);
    }

    /// What is shown for the address of a real socket.
    pub(crate) fn shown(&self, real: SocketAddr) -> SocketAddr {
        self.shown.get(&real).unwrap_or(real)
    }

    /// Swaps the routes. A front that stays keeps its turn, so that a change of endpoints does not favour the first.
    pub(crate) fn route(&self, routes: Routes) {
        let before = self.routes.load();
        let turned = |(front, route): (Front, Route)| match before.get(&front) {
            Some(same) if *same.route == route => (front, same.clone()),
            Some(other) => (front, Turned { route: Arc::new(route), turn: Arc::clone(&other.turn) }),
            None => (front, Turned { route: Arc::new(route), turn: Arc::default() }),
        };
        self.routes.store(Arc::new(routes.into_iter().map(turned).collect()));
    }

    /// The route of a front, if it has one.
    pub(crate) fn turned(&self, front: Front) -> Option<Turned> {
        self.routes.load().get(&front).cloned()
    }

    /// The routes as they are now.
    pub(crate) fn routed(&self) -> Arc<BTreeMap<Front, Turned>> {
        self.routes.load_full()
    }

    /// Where a connection to an endpoint goes; nowhere if the address is ours and nobody listens.
    pub(crate) fn destination(&self, to: Address) -> Option<Destination> {
        match self.listeners.get(&to) {
            Some(Listener { handler: Some(handler), .. }) => Some(Destination::Handler(handler)),
            Some(Listener { real, handler: None }) => Some(Destination::Pod(real)),
            None if self.ranges.are_ours(to.ip()) => None,
            None => Some(Destination::Outside(to)),
        }
    }

    /// The real address behind the address of an endpoint.
    fn real(&self, to: Address) -> Result<Reached, ConnectError> {
        match self.listeners.get(&to) {
            Some(Listener { real, handler }) => Ok(Reached { real, handler }),
            None if self.ranges.are_ours(to.ip()) => Err(ConnectError::Refused),
            None => Ok(Reached { real: to, handler: None }),
        }
    }

    /// Where a connect of the pod at `from` to `to` really goes, if the policies let it: what they judge is the endpoint.
    pub(crate) fn reach(&self, from: IpAddr, protocol: Protocol, to: Address) -> Result<Reached, ConnectError> {
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        if self.ranges.mean_this_pod(to.ip()) {
            return self.real(SocketAddr::new(from, to.port()));
        }
        let (endpoint, reached) = match self.front(protocol, to) {
            Some(turned) => {
                let mut reached = turned.endpoints(from).filter_map(|e| Some((e, self.real(e).ok()?)));
                let (endpoint, reached) = reached.next().ok_or(ConnectError::Refused)?;
                (endpoint, Ok(reached))
            }
            None => (to, self.real(to)),
        };
        if self.policies.allow(from, protocol, endpoint) { reached } else { Err(ConnectError::Denied) }
    }

    /// Whether the address is a pod's, of whatever node.
    pub(crate) fn is_pod(&self, ip: IpAddr) -> bool {
        self.ranges.cluster.contains(ip)
    }

    /// Whether it is an address outside the cluster: no pod's, and of no Service.
    pub(crate) fn is_outside(&self, protocol: Protocol, to: Address) -> bool {
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        let is_inside = |ip| self.ranges.cluster.contains(ip) || self.ranges.services.contains(ip);
        !is_inside(to.ip()) && !self.ranges.mean_this_pod(to.ip()) && self.front(protocol, to).is_none()
    }

    /// The Service that a pod's connect to `to` is for. A port of the node is one as well: past its listener,
    /// the policies would see the node instead of the pod.
    fn front(&self, protocol: Protocol, to: Address) -> Option<Turned> {
        let clustered = self.turned(Front::ClusterIp(protocol, to));
        if clustered.is_some() || self.ranges.cluster.contains(to.ip()) || self.ranges.services.contains(to.ip()) {
            return clustered;
        }
        let port = to.port();
        let turned = self.turned(Front::NodePort(protocol, port));
        turned
            .or_else(|| self.turned(Front::LoadBalancer(protocol, port)))
            .filter(|_| self.policies.is_node_port_at(to.ip()))
    }
}

impl Ranges {
    /// Whether the table knows everybody who listens at the address.
    fn are_ours(&self, ip: IpAddr) -> bool {
        self.pods.contains(ip) || self.services.contains(ip)
    }

    /// Whether the address is `localhost`: pods and Services may have addresses of the loopback range, too.
    fn mean_this_pod(&self, ip: IpAddr) -> bool {
        (ip.is_loopback() || ip.is_unspecified()) && !self.cluster.contains(ip) && !self.services.contains(ip)
    }
}

impl Turned {
    /// The endpoints to try for the next connection of a client, best first.
    pub(crate) fn endpoints(&self, client: IpAddr) -> impl Iterator<Item = Address> {
        self.route.order(self.turn.fetch_add(1, Ordering::Relaxed), client)
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::names::NamespacedName;

    use super::*;
    use crate::routes::Affinity;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn table() -> Table {
        let table = Table::new(Ranges {
            cluster: "127.42.0.0/16".parse().unwrap(),
            pods: "127.42.0.0/24".parse().unwrap(),
            services: "127.43.0.0/16".parse().unwrap(),
        });
        table.open(address("127.42.0.2:80"), Listener { real: address("127.0.0.1:40000"), handler: None });
        table.open(address("127.42.0.3:80"), Listener { real: address("127.42.0.3:80"), handler: None });
        let route = |endpoints: &[&str]| Route {
            service: NamespacedName::new("default", "web"),
            uid: String::new(),
            endpoints: endpoints.iter().map(|e| address(e)).collect(),
            affinity: Affinity::None,
        };
        let at = |text| Front::ClusterIp(Protocol::Tcp, address(text));
        table.route(Routes::from([
            (at("127.43.0.1:443"), route(&["127.0.0.1:6443"])),
            (at("127.43.0.2:80"), route(&["127.42.0.2:80", "127.42.0.3:80", "127.42.0.9:80"])),
            (at("127.43.0.3:80"), route(&[])),
        ]));
        table
    }

    fn check(to: &str, expected: Result<&str, ConnectError>) {
        let got = table().reach("127.42.0.2".parse().unwrap(), Protocol::Tcp, address(to)).map(|reached| reached.real);
        assert_eq!(got, expected.map(address), "{to}");
    }

    #[test]
    fn a_connect_goes_where_the_address_means() {
        check("127.42.0.2:80", Ok("127.0.0.1:40000"));
        check("127.42.0.3:80", Ok("127.42.0.3:80"));
        check("127.42.0.3:81", Err(ConnectError::Refused));
        check("127.42.0.77:80", Err(ConnectError::Refused));
        check("127.0.0.1:80", Ok("127.0.0.1:40000"));
        check("0.0.0.0:80", Ok("127.0.0.1:40000"));
        check("[::1]:80", Ok("127.0.0.1:40000"));
        check("127.0.0.1:6443", Err(ConnectError::Refused));
        check("127.43.0.1:443", Ok("127.0.0.1:6443"));
        check("127.43.0.3:80", Err(ConnectError::Refused));
        check("127.43.0.9:80", Err(ConnectError::Refused));
        check("127.42.1.2:80", Ok("127.42.1.2:80"));
        check("192.0.2.1:80", Ok("192.0.2.1:80"));
        check("[::ffff:192.0.2.1]:80", Ok("192.0.2.1:80"));
    }

    #[test]
    fn endpoints_take_turns_and_one_without_a_listener_is_passed_over() {
        let table = table();
        let from = "127.42.0.9".parse().unwrap();
        let turns: Vec<_> =
            (0..4).map(|_| table.reach(from, Protocol::Tcp, address("127.43.0.2:80")).unwrap().real).collect();
        let (a, b) = (address("127.0.0.1:40000"), address("127.42.0.3:80"));
        assert_eq!(turns, [a, b, a, a]);
    }

    #[test]
    fn a_closed_listener_is_refused_and_shown_no_more() {
        let table = table();
        assert_eq!(table.shown(address("127.0.0.1:40000")), address("127.42.0.2:80"));
        table.close(address("127.42.0.2:80"), address("127.0.0.1:40000"));
        assert_eq!(table.shown(address("127.0.0.1:40000")), address("127.0.0.1:40000"));
        assert!(table.destination(address("127.42.0.2:80")).is_none());
    }
}
