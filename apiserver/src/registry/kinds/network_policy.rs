//! NetworkPolicy: who may reach which pods, and whom they may reach.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, text};
use crate::registry::check::addresses::{cidr_warnings, parse_cidr};
use crate::registry::check::labels::selector;
use crate::registry::check::numbers::{port, port_or_name};
use crate::registry::check::{Errors, at, cidr, item};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[NAME, text("Pod-Selector", "Which pods it is about."), AGE];

pub(super) fn row() -> Row {
    Row {
        group: "networking.k8s.io",
        version: "v1",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        singular: "networkpolicy",
        short_names: &["netpol"],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::OfSpec,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

const INGRESS: &str = "Ingress";
const EGRESS: &str = "Egress";

impl Kind for Strategy {
    type Object = NetworkPolicy;

    const SCHEMA: &'static str = "io.k8s.api.networking.v1.NetworkPolicy";

    fn default(object: &mut NetworkPolicy) {
        let spec = object.spec.get_or_insert_default();
        spec.pod_selector.get_or_insert_default();
        let ingress = spec.ingress.iter_mut().flatten().flat_map(|rule| rule.ports.iter_mut().flatten());
        let egress = spec.egress.iter_mut().flatten().flat_map(|rule| rule.ports.iter_mut().flatten());
        for port in ingress.chain(egress) {
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
        if spec.policy_types.as_ref().is_none_or(Vec::is_empty) {
            let egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
            let kinds = if egress { &[INGRESS, EGRESS][..] } else { &[INGRESS][..] };
            spec.policy_types = Some(kinds.iter().map(|kind| (*kind).to_owned()).collect());
        }
    }

    fn validate(object: &NetworkPolicy) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let spec = object.spec.clone().unwrap_or_default();
        selector(&mut errors, "spec.podSelector", &spec.pod_selector.unwrap_or_default());
        for (path, ports, from, peers) in rules(object) {
            for (index, port) in ports.iter().enumerate() {
                validate_port(&mut errors, &item(&path, "ports", index), port);
            }
            for (index, peer) in peers.iter().enumerate() {
                validate_peer(&mut errors, &item(&path, from, index), peer);
            }
        }
        let kinds = spec.policy_types.unwrap_or_default();
        if kinds.len() > 2 {
            errors.push(FieldError::invalid("spec.policyTypes", kinds, "may not specify more than two policyTypes"));
            return errors;
        }
        for (index, kind) in kinds.iter().enumerate().filter(|(_, k)| ![INGRESS, EGRESS].contains(&k.as_str())) {
            let path = item("spec", "policyTypes", index);
            errors.push(FieldError::not_supported(path, kind.as_str(), &[INGRESS, EGRESS]));
        }
        errors
    }

    fn warnings(object: &NetworkPolicy) -> Vec<String> {
        let mut warnings = Vec::new();
        for (path, _, from, peers) in rules(object) {
            for (index, block) in peers.iter().enumerate().filter_map(|(i, p)| Some((i, p.ip_block.as_ref()?))) {
                let path = at(&item(&path, from, index), "ipBlock");
                warnings.extend(cidr_warnings(&at(&path, "cidr"), &block.cidr));
                for (index, except) in block.except.iter().flatten().enumerate() {
                    warnings.extend(cidr_warnings(&item(&path, "except", index), except));
                }
            }
        }
        warnings
    }

    fn cells(object: &NetworkPolicy, now: Timestamp) -> Vec<Value> {
        let selector = object.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
        let selector = selector.map(cells::selector_text).filter(|text| !text.is_empty());
        let selector = selector.unwrap_or_else(|| cells::NONE.to_owned());
        vec![cells::name(&object.metadata), selector.into(), cells::age(&object.metadata, now)]
    }
}

/// The rules of a policy: their places, ports, the field of their peers, and the peers.
type Rule<'a> = (String, &'a [NetworkPolicyPort], &'static str, &'a [NetworkPolicyPeer]);

fn rules(object: &NetworkPolicy) -> Vec<Rule<'_>> {
    let Some(spec) = &object.spec else { return Vec::new() };
    let ingress = spec.ingress.iter().flatten().enumerate().map(|(index, rule)| {
        let (ports, peers) = (rule.ports.as_deref(), rule.from.as_deref());
        (item("spec", "ingress", index), ports.unwrap_or_default(), "from", peers.unwrap_or_default())
    });
    let egress = spec.egress.iter().flatten().enumerate().map(|(index, rule)| {
        let (ports, peers) = (rule.ports.as_deref(), rule.to.as_deref());
        (item("spec", "egress", index), ports.unwrap_or_default(), "to", peers.unwrap_or_default())
    });
    ingress.chain(egress).collect()
}

fn validate_port(errors: &mut Errors, path: &str, p: &NetworkPolicyPort) {
    let protocols = ["TCP", "UDP", "SCTP"];
    if let Some(protocol) = p.protocol.as_deref().filter(|protocol| !protocols.contains(protocol)) {
        errors.push(FieldError::not_supported(at(path, "protocol"), protocol, &protocols));
    }
    match (&p.port, p.end_port) {
        (Some(IntOrString::Int(first)), last) => {
            port(errors, at(path, "port"), *first);
            if let Some(last) = last {
                if last < *first {
                    let detail = "must be greater than or equal to `port`";
                    errors.push(FieldError::invalid(at(path, "endPort"), last, detail));
                }
                port(errors, at(path, "endPort"), last);
            }
        }
        (Some(name), last) => {
            if let Some(last) = last {
                let detail = "may not be specified when `port` is non-numeric";
                errors.push(FieldError::invalid(at(path, "endPort"), last, detail));
            }
            port_or_name(errors, at(path, "port"), name);
        }
        (None, Some(last)) => {
            let detail = "may not be specified when `port` is not specified";
            errors.push(FieldError::invalid(at(path, "endPort"), last, detail));
        }
        (None, None) => {}
    }
}

fn validate_peer(errors: &mut Errors, path: &str, peer: &NetworkPolicyPeer) {
    let mut peers = 0;
    for (field, of) in [("podSelector", &peer.pod_selector), ("namespaceSelector", &peer.namespace_selector)] {
        if let Some(of) = of {
            peers += 1;
            selector(errors, at(path, field).as_str(), of);
        }
    }
    if let Some(block) = &peer.ip_block {
        peers += 1;
        validate_block(errors, &at(path, "ipBlock"), block);
    }
    if peers == 0 {
        errors.push(FieldError::required(path, "must specify a peer"));
    } else if peers > 1 && peer.ip_block.is_some() {
        errors.push(FieldError::forbidden(path, "may not specify both ipBlock and another peer"));
    }
}

fn validate_block(errors: &mut Errors, path: &str, block: &IPBlock) {
    if block.cidr.is_empty() {
        errors.push(FieldError::required(at(path, "cidr"), ""));
        return;
    }
    cidr(errors, at(path, "cidr"), &block.cidr);
    let Some(whole) = parse_cidr(&block.cidr) else { return };
    for (index, except) in block.except.iter().flatten().enumerate() {
        let path = item(path, "except", index);
        cidr(errors, path.clone(), except);
        if parse_cidr(except).is_some_and(|part| !whole.holds(part.address()) || whole.bits() >= part.bits()) {
            errors.push(FieldError::invalid(path, except.as_str(), "must be a strict subset of `cidr`"));
        }
    }
}
