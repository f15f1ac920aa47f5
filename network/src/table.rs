//! The table: what every address of the cluster means on this machine, read by every connection without a lock.
//!
//! Invariant: readers see whole routes and listeners. Both change all the time and so are kept in shards, each a small
//! map that is copied and swapped; routes are changed by the one task that watches Services.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use coracle_api::meet::{Address, ConnectError, ConnectionHandler, Protocol, Reached};
use coracle_api::names::NamespacedName;
use tokio::sync::watch;

use crate::affinity::Memory;
use crate::book::Changes;
use crate::cidr::Cidr;
use crate::policy::Policies;
use crate::ports::Family;
use crate::routes::{Front, Route};
use crate::shards::Shards;
use crate::wake::Sleepers;

/// Who asks for a port of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    /// Anybody who knows the pod's address.
    Anybody,
    /// The pod itself, by `localhost` of this family. Who is not kept for it is found as by anybody.
    Itself(Family),
}

/// Under what a listener is found: by whom, how, and at which address of its pod.
type Place = (Asker, Protocol, Address);

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
    memory: Arc<Memory>,
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
    listeners: Shards<Place, Option<Listener>>,
    shown: Shards<(Protocol, SocketAddr), SocketAddr>,
    routes: Shards<Front, Turned>,
    /// How many routes lead to each pod of this node.
    led: Mutex<HashMap<IpAddr, usize>>,
    /// Told of each change of routes and listeners.
    changed: watch::Sender<()>,
    sleepers: Sleepers,
}

impl Table {
    pub(crate) fn new(ranges: Ranges) -> Self {
        Self {
            ranges,
            policies: Policies::new(ranges.pods),
            listeners: Shards::new(),
            shown: Shards::new(),
            routes: Shards::new(),
            led: Mutex::default(),
            changed: watch::Sender::new(()),
            sleepers: Sleepers::default(),
        }
    }

    /// The node is known by this address.
    pub(crate) fn known_as(mut self, node: IpAddr) -> Self {
        self.policies.known_as(node);
        self
    }

    /// The node is this machine with all of its addresses.
    pub(crate) fn on_this_machine(mut self) -> Self {
        self.policies.is_this_machine(self.ranges.cluster);
        self
    }

    /// Who may speak to whom.
    pub(crate) fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The Services that may sleep.
    pub(crate) fn sleepers(&self) -> &Sleepers {
        &self.sleepers
    }

    /// Tells of each change of routes and listeners.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Says who is found at an address of a pod by `asker`; nobody, if it is nobody.
    pub(crate) fn put(&self, asker: Asker, protocol: Protocol, at: Address, listener: Option<Listener>) {
        match (asker, listener) {
            (Asker::Anybody, None) => self.listeners.remove(&(asker, protocol, at)),
            (_, listener) => self.listeners.insert((asker, protocol, at), listener),
        }
        self.changed.send_replace(());
    }

    /// Ends what was said for `asker` alone: it finds whom anybody finds.
    pub(crate) fn take(&self, asker: Asker, protocol: Protocol, at: Address) {
        self.listeners.remove(&(asker, protocol, at));
    }

    /// From now on, who asks about `real` is shown `as_if`.
    pub(crate) fn show(&self, protocol: Protocol, real: SocketAddr, as_if: SocketAddr) {
        if real != as_if {
            self.shown.insert((protocol, real), as_if);
        }
    }

    /// Ends what `show` began.
    pub(crate) fn forget(&self, protocol: Protocol, real: SocketAddr) {
        self.shown.remove(&(protocol, real));
    }

    /// What is shown for the address of a real socket.
    pub(crate) fn shown(&self, protocol: Protocol, real: SocketAddr) -> SocketAddr {
        self.shown.get(&(protocol, real)).unwrap_or(real)
    }

    /// Changes routes. A front that stays keeps its memory, so that a change of endpoints does not favour the first, and
    /// a new one shares that of the same port.
    pub(crate) fn route(&self, changes: Changes) {
        let mut memories: HashMap<(NamespacedName, Protocol, u16), Arc<Memory>> = HashMap::new();
        let mut fresh = Vec::new();
        for (front, route) in changes {
            let before = self.routes.get(&front);
            match (before, route) {
                (Some(before), Some(route)) if before.route.service == route.service => {
                    memories.entry(port_of(front, &route)).or_insert_with(|| Arc::clone(&before.memory));
                    if before.route != route {
                        let memory = Arc::clone(&before.memory);
                        self.turn(front, Some(&before), Some(Turned { route, memory }));
                    }
                }
                (before, None) => self.turn(front, before.as_ref(), None),
                (before, Some(route)) => fresh.push((front, before, route)),
            }
        }
        for (front, before, route) in fresh {
            let memory = Arc::clone(memories.entry(port_of(front, &route)).or_default());
            self.turn(front, before.as_ref(), Some(Turned { route, memory }));
        }
        self.changed.send_replace(());
    }

