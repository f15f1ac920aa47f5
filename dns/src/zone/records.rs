//! The records of each place, in the order of the Kubernetes DNS specification (schema version 1.1.0); where that
//! leaves something open, as `CoreDNS` answers.
//!
//! It refuses what has no name in DNS: a port or a host name that is no label has no record.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::cluster::{Asked, Endpoint, Kind, Named, Port, made_of};
use super::place::Place;
use super::{TTL, Zone};

/// The version of the schema that the zone follows.
const SCHEMA_VERSION: &str = "1.1.0";

/// The Service by which the DNS server itself is found, in the namespace `kube-system`.
const DNS_SERVICE: &str = "kube-dns.kube-system";

/// The weights of all records of one SRV answer together: endpoints are equal, so each has its share.
const SRV_WEIGHTS: usize = 100;

/// What is at a name.
#[derive(Debug)]
pub(super) enum Held {
    /// There is no such name.
    Nothing,
    /// Another name for it.
    Alias(Name),
    /// The records of the type asked for, maybe none, and those that are likely to be asked for next.
    Records(Vec<RData>, Vec<Record>),
}

/// The addresses that a name stands for.
#[derive(Debug)]
pub(super) enum Meant<'a> {
    /// None: there is no such name, or nobody is at it.
    Nothing,
    /// Those of another name.
    Alias(&'a Name),
    /// These, each once.
    Addresses(Cow<'a, [IpAddr]>),
}

impl Held {
    fn these(records: Vec<RData>) -> Self {
        Self::Records(records, Vec::new())
    }

    /// The name is there, but has nothing of this type.
    fn none() -> Self {
        Self::these(Vec::new())
    }

    /// There, with nothing of this type, or not there.
    fn none_if(is_there: bool) -> Self {
        if is_there { Self::none() } else { Self::Nothing }
    }
}

impl Zone {
    /// What is at a place of the cluster's zone.
    pub(super) fn at(&self, place: &Place<'_>, kind: RecordType) -> Held {
        match place {
            Place::Nowhere => Held::Nothing,
            Place::Between => Held::none(),
            Place::Namespace(namespace) => Held::none_if(self.cluster.has_namespace(namespace)),
            // Section 2.2.
            Place::Version if kind == RecordType::TXT => {
                Held::these(vec![RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()]))])
            }
            Place::Version => Held::none(),
            Place::Apex => self.apex(kind),
            Place::Service(key) => self.service(key, place, kind),
            Place::Protocol(key, protocol) => {
                let has = |named: &Named| ports(named).any(|port| port.is_of(protocol) && !port.name.is_empty());
                Held::none_if(self.cluster.service(key).is_some_and(has))
            }
            Place::Port(key, protocol, port) => self.port(key, protocol, port, kind),
            Place::Endpoint(key, label) if kind == RecordType::SRV => self.endpoint(key, label),
            Place::NameServer | Place::Endpoint(..) | Place::Pod(..) => self.meant(place).of(kind),
        }
    }

    /// The addresses at a place.
    pub(super) fn meant(&self, place: &Place<'_>) -> Meant<'_> {
        match place {
            Place::NameServer => Meant::Addresses(self.name_server().map_or(&[][..], |(_, ips)| ips).into()),
            // Sections 2.3.1, 2.4.1, 2.5: what a Service's own name means.
            Place::Service(key) => match self.cluster.service(key).map(|named| (named, named.asked.as_deref())) {
                None | Some((_, None)) => Meant::Nothing,
                Some((_, Some(Asked { kind: Kind::ClusterIps(ips), .. }))) => Meant::Addresses(ips.as_ref().into()),
                Some((_, Some(Asked { kind: Kind::External(target), .. }))) => Meant::Alias(target),
                Some((named, Some(Asked { kind: Kind::Headless, .. }))) => {
                    Meant::those(named.endpoints().map(|(endpoint, _)| endpoint.ip))
                }
            },
            // Section 2.4.1: an endpoint by its host name. Those of Services with a cluster address have names as well.
            Place::Endpoint(key, label) => match self.cluster.service(key).filter(|named| !named.is_external()) {
                None => Meant::Nothing,
                Some(named) => Meant::those(named.labelled(label).map(|(endpoint, _)| endpoint.ip)),
            },
            // Section 2.6: a pod by its address, for any address: who asks knows it already.
            Place::Pod(label, namespace) => {
                let is_v4 = label.matches('-').count() == 3 && !label.contains("--");
                let ip = made_of(label, if is_v4 { '.' } else { ':' });
                Meant::those(ip.into_iter().filter(|_| self.cluster.has_namespace(namespace)))
            }
            Place::Apex
            | Place::Version
            | Place::Between
            | Place::Namespace(_)
            | Place::Protocol(..)
            | Place::Port(..)
            | Place::Nowhere => Meant::Nothing,
        }
    }

    fn apex(&self, kind: RecordType) -> Held {
        match (kind, self.name_server()) {
            (RecordType::SOA, _) => Held::these(vec![RData::SOA(self.soa())]),
            (RecordType::NS, Some((name, ips))) => {
                let glue = ips.iter().map(|ip| record(&name, address(*ip))).collect();
                Held::Records(vec![RData::NS(NS(name))], glue)
            }
            _ => Held::none(),
        }
    }

    /// The Service by which the zone's server is found, and its addresses.
    fn name_server(&self) -> Option<(Name, &[IpAddr])> {
        match self.cluster.service(DNS_SERVICE)?.asked.as_deref()? {
            Asked { kind: Kind::ClusterIps(ips), .. } => Some((self.service_name(DNS_SERVICE)?, ips)),
            _ => None,
        }
    }

    fn service(&self, key: &str, place: &Place<'_>, kind: RecordType) -> Held {
        match (kind, self.meant(place)) {
            (RecordType::CNAME, Meant::Alias(target)) => Held::these(vec![RData::CNAME(CNAME(target.clone()))]),
            (RecordType::SRV, Meant::Addresses(_)) => {
                self.cluster.service(key).map_or(Held::Nothing, |named| self.srv(key, named, |_| true))
            }
            (_, meant) => meant.of(kind),
        }
    }

    /// Sections 2.3.2 and 2.4.2: a named port.
    fn port(&self, key: &str, protocol: &str, name: &str, kind: RecordType) -> Held {
        let Some(named) = self.cluster.service(key) else { return Held::Nothing };
        let is_meant = |port: &Port| *port.name == *name && port.is_of(protocol);
        match kind {
            _ if name.is_empty() || !ports(named).any(is_meant) => Held::Nothing,
            RecordType::SRV => self.srv(key, named, is_meant),
            _ => Held::none(),
        }
    }

    /// The ports of an endpoint by its host name.
    fn endpoint(&self, key: &str, label: &str) -> Held {
        let Some(named) = self.cluster.service(key).filter(|named| !named.is_external()) else { return Held::Nothing };
        let mut meant = named.labelled(label).peekable();
        if meant.peek().is_none() {
            return Held::Nothing;
        }
        let each = meant.flat_map(|(endpoint, ports)| ports.iter().map(move |port| (endpoint, port.number)));
        self.srv_of_endpoints(key, &each.collect::<Vec<_>>())
    }

    /// Sections 2.3.3 and 2.4.3: the names that an address has.
    pub(super) fn reverse(&self, ip: IpAddr, kind: RecordType) -> Held {
        if ip.is_loopback() && (ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST) {
            let localhost = Name::from_ascii("localhost.").ok().filter(|_| kind == RecordType::PTR);
            return Held::these(localhost.map(|name| RData::PTR(PTR(name))).into_iter().collect());
        }
        let owners = || self.cluster.owners(ip);
        let own =
            owners().find(|(_, named)| named.cluster_ips().contains(&ip)).and_then(|(key, _)| self.service_name(key));
        let names: Vec<Name> = if let Some(own) = own {
            vec![own]
        } else {
            let labels = owners().flat_map(|(key, named)| {
                let here = named.endpoints().filter(move |(endpoint, _)| endpoint.ip == ip);
                here.filter_map(move |(endpoint, _)| self.endpoint_name(key, endpoint))
            });
            let mut known = HashSet::new();
            labels.filter(|name| known.insert(name.clone())).collect()
        };
        match (names.is_empty(), kind) {
            (true, _) => Held::Nothing,
            (false, RecordType::PTR) => Held::these(names.into_iter().map(|name| RData::PTR(PTR(name))).collect()),
            (false, _) => Held::none(),
        }
    }

    /// The SRV records of the ports that are meant, and the addresses that they lead to.
    fn srv(&self, key: &str, named: &Named, is_meant: impl Fn(&Port) -> bool) -> Held {
        let Some(asked) = named.asked.as_deref() else { return Held::Nothing };
        let Kind::ClusterIps(ips) = &asked.kind else {
            let each = named.endpoints().flat_map(|(endpoint, ports)| {
                ports.iter().filter(|port| is_meant(port)).map(move |port| (endpoint, port.number))
            });
            return self.srv_of_endpoints(key, &each.collect::<Vec<_>>());
        };
        let Some(target) = self.service_name(key) else { return Held::Nothing };
        let numbers: Vec<u16> = asked.ports.iter().filter(|port| is_meant(port)).map(|port| port.number).collect();
        let records = numbers.iter().map(|number| srv(*number, numbers.len(), target.clone())).collect();
        let glue = if numbers.is_empty() { &[][..] } else { ips };
        Held::Records(records, glue.iter().map(|ip| record(&target, address(*ip))).collect())
    }

    fn srv_of_endpoints(&self, key: &str, each: &[(&Endpoint, u16)]) -> Held {
        let (mut records, mut glue) = (Vec::new(), Vec::new());
        let (mut known, mut glued) = (HashSet::new(), HashSet::new());
        for (endpoint, number) in each {
            let Some(target) = self.endpoint_name(key, endpoint) else { continue };
            if glued.insert((endpoint.ip, target.clone())) {
                glue.push(record(&target, address(endpoint.ip)));
            }
            if known.insert((*number, target.clone())) {
                records.push(srv(*number, each.len(), target));
            }
        }
        Held::Records(records, glue)
    }

    /// The full name of a Service.
    fn service_name(&self, key: &str) -> Option<Name> {
        let (name, namespace) = key.split_once('.')?;
        Name::from_labels([name.as_bytes(), namespace.as_bytes(), b"svc"])
            .ok()?
            .append_domain(&self.authority.domain)
            .ok()
    }

    fn endpoint_name(&self, key: &str, endpoint: &Endpoint) -> Option<Name> {
        Name::from_labels([endpoint.label().as_bytes()]).ok()?.append_domain(&self.service_name(key)?).ok()
    }
}

