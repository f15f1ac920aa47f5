//! Look-ups in process: the search path of a pod's namespace, then the world outside.
//!
//! The whole search path costs no round trip. A name that only a cluster could have, a single label or one that ends
//! in `.svc`, is never asked outside.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::meet::Resolver;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::forward::Forwarder;
use crate::zone::Zone;
use crate::zones::Zones;

/// Looks names up as a pod would.
pub(crate) struct Lookup {
    pub(crate) domain: Name,
    pub(crate) zones: Arc<Zones>,
    pub(crate) forwarder: Arc<Forwarder>,
}

#[async_trait]
impl Resolver for Lookup {
    async fn lookup(&self, name: &str, namespace: &str) -> Vec<IpAddr> {
        if let Ok(ip) = name.parse() {
            return vec![ip];
        }
        let Ok(asked) = Name::from_utf8(name) else { return Vec::new() };
        let zone = self.zones.whole().await;
        for candidate in candidates(&asked, namespace, &self.domain) {
            match in_zone(&zone, &candidate) {
                Found::Addresses(addresses) => return addresses,
                Found::Outside(name) => return self.outside(&name).await,
                Found::Nothing => {}
            }
        }
        Vec::new()
    }
}

impl Lookup {
    async fn outside(&self, name: &Name) -> Vec<IpAddr> {
        if !may_leave(name) {
            return Vec::new();
        }
        let (v4, v6) =
            tokio::join!(self.forwarder.ask(name, RecordType::A), self.forwarder.ask(name, RecordType::AAAA));
        let answers = |asked: Result<hickory_proto::op::Message, _>| match asked {
            Ok(message) => addresses(&message.answers),
            Err(error) => {
                tracing::debug!(%error, %name, "a name outside was not found");
                Vec::new()
            }
        };
        [answers(v4), answers(v6)].concat()
    }
}

/// What the zone has for a name.
enum Found {
    Addresses(Vec<IpAddr>),
    Outside(Name),
    Nothing,
}

fn in_zone(zone: &Zone, name: &Name) -> Found {
    let mut found = Vec::new();
    for kind in [RecordType::A, RecordType::AAAA] {
        match zone.answer(name, kind) {
            None => return Found::Outside(name.clone()),
            Some(answer) => match answer.onward {
                Some(target) => return Found::Outside(target),
                None => found.extend(addresses(&answer.records)),
            },
        }
    }
    if found.is_empty() { Found::Nothing } else { Found::Addresses(found) }
}

/// The full names that `asked` may mean, in the order of a pod's `resolv.conf`.
fn candidates(asked: &Name, namespace: &str, domain: &Name) -> Vec<Name> {
    let mut names = Vec::new();
    if !asked.is_fqdn() {
        let services = domain.prepend_label("svc").ok();
        let own = services.as_ref().and_then(|services| services.prepend_label(namespace).ok());
        let search = [own.as_ref(), services.as_ref(), Some(domain)].into_iter().flatten();
        names.extend(search.filter_map(|suffix| asked.clone().append_domain(suffix).ok()));
    }
    let mut absolute = asked.clone();
    absolute.set_fqdn(true);
    names.push(absolute);
    names
}

/// Whether a name outside the cluster domain may be asked outside.
fn may_leave(name: &Name) -> bool {
    name.num_labels() > 1 && name.iter().next_back().is_some_and(|last| !last.eq_ignore_ascii_case(b"svc"))
}

fn addresses(records: &[Record]) -> Vec<IpAddr> {
    let address = |record: &Record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    };
    records.iter().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_name_is_searched_and_an_absolute_one_is_not() {
        let domain = Name::from_ascii("cluster.local.").unwrap();
        let names = |asked: &str| -> Vec<String> {
            candidates(&Name::from_ascii(asked).unwrap(), "shop", &domain).iter().map(ToString::to_string).collect()
        };
        assert_eq!(names("db"), ["db.shop.svc.cluster.local.", "db.svc.cluster.local.", "db.cluster.local.", "db."]);
        assert_eq!(names("example.com.").as_slice(), ["example.com."]);
        assert_eq!(names("a.b").last().unwrap(), "a.b.");
    }

    #[test]
    fn what_only_a_cluster_could_mean_stays() {
        let may = |name: &str| may_leave(&Name::from_ascii(name).unwrap());
        assert!(may("example.com."));
        assert!(!may("db."));
        assert!(!may("db.default.SVC."));
    }
}
