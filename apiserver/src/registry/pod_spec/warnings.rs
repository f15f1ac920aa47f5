//! What a pod or a template may say, but to no good: upstream's warnings. What has no effect on a node that runs
//! WebAssembly, that node says in the pod's events.

mod containers;
mod labels;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Affinity, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::affinity::{PREFERRED, REQUIRED};
use super::profiles;
use super::resources::value;
use crate::registry::check::names;
use crate::registry::check::path::Path;

/// Annotations that did something once.
const ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        r#"non-functional in v1.16+; use the "priorityClassName" field instead"#,
    ),
    ("security.alpha.kubernetes.io/sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
    ("security.alpha.kubernetes.io/unsafe-sysctls", r#"non-functional in v1.11+; use the "sysctls" field instead"#),
];

const NO_POD: &str = "a null labelSelector results in matching no pod";

/// Whose spec it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Pod,
    Template,
}

/// The sentence about a name that becomes part of others; `what` says which.
pub(in crate::registry) fn about_name(meta: &ObjectMeta, what: &str) -> Option<String> {
    let broken = names::label(meta.name.as_deref().unwrap_or_default());
    (!broken.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            broken.join(" ")
        )
    })
}

/// All warnings about a pod, its name aside.
pub(in crate::registry) fn about_pod(meta: &ObjectMeta, spec: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    about(&mut found, Path::from("metadata"), Path::from("spec"), meta, spec, Holder::Pod);
    found
}

/// All warnings about a template.
pub(in crate::registry) fn about_template(path: &str, template: &PodTemplateSpec) -> Vec<String> {
    let path = Path::from(path);
    let (meta, spec) = (ObjectMeta::default(), PodSpec::default());
    let (meta, spec) = (template.metadata.as_ref().unwrap_or(&meta), template.spec.as_ref().unwrap_or(&spec));
    let mut found = Vec::new();
    about(&mut found, path.field("metadata"), path.field("spec"), meta, spec, Holder::Template);
    found
}

fn about(
    found: &mut Vec<String>,
    meta_path: Path<'_>,
    path: Path<'_>,
    meta: &ObjectMeta,
    spec: &PodSpec,
    holder: Holder,
) {
    let none = BTreeMap::new();
    let annotations = meta.annotations.as_ref().unwrap_or(&none);
    let annotated = meta_path.field("annotations");
    labels::about(found, path, spec);
    spread(found, path.field("topologySpreadConstraints"), spec);
    for (key, message) in ANNOTATIONS.iter().filter(|(key, _)| annotations.contains_key(*key)) {
        found.push(format!("{}: {message}", annotated.key(key)));
    }
    volumes::about(found, path.field("volumes"), spec.volumes.as_deref().unwrap_or_default());
    repeated(found, path, spec);
    for name in ["memory", "ephemeral-storage"] {
        if let Some(amount) = spec.overhead.as_ref().and_then(|o| o.get(name)).filter(|q| containers::is_fraction(q)) {
            let place = path.field("overhead");
            let place = place.key(name);
            found.push(format!("{place}: fractional byte value {:?} is invalid, must be an integer", amount.0));
        }
    }
    if spec.security_context.as_ref().is_none_or(|s| s.seccomp_profile.is_none())
        && annotations.contains_key(profiles::SECCOMP_POD)
    {
        found.push(format!("{}: {}", annotated.key(profiles::SECCOMP_POD), containers::SECCOMP));
    }
    containers::about(found, annotated, path, annotations, spec, holder);
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        let place = path.field("terminationGracePeriodSeconds");
        found.push(format!("{place}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    if let Some(wanted) = &spec.affinity {
        affinity(found, path.field("affinity"), wanted);
    }
}

fn spread(found: &mut Vec<String>, path: Path<'_>, spec: &PodSpec) {
    for (index, constraint) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let path = path.index(index);
        if let Some(message) = labels::deprecated(&constraint.topology_key) {
            found.push(format!("{}: {} is {message}", path.field("topologyKey"), constraint.topology_key));
        }
        if constraint.label_selector.is_none() {
            found.push(format!("{}: {NO_POD}", path.field("labelSelector")));
        }
    }
}

fn repeated(found: &mut Vec<String>, path: Path<'_>, spec: &PodSpec) {
    let list = path.field("hostAliases");
    let mut seen = BTreeSet::new();
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        if !seen.insert(alias.ip.as_str()) {
            let path = list.index(index);
            found.push(format!("{}: duplicate ip {:?}", path.field("ip"), alias.ip));
        }
    }
    let list = path.field("imagePullSecrets");
    let secrets = spec.image_pull_secrets.as_deref().unwrap_or_default();
    let mut seen = BTreeSet::new();
    for (index, secret) in secrets.iter().enumerate() {
        if !seen.insert(secret.name.as_str()) {
            let path = list.index(index);
            found.push(format!("{}: duplicate name {:?}", path.field("name"), secret.name));
        }
    }
    for (index, _) in secrets.iter().enumerate().filter(|(_, secret)| secret.name.is_empty()) {
        let path = list.index(index);
        found.push(format!("{}: invalid empty name \"\"", path.field("name")));
    }
}

fn affinity(found: &mut Vec<String>, path: Path<'_>, affinity: &Affinity) {
    let mut none_selected = |kind: &str, required: Vec<bool>, preferred: Vec<bool>| {
        let path = path.field(kind);
        let list = path.field(REQUIRED);
        for (index, _) in required.into_iter().enumerate().filter(|(_, none)| *none) {
            let path = list.index(index);
            found.push(format!("{}: {NO_POD}", path.field("labelSelector")));
        }
        let list = path.field(PREFERRED);
        for (index, _) in preferred.into_iter().enumerate().filter(|(_, none)| *none) {
            let path = list.index(index);
            let path = path.field("podAffinityTerm");
            found.push(format!("{}: {NO_POD}", path.field("labelSelector")));
        }
    };
    if let Some(pods) = &affinity.pod_affinity {
        let required = pods.required_during_scheduling_ignored_during_execution.iter().flatten();
        let preferred = pods.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        none_selected(
            "podAffinity",
            required.map(|term| term.label_selector.is_none()).collect(),
            preferred.map(|term| term.pod_affinity_term.label_selector.is_none()).collect(),
        );
    }
    if let Some(pods) = &affinity.pod_anti_affinity {
        let required = pods.required_during_scheduling_ignored_during_execution.iter().flatten();
        let preferred = pods.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        none_selected(
            "podAntiAffinity",
            required.map(|term| term.label_selector.is_none()).collect(),
            preferred.map(|term| term.pod_affinity_term.label_selector.is_none()).collect(),
        );
    }
}
