//! The cluster's zone: what each name means at one moment.
//!
//! Invariant: a zone never changes; the next moment of the cluster is the next zone. It answers for the cluster domain,
//! for the reverse of the cluster's addresses and for `localhost`, whether it knows the name or not, so that none of
//! them leaks.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use ipnet::IpNet;

pub(crate) mod cluster;
mod place;
mod records;

use cluster::Cluster;
use place::place;
use records::Held;

/// How many seconds an answer may be kept, also that there is none: `CoreDNS`' figure for a cluster's names.
pub(crate) const TTL: u32 = 5;

/// How many aliases are followed: one Service may name another, and two may name each other.
const ALIASES_MAX: usize = 8;

/// No name of the zone has more labels before the zone's own.
const LABELS_MAX: usize = 5;

/// For which names the zone answers.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    /// The domain of the cluster's names, absolute and in lower case.
    pub(crate) domain: Name,
    /// The ranges of addresses whose reverse names are the cluster's own.
    pub(crate) ranges: Vec<IpNet>,
}

/// All names of a cluster.
pub(crate) struct Zone {
    authority: Arc<Authority>,
    /// Tells it from earlier ones.
    serial: u32,
    cluster: Cluster,
}

/// What the zone says to a question.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The records asked for, after the aliases that led to them.
    pub(crate) records: Vec<Record>,
    /// Records that the client is likely to ask for next.
    pub(crate) additionals: Vec<Record>,
    /// Why there are none.
    pub(crate) absent: Option<Absent>,
    /// Where the last alias leads, if that is outside the zone.
    pub(crate) onward: Option<Name>,
}

/// Why there are no records.
#[derive(Debug)]
pub(crate) enum Absent {
    /// The name exists, but has no record of this type.
    Data(Record),
    /// No such name. The record says which zone says so.
    Name(Record),
}

/// What the zone has for a name that is looked up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Addresses(Vec<IpAddr>),
    /// It is another name for one outside.
    Outside(Name),
    Nothing,
}

/// Whose a name is.
enum Realm {
    Cluster,
    Localhost,
    Reverse(IpNet),
}

impl Zone {
    /// The zone of one moment.
    pub(crate) fn new(authority: Arc<Authority>, serial: u32, cluster: Cluster) -> Self {
        Self { authority, serial, cluster }
    }

    /// Whether only this zone may answer for the name.
    pub(crate) fn is_ours(&self, name: &Name) -> bool {
        self.realm(name).is_some()
    }

    /// The answer to a question, or nothing if the name is not ours.
    pub(crate) fn answer(&self, name: &Name, kind: RecordType) -> Option<Answer> {
        let mut realm = self.realm(name)?;
        let mut answer = Answer::default();
        let mut name = name.clone();
        for _ in 0..ALIASES_MAX {
            match self.held(&realm, &name, kind) {
                Held::Nothing => {
                    answer.absent = Some(Absent::Name(self.denial(&realm, &name)));
                    return Some(answer);
                }
                Held::Records(records, _) if records.is_empty() => {
                    answer.absent = Some(Absent::Data(self.denial(&realm, &name)));
                    return Some(answer);
                }
                Held::Records(records, additionals) => {
                    let records = records.into_iter().map(|data| Record::from_rdata(name.clone(), TTL, data));
                    answer.records.extend(records);
                    answer.additionals = additionals;
                    return Some(answer);
                }
                Held::Alias(target) => {
                    let alias = RData::CNAME(CNAME(target.clone()));
                    answer.records.push(Record::from_rdata(name, TTL, alias));
                    name = target;
                    match self.realm(&name) {
                        Some(next) => realm = next,
                        None => {
                            answer.onward = Some(name);
                            return Some(answer);
                        }
                    }
                }
            }
        }
        Some(answer)
    }

    /// The addresses of a name, as look-ups in process want them; nothing if the name is not ours.
    pub(crate) fn look_up(&self, name: &Name) -> Option<Found> {
        let mut realm = self.realm(name)?;
        let mut name = Cow::Borrowed(name);
        for _ in 0..ALIASES_MAX {
            let (first, second) = match self.held(&realm, &name, RecordType::A) {
                Held::Nothing => return Some(Found::Nothing),
                Held::Records(first, _) => (first, self.held(&realm, &name, RecordType::AAAA)),
                alias @ Held::Alias(_) => (Vec::new(), alias),
            };
            match second {
                Held::Alias(target) => name = Cow::Owned(target),
                Held::Records(second, _) => {
                    let found: Vec<IpAddr> = first.iter().chain(&second).filter_map(address_in).collect();
                    return Some(if found.is_empty() { Found::Nothing } else { Found::Addresses(found) });
                }
                Held::Nothing => return Some(Found::Nothing),
            }
            match self.realm(&name) {
                Some(next) => realm = next,
                None => return Some(Found::Outside(name.into_owned())),
            }
        }
        Some(Found::Nothing)
    }