impl<'a> Meant<'a> {
    /// Each address once, or nothing if there is none.
    fn those(ips: impl Iterator<Item = IpAddr>) -> Self {
        let mut ips: Vec<IpAddr> = ips.collect();
        ips.sort_unstable();
        ips.dedup();
        if ips.is_empty() { Self::Nothing } else { Self::Addresses(ips.into()) }
    }

    /// The records of them.
    fn of(self, kind: RecordType) -> Held {
        match self {
            Self::Nothing => Held::Nothing,
            Self::Alias(target) => Held::Alias(target.clone()),
            Self::Addresses(ips) => Held::these(addresses(&ips, kind)),
        }
    }
}

impl Named {
    /// The endpoints with this label.
    fn labelled(&self, label: &str) -> impl Iterator<Item = (&Endpoint, &[Port])> {
        self.endpoints().filter(move |(endpoint, _)| endpoint.is_labelled(label))
    }

    fn is_external(&self) -> bool {
        matches!(self.asked.as_deref(), Some(Asked { kind: Kind::External(_), .. }))
    }

    fn cluster_ips(&self) -> &[IpAddr] {
        match self.asked.as_deref() {
            Some(Asked { kind: Kind::ClusterIps(ips), .. }) => ips,
            _ => &[],
        }
    }
}

impl Port {
    fn is_of(&self, protocol: &str) -> bool {
        *self.protocol == *protocol
    }
}

/// The ports of a Service: a headless one has those of its endpoints, and one by another name has none.
fn ports(named: &Named) -> Box<dyn Iterator<Item = &Port> + '_> {
    match named.asked.as_deref() {
        Some(Asked { kind: Kind::ClusterIps(_), ports }) => Box::new(ports.iter()),
        Some(Asked { kind: Kind::Headless, .. }) => Box::new(named.endpoint_ports()),
        _ => Box::new(std::iter::empty()),
    }
}

/// The addresses of the family that is asked for.
fn addresses(ips: &[IpAddr], kind: RecordType) -> Vec<RData> {
    ips.iter().copied().map(address).filter(|data| data.record_type() == kind).collect()
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

fn srv(port: u16, count: usize, target: Name) -> RData {
    let weight = u16::try_from(SRV_WEIGHTS / count.max(1)).unwrap_or(u16::MAX);
    RData::SRV(SRV::new(0, weight.max(1), port, target))
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}
