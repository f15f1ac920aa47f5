//! Who is asked for names that are not the cluster's, as flags say it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use coracle_dns::resolver_at;

/// Who is asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// About all other names; none if the cluster's ConfigMap or this machine says who.
    pub(crate) upstreams: Vec<SocketAddr>,
    /// About names of a domain.
    pub(crate) stub_domains: BTreeMap<String, Vec<SocketAddr>>,
}

impl Names {
    /// Reads `IP[:PORT]` of each resolver, and `DOMAIN=IP[:PORT]` of each stub domain.
    pub(super) fn read(upstreams: &[String], stubs: &[String]) -> anyhow::Result<Self> {
        let resolvers = upstreams.iter().map(|text| resolver_at(text)).collect::<Result<Vec<_>, _>>();
        let mut stub_domains = BTreeMap::<String, Vec<SocketAddr>>::new();
        for text in stubs {
            let Some((domain, server)) = text.split_once('=').filter(|(domain, _)| !domain.is_empty()) else {
                bail!(
                    "--dns-stub-domain {text:?} is no domain with a resolver; write for example corp.example=10.0.0.1"
                );
            };
            stub_domains.entry(domain.to_owned()).or_default().push(resolver_at(server).context("--dns-stub-domain")?);
        }
        let upstreams = resolvers.context("--dns-upstream")?;
        Ok(Self { upstreams, stub_domains })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(upstreams: &[&str], stubs: &[&str]) -> anyhow::Result<Names> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Names::read(&owned(upstreams), &owned(stubs))
    }

    #[test]
    fn resolvers_are_read_with_and_without_a_port() {
        let names =
            read(&["9.9.9.9", "2620:fe::fe", "[2620:fe::fe]:5353"], &["a.example=10.0.0.1:54", "a.example=10.0.0.2"]);
        let names = names.unwrap();
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        assert_eq!(names.upstreams, addresses(&["9.9.9.9:53", "[2620:fe::fe]:53", "[2620:fe::fe]:5353"]));
        assert_eq!(names.stub_domains["a.example"], addresses(&["10.0.0.1:54", "10.0.0.2:53"]));
        assert_eq!(read(&[], &[]).unwrap(), Names::default());
    }

    #[test]
    fn what_is_no_resolver_is_told_with_an_example() {
        let wrong = |upstreams: &[&str], stubs: &[&str]| format!("{:#}", read(upstreams, stubs).unwrap_err());
        assert_eq!(
            wrong(&["dns.example"], &[]),
            "--dns-upstream: \"dns.example\" is no address; write for example 9.9.9.9, 10.0.0.1:5353 or [2620:fe::fe]:53: invalid socket address syntax"
        );
        assert!(wrong(&[], &["corp.example"]).contains("corp.example=10.0.0.1"));
        assert!(wrong(&[], &["corp.example="]).starts_with("--dns-stub-domain: \"\" is no address"));
    }
}
