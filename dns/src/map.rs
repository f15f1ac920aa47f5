//! Follows the ConfigMap `kube-dns` of `kube-system`, which says whom to ask about names outside, as Kubernetes has it.
//!
//! Invariant: one that cannot be read changes nothing; its owner is told why.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::clock;
use coracle_api::event::{EventLog, EventWrite, Kind, Said};
use coracle_api::wellknown::NAMESPACE_KUBE_SYSTEM;
use futures::StreamExt;
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::{ConfigMap, Event, ObjectReference};
use kube::api::PostParams;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::directions::{NoResolver, Wanted, resolver_at};
use crate::forward::Forwarder;
use crate::{domain_of, watch};

/// The ConfigMap's name.
pub(crate) const NAME: &str = "kube-dns";

/// Its key for the domains that have resolvers of their own.
const STUB_DOMAINS: &str = "stubDomains";

/// Its key for the resolvers of all other names.
const UPSTREAMS: &str = "upstreamNameservers";

/// How many resolvers it may name: Kubernetes' figure, which is that of `resolv.conf`.
const UPSTREAMS_MAX: usize = 3;

/// Why a ConfigMap is not heeded.
#[derive(Debug, thiserror::Error)]
enum MapError {
    #[error("{key} is no JSON like {example}")]
    Json {
        key: &'static str,
        example: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("{STUB_DOMAINS}: {domain:?} is not a domain name: write one like corp.example")]
    Domain {
        domain: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{key}")]
    Resolver {
        key: &'static str,
        #[source]
        source: NoResolver,
    },
    #[error("{UPSTREAMS} names {count} resolvers: name {UPSTREAMS_MAX} at most")]
    Many { count: usize },
    #[error("{key:?} is none of its keys: write {STUB_DOMAINS} or {UPSTREAMS}")]
    Key { key: String },
}

/// Heeds the ConfigMap for ever.
pub(crate) async fn follow(client: Client, forwarder: Arc<Forwarder>) {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE_KUBE_SYSTEM);
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut events = watch::watched(maps, config);
    let mut is_there = false;
    while let Some(event) = events.next().await {
        match event {
            watcher::Event::Init => is_there = false,
            watcher::Event::Apply(map) | watcher::Event::InitApply(map) => {
                is_there = true;
                match read(map.data.as_ref().unwrap_or(&BTreeMap::new())) {
                    Ok(wanted) => forwarder.heed_map(wanted),
                    Err(error) => refuse(&client, &map, &error).await,
                }
            }
            watcher::Event::InitDone if is_there => {}
            watcher::Event::InitDone | watcher::Event::Delete(_) => forwarder.heed_map(Wanted::default()),
        }
    }
}

