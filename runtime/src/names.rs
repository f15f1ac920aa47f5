//! What names mean in a pod: from its `dnsPolicy`, `dnsConfig`, `hostAliases`, host name and subdomain.
//!
//! Pure, but for what the machine says of itself, which each container is given as it is when it starts. The rules are
//! the kubelet's, and so are the files that tell a guest of them which reads them itself: `/etc/hosts`,
//! `/etc/resolv.conf` and `/etc/hostname`.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use coracle_api::meet::{NDOTS, NameServer, PodNames};
use coracle_api::wellknown::CLUSTER_DOMAIN;
use k8s_openapi::api::core::v1::{Pod, PodDNSConfig, PodSpec};

/// How many name servers are asked: what C libraries read of a `resolv.conf`, and the kubelet writes.
const SERVERS_MAX: usize = 3;

/// How many domains are searched: the kubelet's figure.
const SEARCH_MAX: usize = 32;

/// How many dots make a name absolute where nothing is said: the figure of C libraries.
const NDOTS_DEFAULT: usize = 1;

/// The longest host name that a system takes.
const HOSTNAME_BYTES_MAX: usize = 63;

/// Whom this machine asks, and where it searches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostNames {
    /// The name servers.
    pub servers: Vec<IpAddr>,
    /// The domains in which a relative name is sought.
    pub search: Vec<String>,
    /// The options, as `ndots:2`.
    pub options: Vec<String>,
}

impl HostNames {
    /// What a `resolv.conf` says (`resolv.conf(5)`). Of several `search` lines the last one counts.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut names = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => names.servers.extend(words.next().and_then(|ip| ip.parse::<IpAddr>().ok())),
                Some("search" | "domain") => {
                    names.search = words.map(|domain| domain.trim_end_matches('.').to_owned()).collect();
                    names.search.retain(|domain| !domain.is_empty());
                }
                Some("options") => names.options.extend(words.map(str::to_owned)),
                Some(_) | None => {}
            }
        }
        names
    }
}

/// What names are made of, apart from the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFacts {
    /// The domain of the cluster.
    pub domain: String,
    /// The cluster's name server, if it has one.
    pub server: Option<IpAddr>,
    /// The machine's `resolv.conf`, that is read for each container: a machine changes networks. Without it, and where
    /// it cannot be read, the machine asks nobody.
    pub resolv_conf: Option<PathBuf>,
}

impl Default for NameFacts {
    fn default() -> Self {
        Self { domain: CLUSTER_DOMAIN.to_owned(), server: None, resolv_conf: None }
    }
}

impl NameFacts {
    /// What the machine uses now.
    pub(crate) fn host(&self) -> HostNames {
        let text = self.resolv_conf.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        HostNames::parse(&text.unwrap_or_default())
    }
}

/// What a pod's programs find in `/etc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Etc {
    /// `/etc/hosts`.
    pub hosts: String,
    /// `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// `/etc/hostname`.
    pub hostname: String,
}

/// A `resolv.conf` to be.
#[derive(Debug, Default)]
struct Resolv {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<(String, Option<String>)>,
}

/// What names mean in the pod at `ip` on a machine that uses `host`, and the files that say so.
pub fn names(pod: &Pod, ip: IpAddr, facts: &NameFacts, host: HostNames) -> (PodNames, Etc) {
    let spec = pod.spec.clone().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let short = hostname(pod);
    let subdomain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty());
    let full = subdomain.map(|subdomain| format!("{short}.{subdomain}.{namespace}.svc.{}", facts.domain));
    let own: Vec<String> = full.iter().cloned().chain([short.clone()]).collect();
    let mut hosts = vec![(ip, own)];
    let aliases = spec.host_aliases.iter().flatten();
    hosts.extend(aliases.filter_map(|a| Some((a.ip.parse().ok()?, a.hostnames.clone().unwrap_or_default()))));

    let resolv = resolv(&spec, namespace, facts, host);
    let server = |ip: &IpAddr| if Some(*ip) == facts.server { NameServer::Cluster } else { NameServer::At(*ip) };
    let hostname = full.filter(|_| spec.set_hostname_as_fqdn == Some(true)).unwrap_or(short);
    let etc = Etc { hosts: hosts_file(&hosts), resolv_conf: resolv.file(), hostname: format!("{hostname}\n") };
    let names = PodNames {
        hostname,
        hosts,
        servers: resolv.servers.iter().map(server).collect(),
        search: resolv.search.clone(),
        ndots: resolv.ndots(),
        outside: None,
    };
    (names, etc)
}

