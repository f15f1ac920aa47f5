//! The pod addresses of one node: hands them out one after the other and takes them back.
//!
//! Invariant: an address is never with two pods, and one given back is reused as late as the range allows,
//! so that a client that still knows it finds nobody rather than a stranger.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::cidr::Cidr;

/// The offset of the first address for pods: the first is the network's own, the second the gateway's.
const FIRST_POD: u128 = 2;

/// The addresses of a range and who has them.
#[derive(Debug)]
pub(crate) struct PodAddresses {
    cidr: Cidr,
    next: u128,
    taken: HashSet<u128>,
}

/// Every address of the range is with a pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {pods} pod addresses of {cidr} are used up: delete pods, or start the node with a larger range of pod addresses"
)]
pub(crate) struct UsedUp {
    cidr: Cidr,
    pods: usize,
}

impl PodAddresses {
    pub(crate) fn new(cidr: Cidr) -> Self {
        Self { cidr, next: FIRST_POD, taken: HashSet::new() }
    }

    /// How many pods the range has room for: all but the network's, the gateway's and the broadcast address.
    pub(crate) fn room(cidr: Cidr) -> u128 {
        cidr.last().saturating_sub(FIRST_POD)
    }

    /// The next free address, round-robin.
    pub(crate) fn take(&mut self) -> Result<IpAddr, UsedUp> {
        let room = Self::room(self.cidr);
        if self.taken.len() as u128 >= room {
            return Err(UsedUp { cidr: self.cidr, pods: self.taken.len() });
        }
        loop {
            let offset = self.next;
            self.next = if offset + 1 < FIRST_POD + room { offset + 1 } else { FIRST_POD };
            if let Some(ip) = self.cidr.nth(offset).filter(|_| self.taken.insert(offset)) {
                return Ok(ip);
            }
        }
    }

    /// Takes an address back.
    pub(crate) fn give_back(&mut self, ip: IpAddr) {
        if let Some(offset) = self.cidr.offset(ip) {
            self.taken.remove(&offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn network_gateway_and_broadcast_are_skipped_and_freed_addresses_come_last() {
        let mut addresses = PodAddresses::new("127.42.0.0/29".parse().unwrap());
        let mut take = |back: Option<&str>| {
            back.into_iter().for_each(|ip| addresses.give_back(ip.parse().unwrap()));
            addresses.take().map(|ip| ip.to_string()).map_err(|e| e.to_string())
        };
        assert_eq!(take(None).unwrap(), "127.42.0.2");
        assert_eq!(take(Some("127.42.0.2")).unwrap(), "127.42.0.3");
        assert_eq!(take(None).unwrap(), "127.42.0.4");
        assert_eq!(take(None).unwrap(), "127.42.0.5");
        assert_eq!(take(None).unwrap(), "127.42.0.6");
        assert_eq!(take(None).unwrap(), "127.42.0.2");
        assert_eq!(
            take(None).unwrap_err(),
            "the 5 pod addresses of 127.42.0.0/29 are used up: delete pods, or start the node with a larger range of pod addresses"
        );
        assert_eq!(take(Some("127.42.0.4")).unwrap(), "127.42.0.4");
    }

    #[test]
    fn a_range_without_room_gives_nothing() {
        for narrow in ["10.0.0.0/32", "10.0.0.0/31"] {
            assert!(PodAddresses::new(narrow.parse().unwrap()).take().is_err());
        }
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice(steps in proptest::collection::vec(any::<Option<u8>>(), 0..200)) {
            let mut addresses = PodAddresses::new("10.1.0.0/27".parse().unwrap());
            let mut held: Vec<IpAddr> = Vec::new();
            for step in steps {
                match step {
                    Some(which) if !held.is_empty() => addresses.give_back(held.swap_remove(usize::from(which) % held.len())),
                    Some(_) | None => match addresses.take() {
                        Ok(ip) => { prop_assert!(!held.contains(&ip)); held.push(ip); }
                        Err(_) => prop_assert_eq!(held.len(), 29),
                    },
                }
            }
        }
    }
}
