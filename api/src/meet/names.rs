//! Where a node agent meets the names of the cluster: what a pod's look-ups are made of, and who answers them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use async_trait::async_trait;

use crate::outside::Outside;

/// Who is asked for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameServer {
    /// The cluster's own, which asks the host's resolvers about names outside.
    Cluster,
    /// Another, at port 53.
    At(IpAddr),
}

/// What names mean in a pod: what its `/etc/hosts` and `/etc/resolv.conf` say. Made once for each pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodNames {
    /// What it is called.
    pub hostname: String,
    /// The names that it knows without asking, beside `localhost`: its own, and its `hostAliases`.
    pub hosts: Vec<(IpAddr, Vec<String>)>,
    /// Who is asked, in this order: the next one if one does not answer.
    pub servers: Vec<NameServer>,
    /// The domains in which a relative name is sought.
    pub search: Vec<String>,
    /// A name with at least so many dots is first sought as it is.
    pub ndots: usize,
    /// What the pod may reach outside, where that is narrowed: names of other hosts are not asked for, and the
    /// addresses of these are remembered.
    pub outside: Option<Arc<Outside>>,
}

impl PodNames {
    /// The names of a pod in `namespace` that says nothing about them: policy `ClusterFirst`.
    #[must_use]
    pub fn of_namespace(namespace: &str, domain: &str) -> Self {
        Self {
            hostname: String::new(),
            hosts: Vec::new(),
            servers: vec![NameServer::Cluster],
            search: vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()],
            ndots: NDOTS,
            outside: None,
        }
    }

    /// The addresses that the pod knows for `name` without asking: those of `/etc/hosts`. An address is its own name.
    #[must_use]
    pub fn known(&self, name: &str) -> Vec<IpAddr> {
        if let Ok(ip) = name.parse() {
            return vec![ip];
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.eq_ignore_ascii_case("localhost") {
            return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        let has = |(_, names): &&(IpAddr, Vec<String>)| names.iter().any(|one| one.eq_ignore_ascii_case(name));
        self.hosts.iter().filter(has).map(|(ip, _)| *ip).collect()
    }
}

/// How many dots make a name absolute in the cluster: the kubelet's figure, above that of `_http._tcp.db.default.svc`.
pub const NDOTS: usize = 5;

/// Answers names in process: the cluster's own from its zone, others by the resolvers that a pod has.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of `name`, asked from a pod with these names. What the pod itself knows has been looked at
    /// before. Empty: no such name.
    async fn lookup(&self, name: &str, pod: &PodNames) -> Vec<IpAddr>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_knows_itself_its_aliases_and_addresses() {
        let mut names = PodNames::of_namespace("shop", "cluster.local");
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        names.hosts =
            vec![(ip("10.42.0.5"), vec!["db-0".to_owned()]), (ip("192.0.2.1"), vec!["old.example".to_owned()])];
        assert_eq!(names.known("DB-0."), [ip("10.42.0.5")]);
        assert_eq!(names.known("old.example"), [ip("192.0.2.1")]);
        assert_eq!(names.known("localhost"), [ip("127.0.0.1"), ip("::1")]);
        assert_eq!(names.known("192.0.2.9"), [ip("192.0.2.9")]);
        assert_eq!(names.known("db-1"), [] as [IpAddr; 0]);
    }
}
