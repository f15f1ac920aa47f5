//! Services and their EndpointSlices, turned into routes: where a connection to a Service's address may go.
//!
//! A pure function of the objects. It refuses to guess: a Service that it cannot read (no cluster address, a protocol
//! that is not ours) simply has no route.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::{IpAddr, SocketAddr};

use coracle_api::meet::{Address, Protocol};
use coracle_api::names::NamespacedName;
use coracle_api::wellknown::LABEL_SERVICE_NAME;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// Where clients find a port of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Front {
    /// At its cluster address.
    ClusterIp(Protocol, Address),
    /// At a port of the node, out of the range kept for them.
    NodePort(Protocol, u16),
    /// At the Service's own port, at the node's address, which is the load balancer.
    LoadBalancer(Protocol, u16),
}

impl Front {
    /// Whether it is a port of the node, which people use.
    pub(crate) const fn is_for_people(self) -> bool {
        match self {
            Self::NodePort(..) | Self::LoadBalancer(..) => true,
            Self::ClusterIp(..) => false,
        }
    }
}

/// Whether a client comes back to the endpoint it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity {
    /// Every connection goes to the next endpoint.
    None,
    /// By the client's address.
    ClientIp,
}

/// Where connections to a front go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// Whose it is, for events and logs.
    pub(crate) service: NamespacedName,
    /// The Service's uid, for events.
    pub(crate) uid: String,
    /// The usable endpoints, sorted; none means refused.
    pub(crate) endpoints: Vec<Address>,
    pub(crate) affinity: Affinity,
}

/// All routes of a node.
pub(crate) type Routes = BTreeMap<Front, Route>;

/// The routes that `node` has for these Services.
pub(crate) fn routes<'a>(
    node: &str,
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> Routes {
    let mut of_service: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        let name = labels.and_then(|l| l.get(LABEL_SERVICE_NAME)).map_or("", String::as_str);
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        of_service.entry((namespace, name)).or_default().push(slice);
    }
    let mut services: Vec<&Service> = services.into_iter().collect();
    // A load balancer's port belongs to the Service that asked for it first.
    services.sort_by_key(|service| {
        let meta = &service.metadata;
        (meta.creation_timestamp.as_ref().map(|time| time.0), &meta.namespace, &meta.name)
    });
    let mut routes = Routes::new();
    for service in services {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let slices = of_service.get(&(namespace, name)).map_or(&[][..], Vec::as_slice);
        add_service(&mut routes, node, service, slices);
    }
    routes
}

fn add_service(routes: &mut Routes, node: &str, service: &Service, slices: &[&EndpointSlice]) {
    let Some(spec) = &service.spec else { return };
    if spec.type_.as_deref() == Some("ExternalName") {
        return;
    }
    let ips: Vec<IpAddr> = cluster_ips(spec);
    let exposed = matches!(spec.type_.as_deref(), Some("NodePort" | "LoadBalancer"));
    let route = |endpoints| Route {
        service: NamespacedName::new(
            service.metadata.namespace.clone().unwrap_or_default(),
            service.metadata.name.clone().unwrap_or_default(),
        ),
        uid: service.metadata.uid.clone().unwrap_or_default(),
        endpoints,
        affinity: if spec.session_affinity.as_deref() == Some("ClientIP") {
            Affinity::ClientIp
        } else {
            Affinity::None
        },
    };
    let reach = |policy: &Option<String>| (policy.as_deref() == Some("Local")).then_some(node);
    for port in spec.ports.iter().flatten() {
        let Some(protocol) = protocol(port.protocol.as_deref()) else { continue };
        for ip in &ips {
            let Ok(number) = u16::try_from(port.port) else { continue };
            let endpoints = endpoints(slices, port, protocol, ip.is_ipv4(), reach(&spec.internal_traffic_policy));
            routes.insert(Front::ClusterIp(protocol, SocketAddr::new(*ip, number)), route(endpoints));
        }
        let node_port = port.node_port.filter(|_| exposed).and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
        if let (Some(number), Some(ip)) = (node_port, ips.first()) {
            let endpoints = endpoints(slices, port, protocol, ip.is_ipv4(), reach(&spec.external_traffic_policy));
            routes.insert(Front::NodePort(protocol, number), route(endpoints));
        }
        let balanced = load_balancer_port(spec, port);
        if let (Some(number), Some(ip)) = (balanced, ips.first()) {
            let endpoints = endpoints(slices, port, protocol, ip.is_ipv4(), reach(&spec.external_traffic_policy));
            routes.entry(Front::LoadBalancer(protocol, number)).or_insert_with(|| route(endpoints));
        }
    }
}