    fn turn(&self, front: Front, before: Option<&Turned>, after: Option<Turned>) {
        {
            let mut led = self.led.lock().unwrap_or_else(PoisonError::into_inner);
            for ip in after.iter().flat_map(|turned| self.pods_of(&turned.route)) {
                *led.entry(ip).or_default() += 1;
            }
            for ip in before.iter().flat_map(|turned| self.pods_of(&turned.route)) {
                let left = led.get_mut(&ip).map(|count| {
                    *count = count.saturating_sub(1);
                    *count
                });
                if left == Some(0) {
                    led.remove(&ip);
                }
            }
        }
        match after {
            Some(turned) => self.routes.insert(front, turned),
            None => self.routes.remove(&front),
        }
    }

    /// The pods of this node among a route's endpoints.
    fn pods_of(&self, route: &Route) -> impl Iterator<Item = IpAddr> {
        route.endpoints.iter().map(SocketAddr::ip).filter(|ip| self.ranges.pods.contains(*ip))
    }

    /// Returns when no route leads to a pod of this node.
    pub(crate) async fn withdrawn(&self, pod: IpAddr) {
        let mut changed = self.changed.subscribe();
        let is_led_to = || self.led.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&pod);
        while is_led_to() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// The route of a front, if it has one.
    pub(crate) fn turned(&self, front: Front) -> Option<Turned> {
        self.routes.get(&front)
    }

    /// Who is found at an address of a pod.
    fn listener(&self, asker: Asker, protocol: Protocol, at: Address) -> Option<Listener> {
        match asker {
            Asker::Anybody => self.listeners.get(&(asker, protocol, at)).flatten(),
            Asker::Itself(_) => match self.listeners.get(&(asker, protocol, at)) {
                Some(found) => found,
                None => self.listener(Asker::Anybody, protocol, at),
            },
        }
    }

    /// Where a connection to an endpoint goes; nowhere if the address is ours and nobody listens.
    pub(crate) fn destination(&self, protocol: Protocol, to: Address) -> Option<Destination> {
        match self.listener(Asker::Anybody, protocol, to) {
            Some(Listener { handler: Some(handler), .. }) => Some(Destination::Handler(handler)),
            Some(Listener { real, handler: None }) => Some(Destination::Pod(real)),
            None if self.ranges.are_ours(to.ip()) => None,
            None => Some(Destination::Outside(to)),
        }
    }

    /// The real address behind the address of an endpoint.
    fn real(&self, asker: Asker, protocol: Protocol, to: Address) -> Result<Reached, ConnectError> {
        match self.listener(asker, protocol, to) {
            Some(Listener { real, handler }) => Ok(Reached { real, handler }),
            None if self.ranges.are_ours(to.ip()) => Err(ConnectError::Refused),
            None => Ok(Reached { real: to, handler: None }),
        }
    }

    /// Where a connect of the pod at `from` to `to` really goes, if the policies let it: what they judge is the endpoint.
    pub(crate) fn reach(&self, from: IpAddr, protocol: Protocol, to: Address) -> Result<Reached, ConnectError> {
        let to = canonical(to);
        if self.ranges.mean_this_pod(to.ip()) {
            let itself = Asker::Itself(Family::of(to.ip()));
            return self.real(itself, protocol, SocketAddr::new(from, to.port()));
        }
        let real = |to| self.real(Asker::Anybody, protocol, to);
        let (endpoint, reached) = match self.front(protocol, to) {
            Some(turned) if !turned.route.lets_in(from) => return Err(ConnectError::Refused),
            // Its door waits for endpoints, and knows who uses it.
            Some(turned) if let Some(door) = self.sleepers.door(protocol, &turned.route) => {
                return Ok(Reached { real: door, handler: None });
            }
            Some(turned) => {
                let mut reached = turned.endpoints(from).filter_map(|e| Some((e, real(e).ok()?)));
                let (endpoint, reached) = reached.next().ok_or(ConnectError::Refused)?;
                (endpoint, Ok(reached))
            }
            None => (to, real(to)),
        };
        if self.policies.allow(from, protocol, endpoint) { reached } else { Err(ConnectError::Denied) }
    }

    /// Whether the address is a pod's, of whatever node.
    pub(crate) fn is_pod(&self, ip: IpAddr) -> bool {
        self.ranges.cluster.contains(ip)
    }

    /// Whether the address is `localhost`.
    pub(crate) fn mean_this_pod(&self, ip: IpAddr) -> bool {
        self.ranges.mean_this_pod(ip.to_canonical())
    }

    /// Whether `real` is still where the pod at `from` may be led that asks for `to`.
    pub(crate) fn still_leads(&self, from: IpAddr, protocol: Protocol, to: Address, real: SocketAddr) -> bool {
        let to = canonical(to);
        let is_there = |reached: Result<Reached, ConnectError>| reached.is_ok_and(|reached| reached.real == real);
        match self.front(protocol, to) {
            Some(turned) if !turned.route.lets_in(from) => false,
            Some(turned) if self.sleepers.door(protocol, &turned.route) == Some(real) => true,
            Some(turned) => turned.route.endpoints.iter().any(|endpoint| {
                self.policies.allow(from, protocol, *endpoint)
                    && is_there(self.real(Asker::Anybody, protocol, *endpoint))
            }),
            None => is_there(self.reach(from, protocol, to)),
        }
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
        let external = self.turned(Front::ExternalIp(protocol, to));
        if external.is_some() {
            return external;
        }
        let port = to.port();
        let turned = self.turned(Front::NodePort(protocol, port));
        turned
            .or_else(|| self.turned(Front::LoadBalancer(protocol, port)))
            .filter(|_| self.policies.is_node_port_at(to.ip()))
    }
}

