//! The rules for Ingresses.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::TypedLocalObjectReference;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec, IngressTLS,
};

use crate::registry::check::addresses::parse_ip;
use crate::registry::check::domains;
use crate::registry::check::names::{self, path_segment, require};
use crate::registry::check::numbers::port;
use crate::registry::check::{Errors, at, ip, item};

/// What would let a path mean another than it says.
const FORBIDDEN_WITHIN: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const FORBIDDEN_AT_END: [&str; 2] = ["/..", "/."];

const NOT_AN_ADDRESS: &str = "must be a DNS name, not an IP address";

/// The rules for what is wanted.
pub(super) fn spec(spec: &IngressSpec) -> Errors {
    let mut errors = Vec::new();
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && spec.default_backend.is_none() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        // Upstream shows its own list here.
        errors.push(FieldError::invalid_as("spec", "[]networking.IngressRule(nil)", detail));
    }
    if let Some(backend) = &spec.default_backend {
        validate_backend(&mut errors, "spec.defaultBackend", backend);
    }
    for (index, rule) in rules.iter().enumerate() {
        validate_rule(&mut errors, &item("spec", "rules", index), rule);
    }
    for (index, tls) in spec.tls.iter().flatten().enumerate() {
        validate_tls(&mut errors, &item("spec", "tls", index), tls);
    }
    if let Some(class) = &spec.ingress_class_name {
        require(&mut errors, "spec.ingressClassName", class, names::subdomain);
    }
    errors
}

/// The rules for what is told about it.
pub(super) fn status(ingress: &Ingress) -> Errors {
    let mut errors = Vec::new();
    let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    for (index, point) in balancer.iter().flat_map(|balancer| balancer.ingress.iter().flatten()).enumerate() {
        let path = item("status.loadBalancer", "ingress", index);
        if let Some(address) = point.ip.as_deref().filter(|address| !address.is_empty()) {
            ip(&mut errors, at(&path, "ip"), address);
        }
        if let Some(name) = point.hostname.as_deref().filter(|name| !name.is_empty()) {
            let path = at(&path, "hostname");
            require(&mut errors, &path, name, names::subdomain);
            not_an_address(&mut errors, path, name);
        }
    }
    errors
}

fn not_an_address(errors: &mut Errors, path: String, name: &str) {
    if parse_ip(name).is_some() {
        errors.push(FieldError::invalid(path, name, NOT_AN_ADDRESS));
    }
}

fn host(errors: &mut Errors, path: &str, host: &str) {
    let rule = if host.contains('*') { domains::wildcard } else { names::subdomain };
    require(errors, path, host, rule);
}

fn validate_rule(errors: &mut Errors, path: &str, rule: &IngressRule) {
    if let Some(name) = rule.host.as_deref().filter(|name| !name.is_empty()) {
        let path = at(path, "host");
        not_an_address(errors, path.clone(), name);
        host(errors, &path, name);
    }
    let Some(http) = &rule.http else { return };
    let path = at(path, "http");
    if http.paths.is_empty() {
        errors.push(FieldError::required(at(&path, "paths"), ""));
    }
    for (index, one) in http.paths.iter().enumerate() {
        validate_path(errors, &item(&path, "paths", index), one);
    }
}

fn validate_path(errors: &mut Errors, path: &str, one: &HTTPIngressPath) {
    let text = one.path.as_deref().unwrap_or_default();
    let place = at(path, "path");
    let relative = !text.starts_with('/');
    let absolute = |errors: &mut Errors| {
        errors.push(FieldError::invalid(place.as_str(), text, "must be an absolute path"));
    };
    match one.path_type.as_str() {
        "" => {
            errors.push(FieldError::required(at(path, "pathType"), "pathType must be specified"));
            return;
        }
        "Exact" | "Prefix" => {
            if relative {
                absolute(errors);
            }
            for part in FORBIDDEN_WITHIN.iter().filter(|part| text.contains(**part)) {
                errors.push(FieldError::invalid(place.as_str(), text, format!("must not contain '{part}'")));
            }
            for end in FORBIDDEN_AT_END.iter().filter(|end| text.ends_with(**end)) {
                errors.push(FieldError::invalid(place.as_str(), text, format!("cannot end with '{end}'")));
            }
        }
        "ImplementationSpecific" => {
            if relative && !text.is_empty() {
                absolute(errors);
            }
        }
        other => {
            let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(at(path, "pathType"), other, &kinds));
        }
    }
    validate_backend(errors, &at(path, "backend"), &one.backend);
}

fn validate_backend(errors: &mut Errors, path: &str, backend: &IngressBackend) {
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => {
            errors.push(FieldError::invalid(path, "", "cannot set both resource and service backends"));
        }
        (Some(resource), None) => validate_resource(errors, &at(path, "resource"), resource),
        (None, Some(service)) => validate_service(errors, path, service),
        (None, None) => errors.push(FieldError::invalid(path, "", "resource or service backend is required")),
    }
}

fn validate_resource(errors: &mut Errors, path: &str, resource: &TypedLocalObjectReference) {
    if let Some(group) = &resource.api_group {
        require(errors, &at(path, "apiGroup"), group, names::subdomain);
    }
    for (field, value) in [("kind", &resource.kind), ("name", &resource.name)] {
        if value.is_empty() {
            errors.push(FieldError::required(at(path, field), ""));
        } else {
            require(errors, &at(path, field), value, path_segment);
        }
    }
}

fn validate_service(errors: &mut Errors, path: &str, service: &IngressServiceBackend) {
    let place = at(path, "service");
    if service.name.is_empty() {
        errors.push(FieldError::required(at(&place, "name"), ""));
    } else {
        require(errors, &at(&place, "name"), &service.name, names::dns1035);
    }
    let number = service.port.as_ref().and_then(|p| p.number).filter(|n| *n != 0);
    let name = service.port.as_ref().and_then(|p| p.name.as_deref()).filter(|n| !n.is_empty());
    match (name, number) {
        (Some(_), Some(_)) => {
            errors.push(FieldError::invalid(path, "", "cannot set both port name & port number"));
        }
        (Some(name), None) => require(errors, &at(&place, "port.name"), name, names::port),
        (None, Some(number)) => port(errors, at(&place, "port.number"), number),
        (None, None) => errors.push(FieldError::required(path, "port name or number is required")),
    }
}

fn validate_tls(errors: &mut Errors, path: &str, tls: &IngressTLS) {
    for (index, name) in tls.hosts.iter().flatten().enumerate() {
        host(errors, &item(path, "hosts", index), name);
    }
    if let Some(secret) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) {
        require(errors, &at(path, "secretName"), secret, names::subdomain);
    }
}
