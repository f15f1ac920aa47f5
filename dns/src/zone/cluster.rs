//! What of a cluster has a name: Services, their ready endpoints, namespaces.
//!
//! Invariant: a copy is one moment of the cluster and never changes. Copies are cheap, for they share what is the
//! same, so that each change of the cluster can be the next moment at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use coracle_api::wellknown::LABEL_SERVICE_NAME;
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice};
use rpds::{HashTrieMapSync, HashTrieSetSync};

/// A Service's name and namespace as they stand in DNS: `web.default`, in lower case.
pub(crate) type Key = Arc<str>;

/// The key of a Service.
pub(crate) fn key(name: &str, namespace: &str) -> Key {
    format!("{name}.{namespace}").into()
}

/// One moment of a cluster.
#[derive(Clone, Default)]
pub(crate) struct Cluster {
    services: HashTrieMapSync<Key, Arc<Named>>,
    namespaces: HashTrieSetSync<Box<str>>,
    /// The Services that have an address, as theirs or an endpoint's.
    owners: HashTrieMapSync<IpAddr, Arc<[Key]>>,
}

/// A Service and the ready endpoints of its slices. Slices may be known before it, and stay after it.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) asked: Option<Arc<Asked>>,
    slices: Vec<(Box<str>, Arc<Group>)>,
}

/// What a Service asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) kind: Kind,
    pub(crate) ports: Box<[Port]>,
}

/// By what a Service is found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By these addresses of its own.
    ClusterIps(Box<[IpAddr]>),
    /// By those of its endpoints.
    Headless,
    /// By another name.
    External(Name),
}

/// The ready endpoints of a slice, which have these ports.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) ports: Box<[Port]>,
    pub(crate) endpoints: Box<[Endpoint]>,
}

/// A port; a name is not always given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: Box<str>,
    /// In lower case.
    pub(crate) protocol: Box<str>,
    pub(crate) number: u16,
}

/// Somebody who is ready at an address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) ip: IpAddr,
    hostname: Option<Box<str>>,
}

impl Cluster {
    /// The Service, if it is known.
    pub(crate) fn service(&self, key: &str) -> Option<&Named> {
        self.services.get(key).map(AsRef::as_ref).filter(|named| named.asked.is_some())
    }

    /// Whether there is such a namespace.
    pub(crate) fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains(name)
    }

    /// The Services that have the address, as theirs or an endpoint's.
    pub(crate) fn owners(&self, ip: IpAddr) -> impl Iterator<Item = (&str, &Named)> {
        let keys = self.owners.get(&ip).map_or(&[][..], AsRef::as_ref);
        keys.iter().filter_map(|key| Some((key.as_ref(), self.service(key)?)))
    }

    /// Notes that a namespace is there, or is not.
    pub(crate) fn put_namespace(&mut self, name: &str, is_there: bool) {
        if is_there {
            self.namespaces.insert_mut(name.into());
        } else {
            self.namespaces.remove_mut(name);
        }
    }

    /// Notes what a Service asks for; nothing if it is gone.
    pub(crate) fn put_service(&mut self, key: &Key, asked: Option<Asked>) {
        self.change(key, |named| named.asked = asked.map(Arc::new));
    }

    /// Notes what a slice of a Service has; nothing if it is gone.
    pub(crate) fn put_slice(&mut self, key: &Key, slice: &str, group: Option<Group>) {
        self.change(key, |named| {
            let at = named.slices.binary_search_by(|(name, _)| name.as_ref().cmp(slice));
            match (at, group) {
                (Ok(at), None) => drop(named.slices.remove(at)),
                (Ok(at), Some(group)) => {
                    if let Some((_, known)) = named.slices.get_mut(at) {
                        *known = Arc::new(group);
                    }
                }
                (Err(at), Some(group)) => named.slices.insert(at, (slice.into(), Arc::new(group))),
                (Err(_), None) => {}
            }
        });
    }

    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Named)) {
        let before = self.services.get(key).map(|named| Named::clone(named)).unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return;
        }
        let (old, new) = (before.addresses(), after.addresses());
        for ip in old.difference(&new) {
            self.disown(*ip, key);
        }
        for ip in new.difference(&old) {
            let others = self.owners.get(ip).map_or(&[][..], AsRef::as_ref);
            self.owners.insert_mut(*ip, others.iter().chain([key]).cloned().collect());
        }
        if after == Named::default() {
            self.services.remove_mut(key);
        } else {
            self.services.insert_mut(Arc::clone(key), Arc::new(after));
        }
    }

    fn disown(&mut self, ip: IpAddr, key: &Key) {
        let Some(owners) = self.owners.get(&ip) else { return };
        let others: Arc<[Key]> = owners.iter().filter(|owner| *owner != key).cloned().collect();
        if others.is_empty() {
            self.owners.remove_mut(&ip);
        } else {
            self.owners.insert_mut(ip, others);
        }
    }
}

