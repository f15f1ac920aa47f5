//! Whose turn it is, and which client has been where: what the routes of one port of a Service remember.
//!
//! Invariant: a client with affinity comes back to its endpoint while that can be used and the client has not been
//! away for too long, whatever happens to the other endpoints.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use coracle_api::meet::Address;
use tokio::time::Instant;

use crate::asked::Affinity;
use crate::routes::Route;

/// How many clients of one port are remembered: some hundred kilobytes. Those beyond come back by a hash of their
/// address, which forgets only when endpoints change.
const HOMES_MAX: usize = 4096;

/// What is remembered.
#[derive(Default)]
pub(crate) struct Memory {
    turn: AtomicUsize,
    homes: Mutex<Homes>,
}

impl Memory {
    /// The place in the route's endpoints of the one whom the next connection of `client` is for.
    pub(crate) fn place(&self, route: &Route, client: IpAddr) -> usize {
        let turn = || self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(route.endpoints.len()).unwrap_or(0);
        match route.affinity {
            Affinity::None => turn(),
            Affinity::ClientIp(timeout) => {
                let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
                homes.place(&route.endpoints, client, Instant::now(), timeout, turn)
            }
        }
    }
}

/// Which client has been where, and when last.
#[derive(Default)]
struct Homes(HashMap<IpAddr, (Address, Instant)>);

impl Homes {
    /// Where a client belongs among sorted endpoints; who belongs nowhere goes where `turn` says.
    fn place(
        &mut self,
        endpoints: &[Address],
        client: IpAddr,
        now: Instant,
        timeout: Duration,
        turn: impl FnOnce() -> usize,
    ) -> usize {
        let is_fresh = |since: Instant| now.duration_since(since) < timeout;
        let known = self.0.get(&client).filter(|(_, since)| is_fresh(*since));
        if let Some(place) = known.and_then(|(home, _)| endpoints.binary_search(home).ok()) {
            if let Some((_, since)) = self.0.get_mut(&client) {
                *since = now;
            }
            return place;
        }
        if self.0.len() >= HOMES_MAX && !self.0.contains_key(&client) {
            self.0.retain(|_, (_, since)| is_fresh(*since));
            if self.0.len() >= HOMES_MAX {
                return by_hash(endpoints, client);
            }
        }
        let place = turn();
        if let Some(home) = endpoints.get(place) {
            self.0.insert(client, (*home, now));
        }
        place
    }
}

/// The endpoint whose hash with the client is highest: a change of endpoints moves only the clients of those that went.
fn by_hash(endpoints: &[Address], client: IpAddr) -> usize {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let ranked = endpoints.iter().enumerate().max_by_key(|(_, to)| hasher.hash_one((client, to)));
    ranked.map_or(0, |(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn endpoints(range: std::ops::Range<u8>) -> Vec<Address> {
        range.map(|n| Address::from(([10, 1, 0, n], 80))).collect()
    }

    fn client(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        IpAddr::from([192, 0, high, low])
    }

    #[test]
    fn a_client_comes_back_until_it_has_been_away_for_too_long() {
        let (mut homes, all, start) = (Homes::default(), endpoints(2..6), Instant::now());
        let mut at = |client, minutes: u64, turn| {
            homes.place(&all, client, start + Duration::from_secs(60 * minutes), HOUR, || turn)
        };
        assert_eq!(at(client(1), 0, 2), 2);
        assert_eq!(at(client(2), 0, 3), 3);
        assert_eq!(at(client(1), 59, 0), 2);
        assert_eq!(at(client(1), 59 + 59, 0), 2, "each connection counts anew");
        assert_eq!(at(client(1), 59 + 59 + 60, 0), 0, "an hour without one");
        assert_eq!(at(client(2), 61, 1), 1);
    }

    #[test]
    fn a_client_stays_while_its_endpoint_does_and_moves_when_it_goes() {
        let (mut homes, now) = (Homes::default(), Instant::now());
        let mut of = |all: &[Address], turn| {
            all.get(homes.place(all, client(1), now, HOUR, || turn)).copied().map(|address| address.to_string())
        };
        assert_eq!(of(&endpoints(2..6), 1).as_deref(), Some("10.1.0.3:80"));
        assert_eq!(of(&endpoints(3..9), 4).as_deref(), Some("10.1.0.3:80"), "others came and went");
        assert_eq!(of(&endpoints(4..9), 4).as_deref(), Some("10.1.0.8:80"));
        assert_eq!(of(&endpoints(2..9), 0).as_deref(), Some("10.1.0.8:80"), "it does not go back");
        assert_eq!(of(&[], 0), None);
    }

    #[test]
    fn clients_beyond_the_bound_come_back_too() {
        let (mut homes, all, start) = (Homes::default(), endpoints(2..200), Instant::now());
        for number in 0..u16::try_from(HOMES_MAX).unwrap() {
            homes.place(&all, client(number), start, HOUR, || 0);
        }
        let mut late = |turn| homes.place(&all, client(9999), start, HOUR, || turn);
        assert_eq!(late(3), late(4));
        let place = homes.place(&all, client(9999), start + HOUR, HOUR, || 7);
        assert_eq!((place, homes.0.len()), (7, 1), "who has been away makes room");
    }
}
