//! Warnings about containers: fractions of bytes, variables that hide others, ports that meet.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, ContainerPort, EnvVar, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Holder, value};
use crate::registry::check::path::Path;
use crate::registry::check::text;
use crate::registry::pod_spec::{profiles, visit};

/// What is said of an annotation that has a field now.
pub(super) const SECCOMP: &str = r#"non-functional in v1.27+; use the "seccompProfile" field instead"#;

/// The same of the other.
const APP_ARMOR: &str = r#"deprecated since v1.30; use the "appArmorProfile" field instead"#;

pub(super) fn about(
    found: &mut Vec<String>,
    annotated: Path<'_>,
    path: Path<'_>,
    annotations: &BTreeMap<String, String>,
    spec: &PodSpec,
    holder: Holder,
) {
    let of_pod = spec.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref());
    visit(spec, path, |container, path| {
        if !annotations.is_empty() {
            profiles_of(found, annotated, annotations, container, holder, of_pod);
        }
        fractions(found, path.field("resources"), container);
        variables(found, path.field("env"), container.env.as_deref().unwrap_or_default());
    });
    ports(found, path, spec);
}

fn profiles_of(
    found: &mut Vec<String>,
    annotated: Path<'_>,
    annotations: &BTreeMap<String, String>,
    container: &Container,
    holder: Holder,
    of_pod: Option<&AppArmorProfile>,
) {
    let context = container.security_context.as_ref();
    let key = format!("{}{}", profiles::SECCOMP_CONTAINER, container.name);
    if context.is_none_or(|c| c.seccomp_profile.is_none()) && annotations.contains_key(&key) {
        found.push(format!("{}: {SECCOMP}", annotated.key(&key)));
    }
    let key = format!("{}{}", profiles::APP_ARMOR_CONTAINER, container.name);
    let has_field = of_pod.is_some() || context.is_some_and(|c| c.app_armor_profile.is_some());
    if holder == Holder::Template && !has_field && annotations.contains_key(&key) {
        found.push(format!("{}: {APP_ARMOR}", annotated.key(&key)));
    }
}

/// Whether an amount of bytes is no whole number.
pub(super) fn is_fraction(quantity: &Quantity) -> bool {
    value(quantity) % 1_000_000_000 != 0
}

fn fractions(found: &mut Vec<String>, path: Path<'_>, container: &Container) {
    let Some(resources) = &container.resources else { return };
    for name in ["memory", "ephemeral-storage"] {
        for (field, amounts) in [("limits", &resources.limits), ("requests", &resources.requests)] {
            if let Some(amount) = amounts.as_ref().and_then(|a| a.get(name)).filter(|q| is_fraction(q)) {
                let place = path.field(field);
                let place = place.key(name);
                found.push(format!("{place}: fractional byte value {:?} is invalid, must be an integer", amount.0));
            }
        }
    }
}

/// A variable that is built from its former value hides nothing.
fn variables(found: &mut Vec<String>, path: Path<'_>, variables: &[EnvVar]) {
    let mut seen = BTreeSet::new();
    for (index, variable) in variables.iter().enumerate() {
        let name = variable.name.as_str();
        if seen.insert(name) {
            continue;
        }
        let (former, value) = (format!("$({name})"), text(&variable.value));
        if variable.value_from.is_some() || value == former || !value.contains(&former) {
            let place = path.index(index);
            let what = format!("hides previous definition of {name:?}, which may be dropped when using apply");
            found.push(format!("{place}: {what}"));
        }
    }
}

/// Ports that are known so far, by number and protocol, with their places.
type Known = BTreeMap<(i32, String), Vec<(String, Option<i32>, Option<String>)>>;

fn ports(found: &mut Vec<String>, path: Path<'_>, spec: &PodSpec) {
    let mut known = Known::new();
    visit(spec, path, |container, path| {
        let list = path.field("ports");
        for (index, port) in container.ports.iter().flatten().enumerate() {
            one_port(found, list.index(index), port, &mut known);
        }
    });
}

fn one_port(found: &mut Vec<String>, path: Path<'_>, port: &ContainerPort, known: &mut Known) {
    let (number, address) = (port.host_port.unwrap_or(0), text(&port.host_ip));
    if !address.is_empty() && number == 0 {
        let shown = format!(
            "{{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{address}}}",
            text(&port.name),
            port.container_port,
            text(&port.protocol),
        );
        found.push(format!("{path}: hostIP set without hostPort: {shown}"));
    }
    let others = known.entry((port.container_port, text(&port.protocol).to_owned())).or_default();
    for (place, other_number, other_address) in &*others {
        let (other_number, other_address) = (other_number.unwrap_or(0), text(other_address));
        let how = if address == other_address && number == other_number {
            "duplicate"
        } else if number == 0 || other_number == 0 {
            "overlapping"
        } else if number == other_number && address.is_empty() != other_address.is_empty() {
            "dangerously ambiguous"
        } else {
            continue;
        };
        found.push(format!("{path}: {how} port definition with {place}"));
    }
    others.push((path.to_string(), port.host_port, port.host_ip.clone()));
}
