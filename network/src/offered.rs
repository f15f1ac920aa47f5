//! What an EndpointSlice offers, read once: addresses and ports, and how far each endpoint may be used.

use std::net::IpAddr;

use coracle_api::meet::{Address, Protocol};
use coracle_api::names::NamespacedName;
use coracle_api::wellknown::LABEL_SERVICE_NAME;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::asked::{Port, Reach, protocol};

/// A slice, as far as routes depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    is_v4: bool,
    /// By the names that the Service's ports have.
    ports: Vec<(String, Protocol, u16)>,
    endpoints: Vec<Offer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offer {
    ip: IpAddr,
    /// It is on this node.
    is_here: bool,
    /// Whether it is meant for clients of this node, if it is hinted for whom it is.
    is_for_here: Option<bool>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    /// It is stopping, and still answers.
    Draining,
}

/// The Service that a slice belongs to, if any.
pub(crate) fn service_of(slice: &EndpointSlice) -> Option<NamespacedName> {
    let name = slice.metadata.labels.as_ref()?.get(LABEL_SERVICE_NAME)?;
    Some(NamespacedName::new(slice.metadata.namespace.clone().unwrap_or_default(), name.as_str()))
}

impl Offered {
    /// What the slice offers, as seen from `node`. Endpoints that cannot be used are not in it.
    pub(crate) fn of(slice: &EndpointSlice, node: &str) -> Self {
        let port = |p: &k8s_openapi::api::discovery::v1::EndpointPort| {
            let number = p.port.and_then(|p| u16::try_from(p).ok())?;
            Some((p.name.clone().unwrap_or_default(), protocol(p.protocol.as_deref())?, number))
        };
        Self {
            is_v4: slice.address_type == "IPv4",
            ports: slice.ports.iter().flatten().filter_map(port).collect(),
            endpoints: slice.endpoints.iter().flatten().filter_map(|endpoint| offer(endpoint, node)).collect(),
        }
    }

    /// The number that the slice has for a port of the Service, matched by name.
    fn target(&self, port: &Port) -> Option<u16> {
        let same = self.ports.iter().find(|(name, protocol, _)| *name == port.name && *protocol == port.protocol);
        same.map(|(_, _, number)| *number)
    }

    fn leads_to(&self, v4: bool) -> bool {
        // A slice of names instead of addresses has none that could be read.
        self.is_v4 == v4
    }
}

fn offer(endpoint: &Endpoint, node: &str) -> Option<Offer> {
    let ip = endpoint.addresses.first()?.parse().ok()?;
    let nodes = endpoint.hints.as_ref().and_then(|hints| hints.for_nodes.as_deref()).unwrap_or_default();
    Some(Offer {
        ip,
        is_here: endpoint.node_name.as_deref() == Some(node),
        is_for_here: (!nodes.is_empty()).then(|| nodes.iter().any(|hint| hint.name == node)),
        state: state(endpoint)?,
    })
}

fn state(endpoint: &Endpoint) -> Option<State> {
    let Some(conditions) = &endpoint.conditions else { return Some(State::Ready) };
    let ready = conditions.ready.unwrap_or(true);
    let draining = conditions.terminating == Some(true) && conditions.serving.unwrap_or(ready);
    match (ready, draining) {
        (true, _) => Some(State::Ready),
        (false, true) => Some(State::Draining),
        (false, false) => None,
    }
}

/// The addresses that a port leads to: the ready ones, or while all are stopping those that still serve.
pub(crate) fn endpoints(slices: &[&Offered], port: &Port, v4: bool, reach: Reach) -> Vec<Address> {
    let of = |state| offers(slices, port, v4, reach, state);
    let ready = of(State::Ready);
    let mut chosen = if ready.is_empty() { of(State::Draining) } else { ready };
    // Hints narrow the choice where all endpoints have them, and never to nothing.
    let is_hinted = chosen.iter().all(|(offer, _)| offer.is_for_here.is_some());
    let is_for_here = |(offer, _): &(Offer, u16)| offer.is_for_here == Some(true);
    if reach == Reach::Cluster && is_hinted && chosen.iter().any(is_for_here) {
        chosen.retain(is_for_here);
    }
    let mut addresses: Vec<Address> =
        chosen.into_iter().map(|(offer, number)| Address::new(offer.ip, number)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The addresses on this node that are ready, each once: what a health check counts.
pub(crate) fn ready_here(slices: &[&Offered]) -> Vec<Address> {
    let offers = slices.iter().flat_map(|slice| &slice.endpoints);
    let here = offers.filter(|offer| offer.is_here && offer.state == State::Ready);
    let mut addresses: Vec<Address> = here.map(|offer| Address::new(offer.ip, 0)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn offers(slices: &[&Offered], port: &Port, v4: bool, reach: Reach, state: State) -> Vec<(Offer, u16)> {
    let of_family = slices.iter().filter(|slice| slice.leads_to(v4));
    let targets = of_family.filter_map(|slice| Some((slice, slice.target(port)?)));
    let all = targets.flat_map(|(slice, number)| slice.endpoints.iter().map(move |offer| (*offer, number)));
    all.filter(|(offer, _)| offer.state == state && (reach == Reach::Cluster || offer.is_here)).collect()
}
