//! The peers of a datagram socket: an address that the guest names leads to the same real one while it is used.
//!
//! Pure, as a table of connection tracking: what was chosen first stays, answers come from whom the guest asked, and
//! who spoke first is answered by the way he came.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Peers that a socket remembers: more than any guest talks to at once.
const PEERS_MAX: usize = 256;

/// How long one that is not used is remembered: Linux' figure for a flow that went both ways.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// The peers of one socket.
#[derive(Default)]
pub(super) struct Flows {
    by_name: HashMap<SocketAddr, Flow>,
    names: HashMap<SocketAddr, SocketAddr>,
}

/// Where one address leads.
#[derive(Clone, Copy)]
pub(super) struct Flow {
    /// The real address.
    pub(super) real: SocketAddr,
    /// Who spoke first.
    pub(super) begun: Begun,
    used: Instant,
}

/// Who spoke first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// The guest.
    Here,
    /// Its peer.
    There,
}

impl Flows {
    /// Where datagrams to `name` went before.
    pub(super) fn of(&self, name: SocketAddr, now: Instant) -> Option<Flow> {
        self.by_name.get(&name).filter(|flow| flow.is_used(now)).copied()
    }

    /// What the guest calls the one behind a real address.
    pub(super) fn name(&self, real: SocketAddr) -> Option<SocketAddr> {
        self.names.get(&real).copied()
    }

    /// A datagram went to or came from `name`, which is at `real`.
    pub(super) fn note(&mut self, name: SocketAddr, real: SocketAddr, begun: Begun, now: Instant) {
        if self.by_name.len() >= PEERS_MAX && !self.by_name.contains_key(&name) {
            self.forget_some(now);
        }
        let flow = self.by_name.entry(name).or_insert(Flow { real, begun, used: now });
        flow.used = now;
        if flow.real != real {
            self.names.remove(&flow.real);
            (flow.real, flow.begun) = (real, begun);
        }
        self.names.insert(real, name);
    }

    /// Forgets those that are not used, or all if all are.
    fn forget_some(&mut self, now: Instant) {
        self.by_name.retain(|_, flow| flow.is_used(now));
        if self.by_name.len() >= PEERS_MAX {
            self.by_name.clear();
        }
        let by_name = &self.by_name;
        self.names.retain(|_, name| by_name.contains_key(name));
    }
}

impl Flow {
    fn is_used(&self, now: Instant) -> bool {
        now.duration_since(self.used) < IDLE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 43, 0, 1], port))
    }

    #[test]
    fn an_endpoint_stays_while_it_is_used_and_answers_by_the_services_name() {
        let (mut flows, start) = (Flows::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        flows.note(address(53), address(4000), Begun::Here, at(0));
        flows.note(address(53), address(4000), Begun::There, at(100));
        let flow = flows.of(address(53), at(219)).unwrap();
        assert_eq!((flow.real, flow.begun), (address(4000), Begun::Here));
        assert_eq!(flows.name(address(4000)), Some(address(53)));
        assert!(flows.of(address(53), at(220)).is_none());
        flows.note(address(53), address(4001), Begun::Here, at(220));
        assert_eq!((flows.name(address(4000)), flows.name(address(4001))), (None, Some(address(53))));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut flows, now) = (Flows::default(), Instant::now());
        for port in 1..2000 {
            flows.note(address(port), address(port), Begun::There, now);
            assert!(flows.of(address(port), now).is_some());
        }
        assert!(flows.by_name.len() <= PEERS_MAX && flows.names.len() <= PEERS_MAX);
    }
}
