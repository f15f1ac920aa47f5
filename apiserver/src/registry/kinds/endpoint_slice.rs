//! EndpointSlice: where a Service is answered, in parts of bounded size.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, UNSET, first_three, or, text};
use crate::registry::check::addresses::ip_warnings;
use crate::registry::check::names::{self, require};
use crate::registry::check::numbers::port;
use crate::registry::check::{Errors, at, item, one_of, one_of_if_any};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

/// Endpoints in a slice, ports in a slice, addresses of an endpoint: upstream's bounds.
const ENDPOINTS_MAX: usize = 1000;
const PORTS_MAX: usize = 20_000;
const ADDRESSES_MAX: usize = 100;

const COLUMNS: &[Column] = &[
    NAME,
    text("AddressType", "Which kind of address it holds."),
    text("Ports", "The ports that are answered."),
    text("Endpoints", "The addresses that answer."),
    AGE,
];

pub(super) fn row() -> Row {
    Row {
        group: "discovery.k8s.io",
        version: "v1",
        kind: "EndpointSlice",
        plural: "endpointslices",
        singular: "endpointslice",
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::OfContent,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = EndpointSlice;

    const SCHEMA: &'static str = "io.k8s.api.discovery.v1.EndpointSlice";

    const NULLS: &'static [&'static str] = &["endpoints", "ports"];

    fn default(object: &mut EndpointSlice) {
        for port in object.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
        for endpoint in object.endpoints.iter_mut().flatten() {
            endpoint.conditions.get_or_insert_default();
        }
    }

    fn validate(object: &EndpointSlice) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let family = object.address_type.as_str();
        one_of(&mut errors, "addressType".to_owned(), Some(family), &["FQDN", "IPv4", "IPv6"]);
        validate_endpoints(&mut errors, object);
        validate_ports(&mut errors, object);
        errors
    }

    fn validate_update(new: &EndpointSlice, old: &EndpointSlice) -> Vec<FieldError> {
        let mut errors = Self::validate(new);
        if new.address_type != old.address_type {
            errors.push(FieldError::invalid("addressType", new.address_type.as_str(), "field is immutable"));
        }
        errors
    }

    fn warnings(object: &EndpointSlice) -> Vec<String> {
        let mut warnings = Vec::new();
        let of_names = object.address_type == "FQDN";
        for (index, endpoint) in object.endpoints.iter().flatten().enumerate().filter(|_| !of_names) {
            let path = item("", "endpoints", index);
            for (index, address) in endpoint.addresses.iter().enumerate() {
                warnings.extend(ip_warnings(&item(&path, "addresses", index), address));
            }
        }
        warnings
    }

    fn cells(object: &EndpointSlice, now: Timestamp) -> Vec<Value> {
        let port = |p: &k8s_openapi::api::discovery::v1::EndpointPort| match p.port {
            Some(number) => number.to_string(),
            None => or(p.name.as_deref(), "*").to_owned(),
        };
        let ports: Vec<String> = object.ports.iter().flatten().map(port).collect();
        let endpoints: Vec<String> = object.endpoints.iter().flatten().flat_map(|e| e.addresses.clone()).collect();
        vec![
            cells::name(&object.metadata),
            object.address_type.as_str().into(),
            first_three(&ports, UNSET).into(),
            first_three(&endpoints, UNSET).into(),
            cells::age(&object.metadata, now),
        ]
    }
}

fn validate_endpoints(errors: &mut Errors, object: &EndpointSlice) {
    let endpoints = object.endpoints.as_deref().unwrap_or_default();
    if endpoints.len() > ENDPOINTS_MAX {
        errors.push(FieldError::too_many("endpoints", endpoints.len(), ENDPOINTS_MAX));
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = item("", "endpoints", index);
        if endpoint.addresses.is_empty() {
            errors.push(FieldError::required(at(&path, "addresses"), "must contain at least 1 address"));
        }
        if endpoint.addresses.len() > ADDRESSES_MAX {
            errors.push(FieldError::too_many(at(&path, "addresses"), endpoint.addresses.len(), ADDRESSES_MAX));
        }
        for (index, address) in endpoint.addresses.iter().enumerate() {
            validate_address(errors, &item(&path, "addresses", index), &object.address_type, address);
        }
        if let Some(hostname) = &endpoint.hostname {
            require(errors, &at(&path, "hostname"), hostname, names::label);
        }
        if let Some(node) = &endpoint.node_name {
            require(errors, &at(&path, "nodeName"), node, names::subdomain);
        }
    }
}

fn validate_address(errors: &mut Errors, path: &str, family: &str, address: &str) {
    match family {
        "IPv4" if address.parse::<std::net::Ipv4Addr>().is_err() => {
            errors.push(FieldError::invalid(path, address, "must be a valid IPv4 address"));
        }
        "IPv6" if address.parse::<std::net::Ipv6Addr>().is_err() => {
            errors.push(FieldError::invalid(path, address, "must be a valid IPv6 address"));
        }
        "FQDN" => require(errors, path, address.trim_end_matches('.'), names::subdomain),
        _ => {}
    }
}

fn validate_ports(errors: &mut Errors, object: &EndpointSlice) {
    let ports = object.ports.as_deref().unwrap_or_default();
    if ports.len() > PORTS_MAX {
        errors.push(FieldError::too_many("ports", ports.len(), PORTS_MAX));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, p) in ports.iter().enumerate() {
        let path = item("", "ports", index);
        let name = p.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            require(errors, &at(&path, "name"), name, names::label);
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(at(&path, "name"), name));
        }
        one_of_if_any(errors, at(&path, "protocol"), p.protocol.as_deref(), &["SCTP", "TCP", "UDP"]);
        if let Some(number) = p.port {
            port(errors, at(&path, "port"), number);
        }
    }
}
