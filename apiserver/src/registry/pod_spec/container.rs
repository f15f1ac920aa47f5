//! The rules that hold for every container: its name and image, ports, restarting and resizing.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec, Volume};

use super::{environment, mounts, resources, security};
use crate::registry::check::names::{self, require};
use crate::registry::check::numbers::port;
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, one_of, text};

/// Rules by which a container is started again, at most.
const RESTART_RULES_MAX: usize = 20;
/// Exit codes of one such rule, at most: there are no more.
const EXIT_CODES_MAX: usize = 255;

/// What a container finds around it in its pod.
pub(super) struct Around<'a> {
    /// The pod's volumes that are well formed, by name.
    pub(super) volumes: BTreeMap<&'a str, &'a Volume>,
    /// The names of the pod's resource claims.
    pub(super) claims: BTreeSet<&'a str>,
    /// The pod's spec.
    pub(super) spec: &'a PodSpec,
}

impl<'a> Around<'a> {
    pub(super) fn new(spec: &'a PodSpec, volumes: BTreeMap<&'a str, &'a Volume>, claims: BTreeSet<&'a str>) -> Self {
        Self { volumes, claims, spec }
    }
}

/// The rules for a container of any of the three lists.
pub(super) fn validate(errors: &mut Errors, path: Path<'_>, container: &Container, around: &Around<'_>) {
    if container.name.is_empty() {
        errors.push(FieldError::required(path.field("name"), ""));
    } else {
        require(errors, path.field("name"), &container.name, names::label);
    }
    if text(&container.image).is_empty() {
        errors.push(FieldError::required(path.field("image"), ""));
    }
    let policies = ["File", "FallbackToLogsOnError"];
    let policy = container.termination_message_policy.as_deref();
    one_of(errors, path.field("terminationMessagePolicy"), policy, &policies);
    ports(errors, path.field("ports"), container.ports.as_deref().unwrap_or_default());
    environment::validate(errors, path, container);
    mounts::validate(errors, path, container, around);
    pull_policy(errors, path.field("imagePullPolicy"), container.image_pull_policy.as_deref());
    if let Some(required) = &container.resources {
        resources::validate(errors, path.field("resources"), required, &around.claims);
    }
    resize_policy(errors, path.field("resizePolicy"), container, around);
    if let Some(context) = &container.security_context {
        security::validate_container(errors, path.field("securityContext"), context, around.spec);
    }
}

/// When an image is looked for anew.
pub(super) fn pull_policy(errors: &mut Errors, path: Path<'_>, policy: Option<&str>) {
    one_of(errors, path, policy, &["Always", "IfNotPresent", "Never"]);
}

/// Of a pod, but not of a template: who fills in templates has used blanks as a mark.
pub(in crate::registry) fn untrimmed_image(errors: &mut Errors, path: Path<'_>, container: &Container) {
    let image = text(&container.image);
    if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(path.field("image"), image, detail));
    }
}

fn ports(errors: &mut Errors, path: Path<'_>, ports: &[ContainerPort]) {
    let mut seen = BTreeSet::new();
    for (index, p) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(&p.name);
        if !name.is_empty() {
            let before = errors.len();
            require(errors, path.field("name"), name, names::port);
            if errors.len() == before && !seen.insert(name) {
                errors.push(FieldError::duplicate(path.field("name"), name));
            }
        }
        if p.container_port == 0 {
            errors.push(FieldError::required(path.field("containerPort"), ""));
        } else {
            port(errors, path.field("containerPort"), p.container_port);
        }
        if let Some(number) = p.host_port.filter(|n| *n != 0) {
            port(errors, path.field("hostPort"), number);
        }
        one_of(errors, path.field("protocol"), p.protocol.as_deref(), &["SCTP", "TCP", "UDP"]);
    }
}

fn resize_policy(errors: &mut Errors, path: Path<'_>, container: &Container, around: &Around<'_>) {
    const POLICIES: [&str; 2] = ["NotRequired", "RestartContainer"];
    let never = around.spec.restart_policy.as_deref() == Some("Never");
    let mut seen = BTreeSet::new();
    for (index, rule) in container.resize_policy.iter().flatten().enumerate() {
        if !seen.insert(rule.resource_name.as_str()) {
            errors.push(FieldError::duplicate(path.index(index), rule.resource_name.as_str()).bare());
        }
        match rule.resource_name.as_str() {
            "cpu" | "memory" => {}
            "" => errors.push(FieldError::required(path, "")),
            other => errors.push(FieldError::not_supported(path, other, &["cpu", "memory"]).bare()),
        }
        one_of(errors, path, Some(&rule.restart_policy), &POLICIES);
        if never && rule.restart_policy != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, rule.restart_policy.as_str(), detail));
        }
    }
}

/// The rules for when a container is started again, apart from its pod.
pub(super) fn restart_policy(errors: &mut Errors, path: Path<'_>, container: &Container) {
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    let place = path.field("restartPolicy");
    let policies = ["Always", "Never", "OnFailure"];
    match container.restart_policy.as_deref() {
        None if !rules.is_empty() => {
            errors.push(FieldError::required(place, "must specify restartPolicy when restart rules are used"));
        }
        Some(policy) if !policies.contains(&policy) => {
            errors.push(FieldError::not_supported(place, policy, &policies));
        }
        None | Some(_) => {}
    }
    let list = path.field("restartPolicyRules");
    if rules.len() > RESTART_RULES_MAX {
        errors.push(FieldError::too_many(list, rules.len(), RESTART_RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = list.index(index);
        let actions = ["Restart", "RestartAllContainers"];
        if !actions.contains(&rule.action.as_str()) {
            errors.push(FieldError::not_supported(path.field("action"), rule.action.as_str(), &actions));
        }
        let place = path.field("exitCodes");
        let Some(codes) = &rule.exit_codes else {
            errors.push(FieldError::required(place, "must be specified"));
            continue;
        };
        if !["In", "NotIn"].contains(&codes.operator.as_str()) {
            let operator = codes.operator.as_str();
            errors.push(FieldError::not_supported(place.field("operator"), operator, &["In", "NotIn"]));
        }
        let values = codes.values.as_ref().map_or(0, Vec::len);
        if values > EXIT_CODES_MAX {
            errors.push(FieldError::too_many(place.field("values"), values, EXIT_CODES_MAX));
        }
    }
}
