//! Look-ups in process: what a pod's search path makes of a name, in the cluster's zone and in the world outside.
//!
//! A name of the cluster costs no round trip and no packet, however long the search path is. One that only a cluster
//! could have, a single label or one that ends in `.svc`, is never asked outside.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use coracle_api::meet::{NameServer, PodNames, Resolver};
use hickory_proto::rr::{Name, RecordType};

use crate::counts::Counts;
use crate::forward::Forwarder;
use crate::zone::{Found, Zone, address_in};
use crate::zones::Zones;

/// How long a label of a name may be (RFC 1035, section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Looks names up as a pod would.
pub(crate) struct Lookup {
    pub(crate) zones: Arc<Zones>,
    pub(crate) forwarder: Arc<Forwarder>,
    /// Whose turn it is to come first, for who takes the first address.
    pub(crate) turn: AtomicUsize,
    pub(crate) counts: Arc<Counts>,
}

#[async_trait]
impl Resolver for Lookup {
    async fn lookup(&self, name: &str, pod: &PodNames) -> Vec<IpAddr> {
        self.counts.looked_up();
        if let Ok(ip) = name.parse() {
            return vec![ip];
        }
        let Some(asked) = Asked::of(name) else { return Vec::new() };
        let knows_cluster = pod.servers.contains(&NameServer::Cluster);
        let zone = if knows_cluster { self.zones.whole().await } else { self.zones.current() };
        for candidate in candidates(&asked, pod) {
            match zone.look_up(&candidate.text) {
                Some(Found::Addresses(addresses)) if knows_cluster => return self.turned(addresses),
                Some(Found::Outside(target)) if knows_cluster => return self.outside(&target, pod).await,
                None if may_leave(&zone, &asked, &candidate, knows_cluster) => {
                    let Ok(name) = Name::from_ascii(format!("{}.", candidate.text)) else { continue };
                    let found = self.outside(&name, pod).await;
                    if !found.is_empty() {
                        return found;
                    }
                }
                Some(Found::Addresses(_) | Found::Outside(_) | Found::Nothing) | None => {}
            }
        }
        Vec::new()
    }
}

impl Lookup {
    async fn outside(&self, name: &Name, pod: &PodNames) -> Vec<IpAddr> {
        let Some(narrowed) = &pod.outside else { return self.ask(name, pod).await };
        let text = name.to_utf8();
        if !narrowed.may_ask(&text) {
            return Vec::new();
        }
        let found = self.ask(name, pod).await;
        narrowed.learn(&text, &found);
        found
    }

    async fn ask(&self, name: &Name, pod: &PodNames) -> Vec<IpAddr> {
        let ask = async |kind| self.forwarder.ask_of(&pod.servers, name, kind).await;
        let (v4, v6) = tokio::join!(ask(RecordType::A), ask(RecordType::AAAA));
        let answers = |asked: Result<hickory_proto::op::Message, _>| match asked {
            Ok(message) => message.answers.iter().filter_map(|record| address_in(&record.data)).collect(),
            Err(error) => {
                tracing::debug!(%error, %name, "a name outside was not found");
                Vec::new()
            }
        };
        [answers(v4), answers(v6)].concat()
    }

    /// Lets another address come first each time.
    fn turned(&self, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        if addresses.len() > 1 {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(first);
        }
        addresses
    }
}

/// A name as it is looked up, in lower case.
struct Asked<'a> {
    text: Cow<'a, str>,
    /// It was written with a dot at its end, so that it is not searched.
    is_absolute: bool,
}

/// A full name that the one asked for may mean.
#[derive(Debug, PartialEq, Eq)]
struct Candidate<'a> {
    /// In lower case, without its last dot.
    text: Cow<'a, str>,
    /// The name was sought in a domain of the search path.
    is_searched: bool,
}