impl Named {
    /// The ready endpoints, with the ports that they have.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (&Endpoint, &[Port])> {
        let groups = self.slices.iter().map(|(_, group)| group);
        groups.flat_map(|group| group.endpoints.iter().map(|endpoint| (endpoint, group.ports.as_ref())))
    }

    /// The ports of all slices.
    pub(crate) fn endpoint_ports(&self) -> impl Iterator<Item = &Port> {
        self.slices.iter().filter(|(_, group)| !group.endpoints.is_empty()).flat_map(|(_, group)| group.ports.iter())
    }

    fn addresses(&self) -> BTreeSet<IpAddr> {
        let own = match self.asked.as_deref() {
            Some(Asked { kind: Kind::ClusterIps(ips), .. }) => ips.as_ref(),
            _ => &[],
        };
        own.iter().copied().chain(self.endpoints().map(|(endpoint, _)| endpoint.ip)).collect()
    }
}

impl Asked {
    /// What a Service asks for; nothing without a specification that has a meaning here.
    pub(crate) fn of(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let kind = if spec.type_.as_deref() == Some("ExternalName") {
            let mut target = Name::from_ascii(spec.external_name.as_deref()?).ok()?;
            target.set_fqdn(true);
            Kind::External(target)
        } else if spec.cluster_ip.as_deref() == Some("None") {
            Kind::Headless
        } else {
            Kind::ClusterIps(cluster_ips(spec))
        };
        let ports = spec.ports.iter().flatten();
        let ports = ports.filter_map(|port| Port::of(port.name.as_deref(), port.protocol.as_deref(), port.port));
        Some(Self { kind, ports: ports.collect() })
    }
}

impl Group {
    /// The ready endpoints of a slice.
    pub(crate) fn of(slice: &EndpointSlice) -> Self {
        let ports = slice.ports.iter().flatten();
        let ports = ports
            .filter_map(|port| Port::of(port.name.as_deref(), port.protocol.as_deref(), port.port.unwrap_or_default()));
        let is_ready = |endpoint: &&ApiEndpoint| endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
        let endpoints = slice.endpoints.iter().flatten().filter(is_ready).flat_map(|endpoint| {
            let hostname = endpoint.hostname.as_deref().filter(|name| !name.is_empty());
            let ips = endpoint.addresses.iter().filter_map(|text| text.parse().ok());
            ips.map(move |ip| Endpoint { ip, hostname: hostname.map(Into::into) })
        });
        Self { ports: ports.collect(), endpoints: endpoints.collect() }
    }
}

/// The Service that a slice belongs to, if any.
pub(crate) fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.metadata.labels.as_ref()?.get(LABEL_SERVICE_NAME)?;
    Some(key(name, slice.metadata.namespace.as_deref().unwrap_or_default()))
}

impl Port {
    fn of(name: Option<&str>, protocol: Option<&str>, number: i32) -> Option<Self> {
        let protocol = protocol.unwrap_or("TCP").to_ascii_lowercase().into();
        Some(Self { name: name.unwrap_or_default().into(), protocol, number: u16::try_from(number).ok()? })
    }
}

