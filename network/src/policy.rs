//! NetworkPolicies: whether one address may speak to another, asked for every new connection and datagram.
//!
//! Invariant: while a policy selects a pod, nothing passes that no policy allows. What is not known matches no
//! selector, and no pod has an address before the policies are known; so it fails closed. Where there is no policy at
//! all, the question is one flag, and pods are not even watched.
//!
//! As upstream has it: a pod always reaches itself, a node, from whichever of its addresses, and its pods always reach one another, a reply is no
//! question, and a connection that stands goes on whatever policies come. A look-up in process is no traffic: who may
//! reach nobody still learns addresses.
//!
//! Reading order: what policies say (`rules`), who the pods are (`members`), then who follows the objects (`watch`).

mod members;
mod rules;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use coracle_api::meet::{Address, PodSlot, Protocol};

use crate::cidr::Cidr;
use members::Members;
use rules::Party;

pub(crate) use rules::Rules;
pub(crate) use watch::Watch;

/// The policies in force on a node.
pub(crate) struct Policies {
    /// The node's address, as it is known.
    node: IpAddr,
    /// The addresses of all pods, if all others of this machine are the node's.
    cluster: Option<Cidr>,
    /// Whether there is any policy.
    are_there: AtomicBool,
    rules: ArcSwap<Rules>,
    members: Members,
    /// Whether the policies have been read.
    known: tokio::sync::watch::Sender<bool>,
}

impl Policies {
    /// No policy yet, on the node whose pods have the addresses of `pods`.
    pub(crate) fn new(pods: Cidr) -> Self {
        Self {
            node: Ipv4Addr::LOCALHOST.into(),
            cluster: None,
            are_there: AtomicBool::new(false),
            rules: ArcSwap::default(),
            members: Members::new(pods),
            known: tokio::sync::watch::Sender::new(false),
        }
    }

    /// The node is this machine with all of its addresses, but for those that pods have, on whichever node.
    pub(crate) fn is_this_machine(&mut self, cluster: Cidr) {
        self.cluster = Some(cluster);
    }

    /// The node is known by this address.
    pub(crate) fn known_as(&mut self, node: IpAddr) {
        self.node = node.to_canonical();
    }

    /// Whether it is an address at which the node's ports are; any of the machine's, if the node listens at them all.
    pub(crate) fn is_node_port_at(&self, ip: IpAddr) -> bool {
        ip == self.node || self.node.is_unspecified() && UdpSocket::bind((ip, 0)).is_ok()
    }

    /// Whether a new connection or datagram of `from` may go to `to`, out of the one and into the other.
    /// `to` is who listens, never a Service.
    pub(crate) fn allow(&self, from: IpAddr, protocol: Protocol, to: Address) -> bool {
        if !self.are_there.load(Ordering::Acquire) {
            return true;
        }
        let (from, port, to) = (from.to_canonical(), to.port(), to.ip().to_canonical());
        if from == to || self.is_node(from) || self.is_node(to) {
            return true;
        }
        let (source, target) = (self.members.get(from), self.members.get(to));
        let (source, target) = (Party::new(from, source.as_deref()), Party::new(to, target.as_deref()));
        self.rules.load().allow(source, protocol, target, port) || self.is_machines(from)
    }

    /// These are the rules from now on.
    pub(crate) fn enforce(&self, rules: Rules) {
        let are_there = !rules.is_empty();
        self.rules.store(rules.into());
        self.are_there.store(are_there, Ordering::Release);
        self.known.send_replace(true);
    }

    /// Waits until the policies have been read.
    pub(crate) async fn known(&self) {
        // It ends by what is waited for only: the sender is in our own hands.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }

    /// A pod of this node has its address now.
    pub(crate) fn attached(&self, slot: &PodSlot, ip: IpAddr) {
        self.members.attached(slot, ip);
    }

    /// The address is not that pod's any more.
    pub(crate) fn detached(&self, slot: &PodSlot, ip: IpAddr) {
        self.members.detached(slot, ip);
    }

    /// Whether it is another of the addresses that the node's machine has. Asked last: it asks the system. A Service's is
    /// among them where there are routes: who asks such an address without saying from where asks from there.
    fn is_machines(&self, ip: IpAddr) -> bool {
        let is_pods = || self.cluster.is_none_or(|cluster| cluster.contains(ip));
        !ip.is_loopback() && !ip.is_unspecified() && !is_pods() && is_own(ip)
    }

    /// Whether it is the node itself. Any other address of the loopback range is a client of its own.
    fn is_node(&self, ip: IpAddr) -> bool {
        ip == self.node || ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST)
    }
}

/// Whether the address is one of this machine's, to which a packet goes out from itself. Nothing is sent. Whether it can
/// be bound would not tell: systems can be set to let any address be bound.
fn is_own(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // The port is of no matter, but must be one.
    let routed =
        UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((ip, 9)).and_then(|()| socket.local_addr()));
    routed.is_ok_and(|from| from.ip() == ip)
}

#[cfg(test)]
mod tests;
