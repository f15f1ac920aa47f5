//! NetworkPolicies: whether one address may speak to another, asked for every new connection and datagram.
//!
//! Invariant: while a policy selects a pod, nothing passes that no policy allows. What is not known matches no
//! selector, and no pod has an address before the policies are known; so it fails closed. Where there is no policy at
//! all, the question is one flag, and pods are not even watched.
//!
//! As upstream has it: a pod always reaches itself, a node and its pods always reach one another, a reply is no
//! question, and a connection that stands goes on whatever policies come. A look-up in process is no traffic: who may
//! reach nobody still learns addresses.
//!
//! Reading order: what policies say (`rules`), who the pods are (`members`), then who follows the objects (`watch`).

mod members;
mod rules;
mod watch;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
            are_there: AtomicBool::new(false),
            rules: ArcSwap::default(),
            members: Members::new(pods),
            known: tokio::sync::watch::Sender::new(false),
        }
    }

    /// The node is known by this address.
    pub(crate) fn known_as(&mut self, node: IpAddr) {
        self.node = node.to_canonical();
    }

    /// Whether it is an address at which the node's ports are; any of the machine's, if the node listens at them all.
    pub(crate) fn is_node_port_at(&self, ip: IpAddr) -> bool {
        ip == self.node || self.node.is_unspecified() && std::net::UdpSocket::bind((ip, 0)).is_ok()
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
        self.rules.load().allow(source, protocol, target, port)
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

    /// Whether it is the node itself. Any other address of the loopback range is a client of its own.
    fn is_node(&self, ip: IpAddr) -> bool {
        ip == self.node || ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST)
    }
}

#[cfg(test)]
mod tests;