    fn held(&self, realm: &Realm, name: &Name, kind: RecordType) -> Held {
        match realm {
            Realm::Cluster => {
                let name = name.to_lowercase();
                let Some(count) = name.iter().len().checked_sub(self.authority.domain.iter().len()) else {
                    return Held::Nothing;
                };
                let mut labels = [""; LABELS_MAX];
                let Some(places) = labels.get_mut(..count) else { return Held::Nothing };
                for (place, label) in places.iter_mut().zip(name.iter()) {
                    let Ok(label) = std::str::from_utf8(label) else { return Held::Nothing };
                    *place = label;
                }
                self.at(&place(places), kind)
            }
            Realm::Localhost if name.iter().len() > 1 => Held::Nothing,
            Realm::Localhost => Held::Records(
                match kind {
                    RecordType::A => vec![RData::A(A::new(127, 0, 0, 1))],
                    RecordType::AAAA => vec![RData::AAAA(AAAA::new(0, 0, 0, 0, 0, 0, 0, 1))],
                    _ => Vec::new(),
                },
                Vec::new(),
            ),
            Realm::Reverse(net) if net.prefix_len() == net.max_prefix_len() => self.reverse(net.addr(), kind),
            // Names of whole networks are there because of those below.
            Realm::Reverse(_) => {
                let is_apex = kind == RecordType::SOA && self.origin(realm, name).iter().len() == name.iter().len();
                Held::Records(is_apex.then(|| RData::SOA(self.soa())).into_iter().collect(), Vec::new())
            }
        }
    }

    /// Whose the name is, if it is ours.
    fn realm(&self, name: &Name) -> Option<Realm> {
        if self.authority.domain.zone_of(name) {
            return Some(Realm::Cluster);
        }
        let last = name.iter().next_back()?;
        if last.eq_ignore_ascii_case(b"localhost") {
            return Some(Realm::Localhost);
        }
        if !last.eq_ignore_ascii_case(b"arpa") {
            return None;
        }
        let net = name.parse_arpa_name().ok()?;
        let is_host = net.prefix_len() == net.max_prefix_len();
        let is_ours = net.addr().is_loopback()
            || self.authority.ranges.iter().any(|range| range.contains(&net))
            || is_host && self.cluster.owners(net.addr()).next().is_some();
        is_ours.then_some(Realm::Reverse(net))
    }

    /// Says that there is nothing, and who says so.
    fn denial(&self, realm: &Realm, name: &Name) -> Record {
        Record::from_rdata(self.origin(realm, name), TTL, RData::SOA(self.soa()))
    }

    /// Where the authority for a name begins.
    fn origin(&self, realm: &Realm, name: &Name) -> Name {
        match realm {
            Realm::Cluster => self.authority.domain.clone(),
            Realm::Localhost => name.trim_to(1),
            Realm::Reverse(net) => {
                let range = self.authority.ranges.iter().find(|range| range.contains(net));
                name.trim_to(reverse_labels(range, net.addr()))
            }
        }
    }

    fn soa(&self) -> SOA {
        let domain = &self.authority.domain;
        let under = |labels: &[&str]| {
            let name = Name::from_labels(labels.iter().map(|label| label.as_bytes()));
            name.and_then(|name| name.append_domain(domain)).unwrap_or_else(|_| domain.clone())
        };
        SOA::new(under(&["ns", "dns"]), under(&["hostmaster"]), self.serial, 7200, 1800, 86_400, TTL)
    }
}

/// The address that a record has, if it has one.
pub(crate) fn address_in(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}

/// How many labels the reverse zone of a range has: `43.127.in-addr.arpa` is that of `127.43.0.0/16`.
fn reverse_labels(range: Option<&IpNet>, ip: IpAddr) -> usize {
    let prefix = usize::from(range.map_or(8, IpNet::prefix_len));
    2 + prefix / if ip.is_ipv4() { 8 } else { 4 }
}

#[cfg(test)]
mod tests;