/// What the pod is called: what it says, or its name, as long as a host name may be.
pub fn hostname(pod: &Pod) -> String {
    let said = pod.spec.as_ref().and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let name = said.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    // A name of an object is of ASCII.
    name.get(..HOSTNAME_BYTES_MAX).unwrap_or(&name).trim_end_matches(['-', '.']).to_owned()
}

fn resolv(spec: &PodSpec, namespace: &str, facts: &NameFacts, host: HostNames) -> Resolv {
    let mut resolv = match (spec.dns_policy.as_deref(), facts.server) {
        (Some("None"), _) => Resolv::default(),
        // A cluster without a name server has the host's, as the kubelet does it.
        (Some("Default"), _) | (_, None) => {
            let options = host.options.iter().map(|option| split(option)).collect();
            Resolv { servers: host.servers, search: host.search, options }
        }
        (_, Some(server)) => {
            let mut search = PodNames::of_namespace(namespace, &facts.domain).search;
            search.extend(host.search);
            let options = vec![("ndots".to_owned(), Some(NDOTS.to_string()))];
            Resolv { servers: vec![server], search, options }
        }
    };
    resolv.add(spec.dns_config.clone().unwrap_or_default());
    resolv
}

fn split(option: &str) -> (String, Option<String>) {
    match option.split_once(':') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (option.to_owned(), None),
    }
}

impl Resolv {
    /// Adds what a pod says itself: servers and domains after the others, options in the place of their namesakes.
    fn add(&mut self, config: PodDNSConfig) {
        self.servers.extend(config.nameservers.iter().flatten().filter_map(|text| text.parse::<IpAddr>().ok()));
        self.search.extend(config.searches.into_iter().flatten());
        for option in config.options.into_iter().flatten() {
            let Some(name) = option.name else { continue };
            self.options.retain(|(known, _)| *known != name);
            self.options.push((name, option.value));
        }
        once(&mut self.servers);
        once(&mut self.search);
        self.servers.truncate(SERVERS_MAX);
        self.search.truncate(SEARCH_MAX);
    }

    fn ndots(&self) -> usize {
        let said = self.options.iter().find(|(name, _)| name == "ndots").and_then(|(_, value)| value.as_ref());
        said.and_then(|value| value.parse().ok()).unwrap_or(NDOTS_DEFAULT)
    }

    fn file(&self) -> String {
        let mut text = String::new();
        if !self.search.is_empty() {
            let _ = writeln!(text, "search {}", self.search.join(" "));
        }
        for server in &self.servers {
            let _ = writeln!(text, "nameserver {server}");
        }
        if !self.options.is_empty() {
            let option = |(name, value): &(String, Option<String>)| match value {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            };
            let _ = writeln!(text, "options {}", self.options.iter().map(option).collect::<Vec<_>>().join(" "));
        }
        text
    }
}

/// Leaves of each only the first.
fn once<T: PartialEq + Clone>(list: &mut Vec<T>) {
    let mut kept: Vec<T> = Vec::new();
    list.retain(|one| {
        let is_new = !kept.contains(one);
        if is_new {
            kept.push(one.clone());
        }
        is_new
    });
}

