//! Whom to ask about names outside: what flags, a ConfigMap and this machine say of it, made one.
//!
//! Flags win over the ConfigMap, and that over the machine; a stub domain is asked where the one of them who names it
//! first says.

use std::collections::BTreeMap;
use std::net::{AddrParseError, IpAddr, SocketAddr};

use hickory_proto::rr::Name;

/// Where name servers listen.
const PORT: u16 = 53;

/// What somebody wants to be asked about names outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The resolvers for all names, in this order; nothing is said by none.
    pub(crate) upstreams: Vec<SocketAddr>,
    /// Those for the names of a domain. Domains are absolute and in lower case.
    pub(crate) stubs: BTreeMap<Name, Vec<SocketAddr>>,
}

/// Who has said what.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) flags: Wanted,
    pub(crate) map: Wanted,
    /// The resolvers of this machine.
    pub(crate) host: Vec<SocketAddr>,
    /// Where we are ourselves: a machine that uses this server must not make it ask itself.
    pub(crate) own: Option<SocketAddr>,
}

/// Whom to ask.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Directions {
    pub(crate) upstreams: Vec<SocketAddr>,
    /// Domains with resolvers of their own, those with most labels first.
    stubs: Vec<(Name, Vec<SocketAddr>)>,
}

/// Why a text is no resolver.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no address; write for example 9.9.9.9, 10.0.0.1:5353 or [2620:fe::fe]:53")]
pub struct NoResolver {
    text: String,
    #[source]
    source: AddrParseError,
}

/// Reads `IP[:PORT]`.
///
/// # Errors
/// [`NoResolver`], which says what to write.
pub fn resolver_at(text: &str) -> Result<SocketAddr, NoResolver> {
    let plain = text.parse().map(|ip: IpAddr| SocketAddr::new(ip, PORT)).or_else(|_| text.parse());
    plain.map_err(|source| NoResolver { text: text.to_owned(), source })
}

/// The resolvers that a `resolv.conf` names. What is no address, as one with a zone, is passed over.
pub(crate) fn nameservers(text: &str) -> Vec<SocketAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver").and(words.next())
    });
    named.filter_map(|text| resolver_at(text).ok()).collect()
}

impl Sources {
    /// Whom to ask by all that has been said.
    pub(crate) fn directions(&self) -> Directions {
        let others =
            |all: &[SocketAddr]| all.iter().copied().filter(|one| Some(*one) != self.own).collect::<Vec<SocketAddr>>();
        let said = [&self.flags.upstreams, &self.map.upstreams, &self.host].into_iter().find(|said| !said.is_empty());
        let mut domains = self.map.stubs.clone();
        domains.extend(self.flags.stubs.clone());
        let mut stubs: Vec<_> = domains.into_iter().map(|(domain, servers)| (domain, others(&servers))).collect();
        stubs.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.num_labels()));
        Directions { upstreams: said.map(|said| others(said)).unwrap_or_default(), stubs }
    }
}

impl Directions {
    /// Whether there is anybody to ask.
    pub(crate) fn has_anybody(&self) -> bool {
        !self.upstreams.is_empty() || !self.stubs.is_empty()
    }

    /// Who is asked about a name.
    pub(crate) fn about(&self, name: &Name) -> &[SocketAddr] {
        let stub = self.stubs.iter().find(|(domain, _)| domain.zone_of(name));
        stub.map_or(&self.upstreams, |(_, servers)| servers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| resolver_at(text).unwrap()).collect()
    }

    fn wanted(upstreams: &[&str], stubs: &[(&str, &str)]) -> Wanted {
        let stubs = stubs.iter().map(|(domain, server)| (Name::from_ascii(domain).unwrap(), at(&[server])));
        Wanted { upstreams: at(upstreams), stubs: stubs.collect() }
    }

    #[test]
    fn flags_win_over_the_map_and_that_over_the_host_and_nobody_asks_himself() {
        let about =
            |sources: &Sources, name: &str| sources.directions().about(&Name::from_ascii(name).unwrap()).to_vec();
        let mut sources = Sources { host: at(&["10.0.0.1", "127.0.0.1:10053"]), ..Sources::default() };
        sources.own = at(&["127.0.0.1:10053"]).pop();
        assert_eq!(about(&sources, "example.com."), at(&["10.0.0.1"]));
        sources.map = wanted(&["10.0.0.2"], &[("corp.example.", "10.1.0.2"), ("a.corp.example.", "10.2.0.2")]);
        assert_eq!(about(&sources, "example.com."), at(&["10.0.0.2"]));
        assert_eq!(about(&sources, "www.corp.example."), at(&["10.1.0.2"]));
        sources.flags = wanted(&["10.0.0.3"], &[("corp.example.", "10.1.0.3")]);
        assert_eq!(about(&sources, "example.com."), at(&["10.0.0.3"]));
        assert_eq!(about(&sources, "www.Corp.example."), at(&["10.1.0.3"]));
        assert_eq!(about(&sources, "www.a.corp.example."), at(&["10.2.0.2"]), "the nearest domain counts");
    }

    #[test]
    fn the_resolvers_of_a_machine_are_read_in_their_order() {
        let text = "# a comment\nnameserver 192.0.2.1\n nameserver ::1\nsearch x\nnameserver nonsense\nnameserver fe80::1%eth0\nnameserver\nnameserver 192.0.2.2:5353 # why";
        assert_eq!(nameservers(text), at(&["192.0.2.1", "[::1]:53", "192.0.2.2:5353"]));
        assert_eq!(nameservers(""), []);
    }
}