impl Endpoint {
    /// Its label under the Service: its host name, or one made of its address as `CoreDNS` does.
    pub(crate) fn label(&self) -> String {
        let made = || self.ip.to_string().replace(['.', ':'], "-");
        self.hostname.as_deref().map_or_else(made, str::to_owned)
    }

    /// Whether that is its label, without making it.
    pub(crate) fn is_labelled(&self, label: &str) -> bool {
        match (&self.hostname, self.ip) {
            (Some(hostname), _) => hostname.eq_ignore_ascii_case(label),
            (None, IpAddr::V4(ip)) => made_of(label, '.') == Some(ip.into()),
            (None, IpAddr::V6(_)) => self.label().eq_ignore_ascii_case(label),
        }
    }
}

/// The address that a label with dashes is made of.
pub(crate) fn made_of(label: &str, separator: char) -> Option<IpAddr> {
    label.replace('-', separator.encode_utf8(&mut [0; 4])).parse().ok()
}

fn cluster_ips(spec: &ServiceSpec) -> Box<[IpAddr]> {
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    let texts = if all.is_empty() { spec.cluster_ip.as_slice() } else { all };
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group(ips: &[&str]) -> Group {
        let endpoints: Vec<_> = ips.iter().map(|ip| json!({ "addresses": [ip] })).collect();
        let slice = json!({ "metadata": {}, "addressType": "IPv4", "ports": [], "endpoints": endpoints });
        Group::of(&serde_json::from_value(slice).unwrap())
    }

    fn owners(cluster: &Cluster, ip: &str) -> Vec<String> {
        cluster.owners(ip.parse().unwrap()).map(|(key, _)| key.to_owned()).collect()
    }

    #[test]
    fn an_address_has_owners_as_long_as_a_service_or_a_slice_has_it() {
        let mut cluster = Cluster::default();
        let (a, b) = (key("a", "default"), key("b", "default"));
        let headless = || Some(Asked { kind: Kind::Headless, ports: Box::default() });
        cluster.put_slice(&a, "a-1", Some(group(&["10.0.0.1", "10.0.0.2"])));
        assert_eq!(owners(&cluster, "10.0.0.1"), [""; 0], "the Service is not known yet");
        cluster.put_service(&a, headless());
        cluster.put_service(&b, headless());
        cluster.put_slice(&b, "b-1", Some(group(&["10.0.0.1"])));
        assert_eq!(owners(&cluster, "10.0.0.1"), ["a.default", "b.default"]);
        let earlier = cluster.clone();
        cluster.put_slice(&a, "a-2", Some(group(&["10.0.0.1"])));
        cluster.put_slice(&a, "a-1", None);
        assert_eq!(owners(&cluster, "10.0.0.1"), ["a.default", "b.default"]);
        assert_eq!(owners(&cluster, "10.0.0.2"), [""; 0]);
        cluster.put_slice(&a, "a-2", None);
        cluster.put_service(&a, None);
        assert_eq!(owners(&cluster, "10.0.0.1"), ["b.default"]);
        assert!(cluster.service("a.default").is_none());
        assert_eq!(owners(&earlier, "10.0.0.2"), ["a.default"], "a copy stays as it was");
    }

    #[test]
    fn an_endpoint_without_a_host_name_is_called_by_its_address() {
        let endpoint =
            |ip: &str, hostname: Option<&str>| Endpoint { ip: ip.parse().unwrap(), hostname: hostname.map(Into::into) };
        assert_eq!(endpoint("10.1.0.4", None).label(), "10-1-0-4");
        assert!(endpoint("10.1.0.4", None).is_labelled("10-1-0-4"));
        assert!(!endpoint("10.1.0.4", None).is_labelled("10-1-0-5"));
        assert_eq!(endpoint("fd00::4", None).label(), "fd00--4");
        assert!(endpoint("fd00::4", None).is_labelled("FD00--4"));
        assert!(endpoint("10.1.0.4", Some("db-0")).is_labelled("DB-0"));
        assert!(!endpoint("10.1.0.4", Some("db-0")).is_labelled("10-1-0-4"));
    }
}
