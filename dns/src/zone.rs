//! The cluster's zone: what each name means, as made from one snapshot of Services and EndpointSlices.
//!
//! Invariant: a zone never changes; the next snapshot makes the next zone. It answers for the cluster domain, for the
//! reverse of local addresses and for `localhost`, whether it knows the name or not, so that none of them leaks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

mod records;

/// How many seconds an answer may be kept, also that there is none: CoreDNS' figure for a cluster's names.
const TTL: u32 = 5;

/// How many aliases are followed: one Service may name another, and two may name each other.
const ALIASES_MAX: usize = 8;

/// All names of a cluster.
pub(crate) struct Zone {
    domain: Name,
    soa: SOA,
    names: HashMap<LowerName, Vec<RData>>,
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

impl Zone {
    /// The zone `domain`, made from these objects; `serial` tells it from earlier ones.
    pub(crate) fn new<'a>(
        domain: &Name,
        serial: u32,
        services: impl IntoIterator<Item = &'a Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
    ) -> Self {
        let under = |label: &str| domain.prepend_label(label).unwrap_or_else(|_| domain.clone());
        let soa = SOA::new(under("dns"), under("hostmaster"), serial, 7200, 1800, 86_400, TTL);
        let mut zone = Self { domain: domain.clone(), soa: soa.clone(), names: HashMap::new() };
        zone.add(domain.clone(), RData::SOA(soa));
        zone.add_localhost();
        records::add(&mut zone, services, slices);
        zone
    }

    /// Whether only this zone may answer for the name.
    pub(crate) fn is_ours(&self, name: &Name) -> bool {
        self.origin(name).is_some()
    }

    /// The answer to a question, or nothing if the name is not ours.
    pub(crate) fn answer(&self, name: &Name, kind: RecordType) -> Option<Answer> {
        let mut origin = self.origin(name)?;
        let mut answer = Answer::default();
        let mut name = name.clone();
        for _ in 0..ALIASES_MAX {
            let Some(known) = self.names.get(&LowerName::new(&name)) else {
                answer.absent = Some(Absent::Name(self.authority(origin)));
                return Some(answer);
            };
            let fits = |data: &&RData| kind == RecordType::ANY || data.record_type() == kind;
            let record = |data: &RData| Record::from_rdata(name.clone(), TTL, data.clone());
            let before = answer.records.len();
            answer.records.extend(known.iter().filter(fits).map(record));
            if answer.records.len() > before {
                answer.additionals = self.targets(&answer.records);
                return Some(answer);
            }
            let alias = known.iter().find_map(|data| if let RData::CNAME(to) = data { Some(to) } else { None });
            let Some(CNAME(target)) = alias else {
                answer.absent = Some(Absent::Data(self.authority(origin)));
                return Some(answer);
            };
            answer.records.push(Record::from_rdata(name.clone(), TTL, RData::CNAME(CNAME(target.clone()))));
            name = target.clone();
            match self.origin(&name) {
                Some(next) => origin = next,
                None => {
                    answer.onward = Some(name);
                    return Some(answer);
                }
            }
        }
        Some(answer)
    }

    /// The addresses of the targets of SRV records.
    fn targets(&self, records: &[Record]) -> Vec<Record> {
        let target = |record: &Record| if let RData::SRV(srv) = &record.data { Some(srv.target.clone()) } else { None };
        let mut targets: Vec<Name> = records.iter().filter_map(target).collect();
        targets.sort_unstable();
        targets.dedup();
        let addresses = |name: Name| {
            let known = self.names.get(&LowerName::new(&name)).into_iter().flatten();
            let addresses = known.filter(|data| matches!(data, RData::A(_) | RData::AAAA(_)));
            addresses.map(|data| Record::from_rdata(name.clone(), TTL, data.clone())).collect::<Vec<_>>()
        };
        targets.into_iter().flat_map(addresses).collect()
    }

    /// Where the authority for the name begins, if it is ours.
    fn origin(&self, name: &Name) -> Option<Name> {
        if self.domain.zone_of(name) {
            return Some(self.domain.clone());
        }
        let last = name.iter().next_back()?.to_ascii_lowercase();
        match &*last {
            b"localhost" => Some(name.trim_to(1)),
            b"arpa" if is_reverse_of_local(name) => Some(name.trim_to(2)),
            _ => None,
        }
    }

    fn authority(&self, origin: Name) -> Record {
        Record::from_rdata(origin, TTL, RData::SOA(self.soa.clone()))
    }

    /// Adds a record, unless the name has it already; the names between it and the zone's own exist by that, too.
    fn add(&mut self, name: Name, data: RData) {
        if self.domain.zone_of(&name) {
            let mut parent = name.base_name();
            while parent.num_labels() > self.domain.num_labels() {
                self.names.entry(LowerName::new(&parent)).or_default();
                parent = parent.base_name();
            }
        }
        let known = self.names.entry(LowerName::new(&name)).or_default();
        if !known.contains(&data) {
            known.push(data);
        }
    }

    fn add_localhost(&mut self) {
        if let Ok(name) = Name::from_ascii("localhost.") {
            self.add(name.clone(), RData::A(A(Ipv4Addr::LOCALHOST)));
            self.add(name, RData::AAAA(AAAA(Ipv6Addr::LOCALHOST)));
        }
    }
}

/// Whether the name is the reverse of an address that has no meaning outside: loopback, private or link-local.
/// Resolvers of the world must not be asked about these (RFC 6303), and a cluster's addresses are among them.
fn is_reverse_of_local(name: &Name) -> bool {
    match name.parse_arpa_name().map(|net| net.addr()) {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
