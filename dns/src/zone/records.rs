//! The records of Services, in the order of the Kubernetes DNS specification (schema version 1.1.0).
//!
//! It refuses what has no name in DNS: a port or a host name that is no label has no record.

use std::collections::HashMap;
use std::net::IpAddr;

use coracle_api::wellknown::{LABEL_SERVICE_NAME, NAMESPACE_KUBE_SYSTEM};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SRV, TXT};
use hickory_proto::rr::{Name, RData};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::Zone;

/// The version of the schema that the zone follows.
const SCHEMA_VERSION: &str = "1.1.0";

/// The Service by which the DNS server itself is found.
const DNS_SERVICE: (&str, &str) = (NAMESPACE_KUBE_SYSTEM, "kube-dns");

/// The priority and weight of SRV records: endpoints are equal.
const SRV_PRIORITY_AND_WEIGHT: (u16, u16) = (0, 100);

/// Adds the records of all Services.
pub(super) fn add<'a>(
    zone: &mut Zone,
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) {
    add_schema_version(zone);
    let mut of_service: HashMap<(&str, &str), Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        let name = labels.and_then(|l| l.get(LABEL_SERVICE_NAME)).map_or("", String::as_str);
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        of_service.entry((namespace, name)).or_default().push(slice);
    }
    for service in services {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let (Some(spec), Some(full)) = (&service.spec, under(&zone.domain, &["svc", namespace, name])) else {
            continue;
        };
        if spec.type_.as_deref() == Some("ExternalName") {
            add_external_name(zone, &full, spec);
        } else if spec.cluster_ip.as_deref() == Some("None") {
            let slices = of_service.get(&(namespace, name)).map_or(&[][..], Vec::as_slice);
            slices.iter().for_each(|slice| add_headless(zone, &full, slice));
        } else {
            add_cluster_ip(zone, &full, spec);
            if (namespace, name) == DNS_SERVICE {
                add_name_server(zone, spec);
            }
        }
    }
}

/// Section 2.2.
fn add_schema_version(zone: &mut Zone) {
    if let Some(name) = under(&zone.domain, &["dns-version"]) {
        zone.add(name, RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()])));
    }
}

/// Section 2.3: a Service with cluster addresses.
fn add_cluster_ip(zone: &mut Zone, full: &Name, spec: &ServiceSpec) {
    for ip in cluster_ips(spec) {
        zone.add(full.clone(), address(ip));
        zone.add(Name::from(ip), RData::PTR(PTR(full.clone())));
    }
    for port in spec.ports.iter().flatten() {
        add_port(zone, full, port.name.as_deref(), port.protocol.as_deref(), port.port, full);
    }
}

/// Section 2.4: a headless Service, as far as one slice of it goes.
fn add_headless(zone: &mut Zone, full: &Name, slice: &EndpointSlice) {
    let is_ready =
        |e: &&k8s_openapi::api::discovery::v1::Endpoint| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
    for endpoint in slice.endpoints.iter().flatten().filter(is_ready) {
        for ip in endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
            let host = endpoint.hostname.clone().unwrap_or_else(|| ip.to_string().replace(['.', ':'], "-"));
            let Some(host) = under(full, &[&host]) else { continue };
            zone.add(full.clone(), address(ip));
            zone.add(host.clone(), address(ip));
            zone.add(Name::from(ip), RData::PTR(PTR(host.clone())));
            for port in slice.ports.iter().flatten() {
                let number = port.port.unwrap_or_default();
                add_port(zone, full, port.name.as_deref(), port.protocol.as_deref(), number, &host);
            }
        }
    }
}

/// Section 2.5.
fn add_external_name(zone: &mut Zone, full: &Name, spec: &ServiceSpec) {
    let target = spec.external_name.as_deref().and_then(|name| Name::from_ascii(name).ok());
    if let Some(mut target) = target {
        target.set_fqdn(true);
        zone.add(full.clone(), RData::CNAME(CNAME(target)));
    }
}

/// Sections 2.3.2 and 2.4.2: a named port.
fn add_port(zone: &mut Zone, full: &Name, name: Option<&str>, protocol: Option<&str>, port: i32, target: &Name) {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return };
    let protocol = format!("_{}", protocol.unwrap_or("TCP").to_ascii_lowercase());
    let Some(at) = under(full, &[&protocol, &format!("_{name}")]) else { return };
    let (priority, weight) = SRV_PRIORITY_AND_WEIGHT;
    if let Ok(port) = u16::try_from(port) {
        zone.add(at, RData::SRV(SRV::new(priority, weight, port, target.clone())));
    }
}

/// The zone's own name server, which the SOA record names.
fn add_name_server(zone: &mut Zone, spec: &ServiceSpec) {
    let Some(name) = under(&zone.domain, &["dns"]) else { return };
    zone.add(zone.domain.clone(), RData::NS(NS(name.clone())));
    for ip in cluster_ips(spec) {
        zone.add(name.clone(), address(ip));
    }
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    let texts = if all.is_empty() { spec.cluster_ip.as_slice() } else { all };
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

/// The name that has these labels, outermost first, before `base`.
fn under(base: &Name, labels: &[&str]) -> Option<Name> {
    labels.iter().try_fold(base.clone(), |name, label| name.prepend_label(*label).ok())
}
