//! The cluster's zone: what each name means at one moment.
//!
//! Invariant: a zone never changes; the next moment of the cluster is the next zone. It answers for the cluster domain,
//! for the reverse of the cluster's addresses and for `localhost`, whether it knows the name or not, so that none of
//! them leaks.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use ipnet::IpNet;

pub(crate) mod cluster;
mod place;
mod records;

use cluster::Cluster;
use place::place;
use records::{Held, Meant};

/// How many seconds an answer may be kept, also that there is none: `CoreDNS`' figure for a cluster's names.
pub(crate) const TTL: u32 = 5;

/// The name that is this machine's own everywhere.
const LOCALHOST: &str = "localhost";

/// How many aliases are followed: one Service may name another, and two may name each other.
const ALIASES_MAX: usize = 8;

/// How many bytes most names of the zone have before the zone's own: those of a Service.
const BEFORE_BYTES: usize = 64;

/// For which names the zone answers.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    /// The domain of the cluster's names, absolute and in lower case.
    domain: Name,
    /// The same without its last dot.
    text: String,
    /// The ranges of addresses whose reverse names are the cluster's own.
    ranges: Vec<IpNet>,
}

impl Authority {
    /// Answers for an absolute domain in lower case, and for the reverse names of the ranges.
    pub(crate) fn new(domain: Name, ranges: Vec<IpNet>) -> Self {
        let text = domain.to_ascii().trim_end_matches('.').to_owned();
        Self { domain, text, ranges }
    }
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

    /// Whether only this zone may answer for the name, which is in lower case and without its last dot.
    pub(crate) fn is_ours(&self, text: &str) -> bool {
        self.before(text).is_some()
            || match text.rsplit_once('.').map_or(text, |(_, last)| last) {
                LOCALHOST => true,
                "arpa" => Name::from_ascii(format!("{text}.")).is_ok_and(|name| self.realm(&name).is_some()),
                _ => false,
            }
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

    /// The addresses of a name, as look-ups in process want them; nothing if the name is not ours. The name is in lower
    /// case and without its last dot.
    pub(crate) fn look_up(&self, text: &str) -> Option<Found> {
        let mut text = Cow::Borrowed(text);
        for _ in 0..ALIASES_MAX {
            let Some(before) = self.before(&text) else {
                return match text.as_ref() {
                    LOCALHOST => Some(Found::Addresses(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])),
                    _ => self.is_ours(&text).then_some(Found::Nothing),
                };
            };
            match self.meant(&place(before)) {
                Meant::Addresses(ips) if !ips.is_empty() => {
                    let mut ips = ips.into_owned();
                    ips.sort_by_key(IpAddr::is_ipv6);
                    return Some(Found::Addresses(ips));
                }
                Meant::Addresses(_) | Meant::Nothing => return Some(Found::Nothing),
                Meant::Alias(target) if self.realm(target).is_none() => return Some(Found::Outside(target.clone())),
                Meant::Alias(target) => {
                    text = Cow::Owned(target.to_lowercase().to_ascii().trim_end_matches('.').to_owned());
                }
            }
        }
        Some(Found::Nothing)
    }

    fn held(&self, realm: &Realm, name: &Name, kind: RecordType) -> Held {
        match realm {
            Realm::Cluster => self.text_before(name).map_or(Held::Nothing, |before| self.at(&place(&before), kind)),
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

    /// What a name in lower case has before the cluster's domain, if it is in that.
    fn before<'a>(&self, text: &'a str) -> Option<&'a str> {
        let rest = text.strip_suffix(self.authority.text.as_str())?;
        if rest.is_empty() { Some(rest) } else { rest.strip_suffix('.') }
    }

    /// What a name has before the cluster's domain, in lower case; nothing if it has what no name in a cluster has.
    fn text_before(&self, name: &Name) -> Option<String> {
        let count = name.iter().len().checked_sub(self.authority.domain.iter().len())?;
        let mut text = Vec::with_capacity(BEFORE_BYTES);
        for label in name.iter().take(count) {
            if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
                return None;
            }
            if !text.is_empty() {
                text.push(b'.');
            }
            text.extend_from_slice(label);
        }
        text.make_ascii_lowercase();
        String::from_utf8(text).ok()
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
