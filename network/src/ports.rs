//! The ports of one pod: which of its sockets may have the same number, and whom a connection to it finds.
//!
//! Pure. The rules are those of Linux with `IPV6_V6ONLY`, which WASI sets on every socket; but where a guest listens
//! for one family only it is found by the other as well, because a pod has an address of one family.

use std::net::IpAddr;

use coracle_api::meet::Protocol;

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Which of a pod's addresses a socket is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// All: the unspecified address.
    Any,
    /// The one by which other pods know it.
    Own,
    /// That of loopback.
    Localhost,
}

/// What a socket of a pod is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    family: Family,
    width: Width,
}

impl Bound {
    /// All addresses of the family of `own`, the pod's address.
    pub(crate) fn any(own: IpAddr) -> Self {
        Self { family: Family::of(own), width: Width::Any }
    }

    /// What a bind to `ip` means in the pod at `own`; nothing if that is none of its addresses.
    pub(crate) fn to(ip: IpAddr, own: IpAddr) -> Option<Self> {
        let ip = ip.to_canonical();
        let width = match ip {
            ip if ip == own => Width::Own,
            ip if ip.is_unspecified() => Width::Any,
            ip if ip.is_loopback() => Width::Localhost,
            _ => return None,
        };
        Some(Self { family: Family::of(ip), width })
    }

    /// Whether it is all addresses.
    pub(crate) fn is_any(self) -> bool {
        self.width == Width::Any
    }

    /// Whether it is for the pod itself alone.
    pub(crate) fn is_localhost(self) -> bool {
        self.width == Width::Localhost
    }

    /// Whether both cannot have the same port.
    pub(crate) fn excludes(self, other: Self) -> bool {
        let overlap = self.width == other.width || self.width == Width::Any || other.width == Width::Any;
        self.family == other.family && overlap
    }

    /// How well it fits what is connected to, the least best; nothing if it is not found there.
    fn fits(self, target: Target) -> Option<u8> {
        let is_same = match target {
            Target::Own(family) | Target::Localhost(family) => self.family == family,
        };
        match (self.width, target) {
            (Width::Own, Target::Own(_)) => Some(0),
            (Width::Localhost, Target::Localhost(_)) => Some(if is_same { 0 } else { 3 }),
            (Width::Any, _) => Some(if is_same { 1 } else { 2 }),
            (Width::Own, Target::Localhost(_)) | (Width::Localhost, Target::Own(_)) => None,
        }
    }
}

/// Which of a pod's addresses is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// The one by which other pods know it, of this family.
    Own(Family),
    /// `localhost`, as the pod itself asks for it.
    Localhost(Family),
}

/// A socket's claim to a port of its pod.
pub(crate) struct Claim<T> {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) bound: Bound,
    /// What tells it from others.
    pub(crate) id: u64,
    pub(crate) value: T,
}

/// The ports of a pod that are in use.
pub(crate) struct Ports<T> {
    claims: Vec<Claim<T>>,
    next: u64,
}

impl<T> Default for Ports<T> {
    fn default() -> Self {
        Self { claims: Vec::new(), next: 0 }
    }
}

impl<T> Ports<T> {
    /// Whether the port cannot be had.
    pub(crate) fn is_taken(&self, protocol: Protocol, port: u16, bound: Bound) -> bool {
        self.of(protocol, port).any(|claim| claim.bound.excludes(bound))
    }

    /// Whether another socket of the pod has the same number, for other addresses.
    pub(crate) fn is_shared(&self, protocol: Protocol, port: u16) -> bool {
        self.of(protocol, port).next().is_some()
    }

    /// Takes a port that is not taken. Returns by what it is given back.
    pub(crate) fn take(&mut self, protocol: Protocol, port: u16, bound: Bound, value: T) -> u64 {
        let id = self.next;
        self.next += 1;
        self.claims.push(Claim { protocol, port, bound, id, value });
        id
    }

    /// Gives a port back.
    pub(crate) fn give_back(&mut self, id: u64) -> Option<Claim<T>> {
        let at = self.claims.iter().position(|claim| claim.id == id)?;
        Some(self.claims.swap_remove(at))
    }

