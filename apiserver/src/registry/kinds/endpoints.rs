//! Endpoints: where a Service is answered, in the old form that some clients still read.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints};
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, NONE, first_three, text};
use crate::registry::check::addresses::ip_warnings;
use crate::registry::check::numbers::port;
use crate::registry::check::{Errors, at, ip, item, one_of};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[NAME, text("Endpoints", "The addresses that are ready."), AGE];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "Endpoints",
        plural: "endpoints",
        singular: "endpoints",
        short_names: &["ep"],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::Never,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = Endpoints;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.Endpoints";

    const DEPRECATION: Option<&'static str> =
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice");

    fn default(object: &mut Endpoints) {
        let ports = object.subsets.iter_mut().flatten().flat_map(|s| s.ports.iter_mut().flatten());
        for port in ports {
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
    }

    fn validate(object: &Endpoints) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (index, subset) in object.subsets.iter().flatten().enumerate() {
            validate_subset(&mut errors, &item("", "subsets", index), subset);
        }
        errors
    }

    fn warnings(object: &Endpoints) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, subset) in object.subsets.iter().flatten().enumerate() {
            let path = item("", "subsets", index);
            for (field, list) in [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready_addresses)]
            {
                for (index, address) in list.iter().flatten().enumerate() {
                    warnings.extend(ip_warnings(&at(&item(&path, field, index), "ip"), &address.ip));
                }
            }
        }
        warnings
    }

    fn cells(object: &Endpoints, now: Timestamp) -> Vec<Value> {
        let subsets = object.subsets.as_deref().unwrap_or_default();
        let mut shown = Vec::new();
        for subset in subsets {
            let addresses = subset.addresses.as_deref().unwrap_or_default();
            match subset.ports.as_deref().unwrap_or_default() {
                [] => shown.extend(addresses.iter().map(|a| a.ip.clone())),
                ports => shown.extend(ports.iter().flat_map(|p| addresses.iter().map(|a| host_port(&a.ip, p.port)))),
            }
        }
        // What has parts, but nothing ready in them, shows nothing at all.
        let none = if subsets.is_empty() { NONE } else { "" };
        vec![cells::name(&object.metadata), first_three(&shown, none).into(), cells::age(&object.metadata, now)]
    }
}

fn host_port(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn validate_subset(errors: &mut Errors, path: &str, subset: &EndpointSubset) {
    let none = |list: &Option<Vec<EndpointAddress>>| list.as_ref().is_none_or(Vec::is_empty);
    if none(&subset.addresses) && none(&subset.not_ready_addresses) {
        errors.push(FieldError::required(path, "must specify `addresses` or `notReadyAddresses`"));
    }
    for (field, list) in [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready_addresses)] {
        for (index, address) in list.iter().flatten().enumerate() {
            validate_address(errors, at(&item(path, field, index), "ip"), &address.ip);
        }
    }
    let ports = subset.ports.as_deref().unwrap_or_default();
    for (index, p) in ports.iter().enumerate() {
        let path = item(path, "ports", index);
        if ports.len() > 1 && p.name.as_deref().is_none_or(str::is_empty) {
            errors.push(FieldError::required(at(&path, "name"), ""));
        }
        port(errors, at(&path, "port"), p.port);
        one_of(errors, at(&path, "protocol"), p.protocol.as_deref(), &["SCTP", "TCP", "UDP"]);
    }
}

/// Whether an address is where the host's own servers listen. The rest of the loopback range is where pods live
/// on a machine that lets any user bind it (see `docs/decisions/0001-loopback-addresses-for-everybody.md`).
fn is_the_hosts_own(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(a) => a.is_loopback() && matches!(a.octets(), [127, 0, 0, _]),
        std::net::IpAddr::V6(a) => a.is_loopback(),
    }
}

/// Addresses that cannot be a pod's: a Service must not become a way into the node.
fn validate_address(errors: &mut Errors, path: String, text: &str) {
    let Ok(address) = text.parse::<std::net::IpAddr>() else {
        ip(errors, path.clone(), text);
        errors.push(FieldError::invalid(path, text, "must be a valid IP address"));
        return;
    };
    let detail = match address {
        a if a.is_unspecified() => format!("may not be unspecified ({a})"),
        a if is_the_hosts_own(a) => "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned(),
        std::net::IpAddr::V4(a) if a.is_link_local() => {
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()
        }
        _ => return,
    };
    errors.push(FieldError::invalid(path, text, detail));
}