/// An address of IPv4 as such, however it was written.
fn canonical(address: Address) -> Address {
    SocketAddr::new(address.ip().to_canonical(), address.port())
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
        self.route.from(self.memory.place(&self.route, client))
    }
}

/// Whose fronts remember their clients together.
fn port_of(front: Front, route: &Route) -> (NamespacedName, Protocol, u16) {
    (route.service.clone(), front.protocol(), route.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::Affinity;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn table() -> Table {
        let table = Table::new(Ranges {
            cluster: "127.42.0.0/16".parse().unwrap(),
            pods: "127.42.0.0/24".parse().unwrap(),
            services: "127.43.0.0/16".parse().unwrap(),
        });
        let open = |asker, at: &str, real: Option<&str>| {
            let listener = real.map(|real| Listener { real: address(real), handler: None });
            table.put(asker, Protocol::Tcp, address(at), listener);
        };
        open(Asker::Anybody, "127.42.0.2:80", Some("127.0.0.1:40000"));
        open(Asker::Anybody, "127.42.0.3:80", Some("127.42.0.3:80"));
        open(Asker::Itself(Family::V4), "127.42.0.2:90", Some("127.0.0.1:40001"));
        open(Asker::Anybody, "127.42.0.2:91", Some("127.42.0.2:91"));
        open(Asker::Itself(Family::V4), "127.42.0.2:91", None);
        let route = |endpoints: &[&str]| {
            Some(Arc::new(Route {
                service: NamespacedName::new("default", "web"),
                uid: String::new(),
                port: 80,
                endpoints: endpoints.iter().map(|e| address(e)).collect(),
                affinity: Affinity::None,
                sources: Vec::new(),
            }))
        };
        let at = |text| Front::ClusterIp(Protocol::Tcp, address(text));
        table.route(Vec::from([
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
        check("127.0.0.1:90", Ok("127.0.0.1:40001"));
        check("127.42.0.2:90", Err(ConnectError::Refused));
        check("127.0.0.1:91", Err(ConnectError::Refused));
        check("[::1]:91", Ok("127.42.0.2:91"));
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
    fn a_pod_outside_the_ranges_of_a_balancer_is_refused_as_anybody_is() {
        let table = table().known_as("192.0.2.1".parse().unwrap());
        let let_in = |ranges: &[&str]| {
            let route = table.turned(Front::ClusterIp(Protocol::Tcp, address("127.43.0.2:80"))).unwrap().route;
            let sources = ranges.iter().map(|range| range.parse().unwrap()).collect();
            let route = Arc::new(Route { sources, ..Route::clone(&route) });
            table.route(Vec::from([(Front::LoadBalancer(Protocol::Tcp, 8080), Some(route))]));
            table.reach("127.42.0.9".parse().unwrap(), Protocol::Tcp, address("192.0.2.1:8080")).map(|_| ())
        };
        assert_eq!(let_in(&[]), Ok(()));
        assert_eq!(let_in(&["198.51.100.0/24"]), Err(ConnectError::Refused));
        assert_eq!(let_in(&["198.51.100.0/24", "127.42.0.0/16"]), Ok(()));
    }

    #[test]
    fn protocols_are_apart_and_what_was_closed_is_refused() {
        let table = table();
        let (from, at) = ("127.42.0.9".parse().unwrap(), address("127.42.0.2:80"));
        assert_eq!(table.reach(from, Protocol::Udp, at).map(|r| r.real), Err(ConnectError::Refused));
        let real = address("127.0.0.1:40000");
        table.show(Protocol::Tcp, real, at);
        assert_eq!((table.shown(Protocol::Tcp, real), table.shown(Protocol::Udp, real)), (at, real));
        table.put(Asker::Anybody, Protocol::Tcp, at, None);
        table.forget(Protocol::Tcp, real);
        assert_eq!(table.shown(Protocol::Tcp, real), real);
        assert!(table.destination(Protocol::Tcp, at).is_none());
    }

    #[test]
    fn a_flow_goes_on_while_its_endpoint_is_one() {
        let table = table();
        let from = "127.42.0.9".parse().unwrap();
        let leads = |to, real| table.still_leads(from, Protocol::Tcp, address(to), address(real));
        assert!(leads("127.43.0.2:80", "127.0.0.1:40000"));
        assert!(leads("127.43.0.2:80", "127.42.0.3:80"));
        assert!(!leads("127.43.0.2:80", "127.42.0.9:80"), "nobody listens there");
        assert!(!leads("127.43.0.3:80", "127.42.0.3:80"));
        assert!(leads("192.0.2.1:80", "192.0.2.1:80"));
    }
}