    /// Whom a connection finds.
    pub(crate) fn found(&self, protocol: Protocol, port: u16, target: Target) -> Option<&Claim<T>> {
        let fitting = self.of(protocol, port).filter_map(|claim| Some((claim.bound.fits(target)?, claim)));
        fitting.min_by_key(|(fit, _)| *fit).map(|(_, claim)| claim)
    }

    /// All that are in use, which then are so no more.
    pub(crate) fn drain(&mut self) -> Vec<Claim<T>> {
        std::mem::take(&mut self.claims)
    }

    fn of(&self, protocol: Protocol, port: u16) -> impl Iterator<Item = &Claim<T>> {
        self.claims.iter().filter(move |claim| claim.protocol == protocol && claim.port == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "10.42.0.5";

    fn bound(ip: &str) -> Bound {
        Bound::to(ip.parse().unwrap(), OWN.parse().unwrap()).unwrap()
    }

    fn ports(binds: &[&'static str]) -> Ports<&'static str> {
        let mut ports = Ports::default();
        for ip in binds {
            assert!(!ports.is_taken(Protocol::Tcp, 80, bound(ip)), "{ip}");
            ports.take(Protocol::Tcp, 80, bound(ip), *ip);
        }
        ports
    }

    fn refused(binds: &[&'static str], ip: &str) {
        assert!(ports(binds).is_taken(Protocol::Tcp, 80, bound(ip)), "{ip} beside {binds:?}");
    }

    #[test]
    fn the_unspecified_address_excludes_the_others_of_its_family() {
        refused(&["0.0.0.0"], "0.0.0.0");
        refused(&["0.0.0.0"], "127.0.0.1");
        refused(&["10.42.0.5"], "0.0.0.0");
        refused(&["::1"], "::");
        refused(&["127.0.0.1"], "127.0.0.1");
        ports(&["127.0.0.1", "10.42.0.5", "::1"]);
        ports(&["::", "0.0.0.0"]);
        ports(&["0.0.0.0", "::"]);
        assert_eq!(Bound::to("10.42.0.6".parse().unwrap(), OWN.parse().unwrap()), None);
    }

    #[test]
    fn a_connection_finds_who_listens_where_it_goes() {
        let found = |binds: &[&'static str]| {
            let ports = ports(binds);
            let at = |target| ports.found(Protocol::Tcp, 80, target).map_or("nobody", |claim| claim.value);
            [at(Target::Own(Family::V4)), at(Target::Localhost(Family::V4)), at(Target::Localhost(Family::V6))]
        };
        assert_eq!(found(&["0.0.0.0"]), ["0.0.0.0"; 3]);
        assert_eq!(found(&["::"]), ["::"; 3], "of both families");
        assert_eq!(found(&["::", "0.0.0.0"]), ["0.0.0.0", "0.0.0.0", "::"]);
        assert_eq!(found(&["127.0.0.1"]), ["nobody", "127.0.0.1", "127.0.0.1"]);
        assert_eq!(found(&["10.42.0.5"]), ["10.42.0.5", "nobody", "nobody"]);
        assert_eq!(found(&["10.42.0.5", "127.0.0.1"]), ["10.42.0.5", "127.0.0.1", "127.0.0.1"]);
        assert_eq!(found(&["127.0.0.1", "::"]), ["::", "127.0.0.1", "::"]);
    }

    #[test]
    fn protocols_and_numbers_are_apart_and_a_port_comes_back() {
        let mut ports = ports(&["0.0.0.0"]);
        assert!(!ports.is_taken(Protocol::Udp, 80, bound("0.0.0.0")));
        assert!(!ports.is_taken(Protocol::Tcp, 81, bound("0.0.0.0")));
        let id = ports.take(Protocol::Udp, 80, bound("::"), "udp");
        assert!(ports.is_shared(Protocol::Udp, 80));
        assert_eq!(ports.give_back(id).map(|claim| claim.value), Some("udp"));
        assert!(ports.give_back(id).is_none());
        assert!(ports.found(Protocol::Udp, 80, Target::Own(Family::V4)).is_none());
    }
}