impl<'a> Asked<'a> {
    /// Reads a name as people write it, also in letters of their own; nothing if no host can have it.
    fn of(name: &'a str) -> Option<Self> {
        let (text, is_absolute) = name.strip_suffix('.').map_or((name, false), |text| (text, true));
        let text = if text.is_ascii() { lower(text) } else { Name::from_utf8(text).ok()?.to_ascii().into() };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &str| (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(is_plain);
        text.split('.').all(is_label).then_some(Self { text, is_absolute })
    }
}

/// The full names that `asked` may mean, in the order of a pod's `resolv.conf`.
fn candidates<'a>(asked: &'a Asked<'_>, pod: &'a PodNames) -> impl Iterator<Item = Candidate<'a>> {
    let absolute = Candidate { text: Cow::Borrowed(&*asked.text), is_searched: false };
    let search = if asked.is_absolute { &[][..] } else { &pod.search };
    let searched = search.iter().map(|domain| {
        let text = match lower(domain.trim_end_matches('.')) {
            root if root.is_empty() => Cow::Borrowed(&*asked.text),
            domain => [&*asked.text, ".", &*domain].concat().into(),
        };
        Candidate { text, is_searched: true }
    });
    let dots = asked.text.matches('.').count();
    let (before, after) = if dots >= pod.ndots { (Some(absolute), None) } else { (None, Some(absolute)) };
    before.into_iter().chain(searched).chain(after)
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() }
}

/// Whether a name that is not the zone's may be asked outside. The search path of a name that can only be the
/// cluster's does not lead there either.
fn may_leave(zone: &Zone, asked: &Asked<'_>, candidate: &Candidate<'_>, knows_cluster: bool) -> bool {
    let (rest, last) = asked.text.rsplit_once('.').unwrap_or(("", &*asked.text));
    if last == "svc" || zone.is_ours(&asked.text) {
        return false;
    }
    candidate.is_searched || !knows_cluster || !rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::Authority;
    use crate::zone::cluster::Cluster;

    fn pod(ndots: usize) -> PodNames {
        let mut pod = PodNames::of_namespace("shop", "cluster.local");
        pod.search.push("corp.example".to_owned());
        PodNames { ndots, ..pod }
    }

    fn names(asked: &str, ndots: usize) -> Vec<String> {
        let asked = Asked::of(asked).unwrap();
        candidates(&asked, &pod(ndots)).map(|candidate| candidate.text.into_owned()).collect()
    }

    #[test]
    fn a_relative_name_is_searched_and_an_absolute_one_is_not() {
        assert_eq!(
            names("db", 5),
            ["db.shop.svc.cluster.local", "db.svc.cluster.local", "db.cluster.local", "db.corp.example", "db"]
        );
        assert_eq!(names("example.com.", 5), ["example.com"]);
        assert_eq!(names("a.b", 5).last().unwrap(), "a.b");
        assert_eq!(names("a.b", 1).first().unwrap(), "a.b", "it has dots enough");
        assert_eq!(names("a.b", 1).len(), 5);
    }

    #[test]
    fn a_name_is_read_in_lower_case_and_refused_if_no_host_can_have_it() {
        let read = |name: &str| Asked::of(name).map(|asked| asked.text.into_owned());
        assert_eq!(read("Web.Default.").unwrap(), "web.default");
        assert_eq!(read("b\u{fc}cher.example").unwrap(), "xn--bcher-kva.example");
        let long = "a".repeat(LABEL_BYTES_MAX + 1);
        for wrong in ["", ".", "a..b", ".a", "a b", "a\\.b", "a/b", long.as_str()] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_only_a_cluster_could_mean_stays() {
        let authority = Authority::new(Name::from_ascii("cluster.local.").unwrap(), Vec::new());
        let zone = Zone::new(Arc::new(authority), 0, Cluster::default());
        let leaves = |asked: &str, knows_cluster| -> Vec<String> {
            let asked = Asked::of(asked).unwrap();
            let leave = |c: &Candidate<'_>| !zone.is_ours(&c.text) && may_leave(&zone, &asked, c, knows_cluster);
            candidates(&asked, &pod(5)).filter(leave).map(|candidate| candidate.text.into_owned()).collect()
        };
        assert_eq!(leaves("example.com", true), ["example.com.corp.example", "example.com"]);
        assert_eq!(leaves("db", true), ["db.corp.example"]);
        assert_eq!(leaves("db", false), ["db.corp.example", "db"], "the host's resolvers know such names");
        for cluster in ["db.default.SVC", "db.default.svc.cluster.local", "db.default.svc.cluster.local."] {
            assert!(leaves(cluster, true).is_empty() && leaves(cluster, false).is_empty(), "{cluster}");
        }
    }
}