/// What the ConfigMap says.
fn read(data: &BTreeMap<String, String>) -> Result<Wanted, MapError> {
    if let Some(key) = data.keys().find(|key| ![STUB_DOMAINS, UPSTREAMS].contains(&key.as_str())) {
        return Err(MapError::Key { key: key.clone() });
    }
    let domains: BTreeMap<String, Vec<String>> = json(data, STUB_DOMAINS, r#"{"corp.example": ["10.0.0.1"]}"#)?;
    let upstreams: Vec<String> = json(data, UPSTREAMS, r#"["9.9.9.9"]"#)?;
    if upstreams.len() > UPSTREAMS_MAX {
        return Err(MapError::Many { count: upstreams.len() });
    }
    let resolvers = |key: &'static str, texts: &[String]| {
        let read = texts.iter().map(|text| resolver_at(text));
        read.collect::<Result<Vec<_>, _>>().map_err(|source| MapError::Resolver { key, source })
    };
    let stub = |(domain, servers): (&String, &Vec<String>)| -> Result<(Name, _), MapError> {
        let name = domain_of(domain).map_err(|source| MapError::Domain { domain: domain.clone(), source })?;
        Ok((name, resolvers(STUB_DOMAINS, servers)?))
    };
    let stubs = domains.iter().map(stub).collect::<Result<_, _>>()?;
    Ok(Wanted { upstreams: resolvers(UPSTREAMS, &upstreams)?, stubs })
}

fn json<T: DeserializeOwned + Default>(
    data: &BTreeMap<String, String>,
    key: &'static str,
    example: &'static str,
) -> Result<T, MapError> {
    let text = data.get(key).map(|text| text.trim()).filter(|text| !text.is_empty());
    let read = text.map(serde_json::from_str).transpose();
    Ok(read.map_err(|source| MapError::Json { key, example, source })?.unwrap_or_default())
}

/// Tells the owner of a ConfigMap why it is not heeded: by an event, and in the log.
async fn refuse(client: &Client, map: &ConfigMap, error: &MapError) {
    let message = format!("{}; what was in force stays", told(error));
    tracing::warn!("the ConfigMap {NAMESPACE_KUBE_SYSTEM}/{NAME} is not heeded: {message}");
    let about = ObjectReference { uid: map.uid(), resource_version: map.resource_version(), ..map.object_ref(&()) };
    let said = Said { about, kind: Kind::Warning, reason: "InvalidConfig".to_owned(), message };
    let write = EventLog::new("coredns", None).record(&said, clock::now());
    let Some(EventWrite::Create(event)) = write else { return };
    let events = Api::<Event>::namespaced(client.clone(), NAMESPACE_KUBE_SYSTEM);
    if let Err(error) = events.create(&PostParams::default(), &event).await {
        tracing::debug!(%error, "an event was not written");
    }
}

/// An error and what is behind it.
fn told(error: &MapError) -> String {
    let because = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{because}")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(data: &[(&str, &str)], expected: Expect) {
        let data = data.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        let said = match read(&data) {
            Ok(wanted) => format!("{:?} {:?}", wanted.upstreams, wanted.stubs),
            Err(error) => told(&error),
        };
        expected.assert_eq(&said);
    }

    #[test]
    fn a_map_names_resolvers_and_domains_as_kubernetes_writes_them() {
        check(
            &[
                ("stubDomains", "{\"Acme.local\": [\"1.2.3.4\", \"1.2.3.5:5353\"]}\n"),
                ("upstreamNameservers", "[\"8.8.8.8\", \"[2620:fe::fe]:53\"]"),
            ],
            expect![[r#"[8.8.8.8:53, [2620:fe::fe]:53] {Name("acme.local."): [1.2.3.4:53, 1.2.3.5:5353]}"#]],
        );
        check(&[], expect!["[] {}"]);
        check(&[("stubDomains", "")], expect!["[] {}"]);
    }

    #[test]
    fn what_is_wrong_with_a_map_is_told_with_the_fix() {
        check(
            &[("stubDomains", "acme.local=1.2.3.4")],
            expect![[
                r#"stubDomains is no JSON like {"corp.example": ["10.0.0.1"]}: expected value at line 1 column 1"#
            ]],
        );
        check(
            &[("stubDomains", "{\"acme.local\": \"1.2.3.4\"}")],
            expect![[
                r#"stubDomains is no JSON like {"corp.example": ["10.0.0.1"]}: invalid type: string "1.2.3.4", expected a sequence at line 1 column 24"#
            ]],
        );
        check(
            &[("stubDomains", "{\"a..b\": [\"1.2.3.4\"]}")],
            expect![[r#"stubDomains: "a..b" is not a domain name: write one like corp.example: Malformed label: "#]],
        );
        check(
            &[("stubDomains", "{\"acme.local\": [\"ns.acme.local\"]}")],
            expect![[
                r#"stubDomains: "ns.acme.local" is no address; write for example 9.9.9.9, 10.0.0.1:5353 or [2620:fe::fe]:53"#
            ]],
        );
        check(
            &[("upstreamNameservers", "[\"1.1.1.1\", \"1.1.1.2\", \"1.1.1.3\", \"1.1.1.4\"]")],
            expect!["upstreamNameservers names 4 resolvers: name 3 at most"],
        );
        check(
            &[("upstreamNameserver", "[\"1.1.1.1\"]")],
            expect![[r#""upstreamNameserver" is none of its keys: write stubDomains or upstreamNameservers"#]],
        );
    }
}
