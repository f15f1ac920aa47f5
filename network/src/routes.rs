//! Routes: where a connection to an address of a Service may go.
//!
//! A pure function of what a Service asks for and what its EndpointSlices offer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use coracle_api::meet::{Address, Protocol};
use coracle_api::names::NamespacedName;

use crate::asked::{Affinity, Asked, Port, Reach};
use crate::cidr::Cidr;
use crate::offered::{Offered, endpoints, ready_here};

/// Where clients find a port of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Front {
    /// At its cluster address.
    ClusterIp(Protocol, Address),
    /// At an external address that its owner has brought to this machine.
    ExternalIp(Protocol, Address),
    /// At a port of the node, out of the range kept for them.
    NodePort(Protocol, u16),
    /// At the Service's own port, at the node's address, which is the load balancer.
    LoadBalancer(Protocol, u16),
    /// At the port of the node where load balancers ask whether it has endpoints of the Service.
    HealthCheck(u16),
}

impl Front {
    /// What is spoken there.
    pub(crate) const fn protocol(self) -> Protocol {
        match self {
            Self::ClusterIp(protocol, _)
            | Self::ExternalIp(protocol, _)
            | Self::NodePort(protocol, _)
            | Self::LoadBalancer(protocol, _) => protocol,
            Self::HealthCheck(_) => Protocol::Tcp,
        }
    }
}

/// Where connections to a front go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// Whose it is, for events and logs.
    pub(crate) service: NamespacedName,
    /// The Service's uid, for events.
    pub(crate) uid: String,
    /// The Service's own port: the fronts of one port remember their clients together.
    pub(crate) port: u16,
    /// The usable endpoints, sorted; none means refused.
    pub(crate) endpoints: Vec<Address>,
    pub(crate) affinity: Affinity,
    /// Who may connect; everybody if it is empty.
    pub(crate) sources: Vec<Cidr>,
}

impl Route {
    /// The endpoints in the order in which they are to be tried, from a place on.
    pub(crate) fn from(&self, place: usize) -> impl Iterator<Item = Address> {
        self.endpoints.iter().cycle().skip(place).take(self.endpoints.len()).copied()
    }

    /// Whether a client may connect.
    pub(crate) fn lets_in(&self, client: IpAddr) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|range| range.contains(client.to_canonical()))
    }
}

/// The routes that a Service has with these slices.
pub(crate) fn routes(asked: &Asked, slices: &[&Offered]) -> Vec<(Front, Arc<Route>)> {
    let mut routes = Vec::new();
    for port in &asked.ports {
        add_port(&mut routes, asked, slices, port);
    }
    if let Some(number) = asked.health_check {
        let route = route(asked, 0, ready_here(slices));
        routes.push((Front::HealthCheck(number), Arc::new(Route { affinity: Affinity::None, ..route })));
    }
    routes
}

/// The fronts at which a Service is to be reached at the load balancer; none if it is not ours.
pub(crate) fn load_balancer_fronts(asked: &Asked) -> Vec<Front> {
    let ports = asked.ports.iter().filter(|_| asked.balancer.is_some());
    ports.map(|port| Front::LoadBalancer(port.protocol, port.number)).collect()
}

fn add_port(routes: &mut Vec<(Front, Arc<Route>)>, asked: &Asked, slices: &[&Offered], port: &Port) {
    let to = |v4: bool, reach: Reach| Arc::new(route(asked, port.number, endpoints(slices, port, v4, reach)));
    for ip in &asked.cluster_ips {
        let front = Front::ClusterIp(port.protocol, SocketAddr::new(*ip, port.number));
        routes.push((front, to(ip.is_ipv4(), asked.internal)));
    }
    // Without a cluster address there is nothing that the others could stand for.
    let Some(first) = asked.cluster_ips.first() else { return };
    for ip in asked.external_ips.iter().filter(|ip| asked.cluster_ips.iter().any(|own| own.is_ipv4() == ip.is_ipv4())) {
        let front = Front::ExternalIp(port.protocol, SocketAddr::new(*ip, port.number));
        routes.push((front, to(ip.is_ipv4(), asked.external)));
    }
    if let Some(number) = port.node_port {
        routes.push((Front::NodePort(port.protocol, number), to(first.is_ipv4(), asked.external)));
    }
    if let Some(balancer) = &asked.balancer {
        let route = Route::clone(&to(first.is_ipv4(), asked.external));
        let route = Route { sources: balancer.sources.clone(), ..route };
        routes.push((Front::LoadBalancer(port.protocol, port.number), Arc::new(route)));
    }
}

fn route(asked: &Asked, port: u16, endpoints: Vec<Address>) -> Route {
    Route {
        service: asked.service.clone(),
        uid: asked.uid.clone(),
        port,
        endpoints,
        affinity: asked.affinity,
        sources: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