/// The kubelet's `/etc/hosts`: the pod's own line first, then its aliases.
fn hosts_file(hosts: &[(IpAddr, Vec<String>)]) -> String {
    let mut text = "# Kubernetes-managed hosts file.\n\
                    127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::0\tip6-localnet\n\
                    fe00::0\tip6-mcastprefix\n\
                    fe00::1\tip6-allnodes\n\
                    fe00::2\tip6-allrouters\n"
        .to_owned();
    for (number, (ip, names)) in hosts.iter().enumerate() {
        if number == 1 {
            text.push_str("\n# Entries added by HostAliases.\n");
        }
        let _ = writeln!(text, "{ip}\t{}", names.join("\t"));
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    use super::*;

    fn facts() -> NameFacts {
        NameFacts { server: "10.43.0.10".parse().ok(), ..NameFacts::default() }
    }

    fn host() -> HostNames {
        HostNames {
            servers: vec!["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()],
            search: vec!["corp.example".to_owned()],
            options: vec!["rotate".to_owned(), "ndots:2".to_owned()],
        }
    }

    fn made(spec: &Value) -> (PodNames, Etc) {
        let metadata = json!({"name": "web-0", "namespace": "shop"});
        let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        names(&pod, "10.42.0.5".parse().unwrap(), &facts(), host())
    }

    fn check(mut spec: Value, expected: Expect) {
        spec["containers"] = json!([]);
        let (names, files) = made(&spec);
        expected.assert_eq(&format!("{}asks {:?}, absolute from {}", files.resolv_conf, names.servers, names.ndots));
    }

    #[test]
    fn nameservers_are_read_as_the_resolver_reads_them() {
        let text =
            "# a comment\nnameserver 192.0.2.1\n nameserver ::1\nsearch x. y .\nnameserver nonsense\noptions ndots:2\n";
        let found = HostNames::parse(text);
        assert_eq!(found.servers, ["192.0.2.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!((found.search, found.options), (vec!["x".to_owned(), "y".to_owned()], vec!["ndots:2".to_owned()]));
    }

    #[test]
    fn the_cluster_comes_first_unless_the_pod_says_otherwise() {
        check(
            json!({}),
            expect![[r"
                search shop.svc.cluster.local svc.cluster.local cluster.local corp.example
                nameserver 10.43.0.10
                options ndots:5
                asks [Cluster], absolute from 5"]],
        );
        check(
            json!({"dnsPolicy": "Default"}),
            expect![[r"
                search corp.example
                nameserver 192.0.2.1
                nameserver 192.0.2.2
                options rotate ndots:2
                asks [At(192.0.2.1), At(192.0.2.2)], absolute from 2"]],
        );
        check(json!({"dnsPolicy": "None"}), expect![["asks [], absolute from 1"]]);
    }

    #[test]
    fn what_a_pod_says_itself_is_added_and_options_are_replaced() {
        let config = json!({
            "nameservers": ["10.43.0.10", "192.0.2.9"], "searches": ["svc.cluster.local", "example.org"],
            "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}],
        });
        check(
            json!({"dnsConfig": config}),
            expect![[r"
                search shop.svc.cluster.local svc.cluster.local cluster.local corp.example example.org
                nameserver 10.43.0.10
                nameserver 192.0.2.9
                options ndots:1 edns0
                asks [Cluster, At(192.0.2.9)], absolute from 1"]],
        );
        check(
            json!({"dnsPolicy": "None", "dnsConfig": config}),
            expect![[r"
                search svc.cluster.local example.org
                nameserver 10.43.0.10
                nameserver 192.0.2.9
                options ndots:1 edns0
                asks [Cluster, At(192.0.2.9)], absolute from 1"]],
        );
    }

    #[test]
    fn the_pod_is_called_by_its_host_name_and_aliases_follow() {
        let aliases = json!([{"ip": "192.0.2.7", "hostnames": ["old.example", "older.example"]}]);
        let spec = json!({"containers": [], "hostname": "db", "subdomain": "nodes", "hostAliases": aliases});
        let (names, files) = made(&spec);
        assert_eq!((names.hostname.as_str(), files.hostname.as_str()), ("db", "db\n"));
        expect![[r"
            # Kubernetes-managed hosts file.
            127.0.0.1	localhost
            ::1	localhost ip6-localhost ip6-loopback
            fe00::0	ip6-localnet
            fe00::0	ip6-mcastprefix
            fe00::1	ip6-allnodes
            fe00::2	ip6-allrouters
            10.42.0.5	db.nodes.shop.svc.cluster.local	db

            # Entries added by HostAliases.
            192.0.2.7	old.example	older.example
        "]]
        .assert_eq(&files.hosts);
        assert_eq!(names.known("old.example"), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        let full = json!({"containers": [], "subdomain": "nodes", "setHostnameAsFQDN": true});
        assert_eq!(made(&full).0.hostname, "web-0.nodes.shop.svc.cluster.local");
    }
}