/// The fronts at which a Service is to be reached at the load balancer; none if it has no such type, or is not ours.
pub(crate) fn load_balancer_fronts(service: &Service) -> Vec<Front> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let front = |port: &ServicePort| {
        Some(Front::LoadBalancer(protocol(port.protocol.as_deref())?, load_balancer_port(spec, port)?))
    };
    spec.ports.iter().flatten().filter_map(front).collect()
}

/// The port that a Service has at the load balancer. A class names somebody else's, and a Service that wants
/// to be reached from some addresses only is not opened to all.
fn load_balancer_port(spec: &ServiceSpec, port: &ServicePort) -> Option<u16> {
    let limited = spec.load_balancer_source_ranges.as_ref().is_some_and(|ranges| !ranges.is_empty());
    let ours = spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none() && !limited;
    u16::try_from(port.port).ok().filter(|number| ours && *number != 0)
}

/// The Service's cluster addresses; none if it is headless or has not been given one yet.
fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    let texts = if all.is_empty() { spec.cluster_ip.as_slice() } else { all };
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

/// The addresses that a port of a Service leads to: the ready ones, or while all are stopping those that still serve.
/// With `only_on`, those of that node alone.
fn endpoints(
    slices: &[&EndpointSlice],
    port: &ServicePort,
    protocol: Protocol,
    v4: bool,
    only_on: Option<&str>,
) -> Vec<Address> {
    let mut ready = Vec::new();
    let mut draining = Vec::new();
    for slice in slices.iter().filter(|s| s.address_type == if v4 { "IPv4" } else { "IPv6" }) {
        let Some(number) = target(slice, port, protocol) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let here = only_on.is_none_or(|node| endpoint.node_name.as_deref() == Some(node));
            let ip = endpoint.addresses.first().and_then(|a| a.parse::<IpAddr>().ok());
            let Some(ip) = ip.filter(|_| here) else { continue };
            match usable(endpoint) {
                Usable::Ready => ready.push(SocketAddr::new(ip, number)),
                Usable::Draining => draining.push(SocketAddr::new(ip, number)),
                Usable::No => {}
            }
        }
    }
    let mut chosen = if ready.is_empty() { draining } else { ready };
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

/// The number that a slice has for a port of the Service, matched by the port's name.
fn target(slice: &EndpointSlice, port: &ServicePort, wanted: Protocol) -> Option<u16> {
    let name = port.name.as_deref().unwrap_or_default();
    let same = |p: &&k8s_openapi::api::discovery::v1::EndpointPort| {
        p.name.as_deref().unwrap_or_default() == name && protocol(p.protocol.as_deref()) == Some(wanted)
    };
    let found = slice.ports.iter().flatten().find(same)?;
    found.port.and_then(|p| u16::try_from(p).ok())
}

enum Usable {
    Ready,
    Draining,
    No,
}

fn usable(endpoint: &Endpoint) -> Usable {
    let Some(conditions) = &endpoint.conditions else { return Usable::Ready };
    let ready = conditions.ready.unwrap_or(true);
    let draining = conditions.terminating == Some(true) && conditions.serving.unwrap_or(ready);
    match (ready, draining) {
        (true, _) => Usable::Ready,
        (false, true) => Usable::Draining,
        (false, false) => Usable::No,
    }
}

impl Route {
    /// The endpoints in the order in which they are to be tried for the `turn`-th connection, this one of `client`.
    pub(crate) fn order(&self, turn: usize, client: IpAddr) -> impl Iterator<Item = Address> {
        let count = self.endpoints.len();
        let first = match self.affinity {
            Affinity::None => turn.checked_rem(count).unwrap_or(0),
            Affinity::ClientIp => self.home_of(client),
        };
        self.endpoints.iter().cycle().skip(first).take(count).copied()
    }

    /// Which endpoint a client belongs to: the one whose hash with the client is highest, so that
    /// a change of endpoints moves only the clients of those that went.
    fn home_of(&self, client: IpAddr) -> usize {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let ranked = self.endpoints.iter().enumerate().max_by_key(|(_, to)| hasher.hash_one((client, to)));
        ranked.map_or(0, |(index, _)| index)
    }
}

#[cfg(test)]
mod tests;
