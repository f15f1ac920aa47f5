//! ResourceQuota: how much of everything a namespace may have together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec, ScopedResourceSelectorRequirement};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, text};
use crate::registry::check::numbers::{is_whole, quantity_not_negative};
use crate::registry::check::{Errors, resources};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    AGE,
    text("Request", "What is asked for, of how much may be."),
    text("Limit", "What limits come to, of how much may be."),
];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "ResourceQuota",
        plural: "resourcequotas",
        singular: "resourcequota",
        short_names: &["quota"],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[Subresource::Status],
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

/// The scopes of quotas, and what they can be about.
const SCOPES: [(&str, About); 7] = [
    ("Terminating", About::Pods),
    ("NotTerminating", About::Pods),
    ("BestEffort", About::PodCount),
    ("NotBestEffort", About::Pods),
    ("PriorityClass", About::Pods),
    ("CrossNamespacePodAffinity", About::Pods),
    ("VolumeAttributesClass", About::Claims),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Pods,
    PodCount,
    Claims,
}

impl About {
    fn allows(self, resource: &str) -> bool {
        match self {
            Self::PodCount => resource == "pods",
            Self::Pods => {
                let bare = resource.trim_start_matches("limits.").trim_start_matches("requests.");
                resource == "pods" || matches!(bare, "cpu" | "memory")
            }
            Self::Claims => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        }
    }
}

impl Kind for Strategy {
    type Object = ResourceQuota;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.ResourceQuota";

    fn default(object: &mut ResourceQuota) {
        object.spec.get_or_insert_default();
        object.status.get_or_insert_default();
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), Value::Object(serde_json::Map::new()));
        }
    }

    fn validate(object: &ResourceQuota) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let spec = object.spec.clone().unwrap_or_default();
        amounts(&mut errors, "spec.hard", spec.hard.as_ref());
        scopes(&mut errors, &spec);
        selector(&mut errors, &spec);
        errors
    }

    fn validate_update(new: &ResourceQuota, old: &ResourceQuota) -> Vec<FieldError> {
        let mut errors = Self::validate(new);
        let scopes = |quota: &ResourceQuota| quota.spec.as_ref().and_then(|s| s.scopes.clone()).unwrap_or_default();
        let set = |scopes: &[String]| scopes.iter().cloned().collect::<BTreeSet<_>>();
        if set(&scopes(new)) != set(&scopes(old)) {
            errors.push(FieldError::invalid("spec.scopes", scopes(new), "field is immutable"));
        }
        errors
    }

    fn validate_status_update(new: &ResourceQuota, _old: &ResourceQuota) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let status = new.status.clone().unwrap_or_default();
        amounts(&mut errors, "status.hard", status.hard.as_ref());
        amounts(&mut errors, "status.used", status.used.as_ref());
        errors
    }

    fn cells(object: &ResourceQuota, now: Timestamp) -> Vec<Value> {
        let status = object.status.clone().unwrap_or_default();
        let used = status.used.unwrap_or_default();
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, hard) in status.hard.iter().flatten() {
            let now = used.get(name).map_or("0", |quantity| quantity.0.as_str());
            let text = format!("{name}: {now}/{}", hard.0);
            if name.starts_with("limits") { limits.push(text) } else { requests.push(text) }
        }
        vec![
            cells::name(&object.metadata),
            cells::age(&object.metadata, now),
            requests.join(", ").into(),
            limits.join(", ").into(),
        ]
    }
}

fn amounts(errors: &mut Errors, path: &str, amounts: Option<&BTreeMap<String, Quantity>>) {
    for (name, quantity) in amounts.into_iter().flatten() {
        let path = format!("{path}[{name}]");
        resources::of_quota(errors, &path, name);
        quantity_not_negative(errors, path.clone(), quantity);
        if resources::is_counted(name) && !is_whole(quantity) {
            errors.push(FieldError::invalid(path, quantity.0.as_str(), "must be an integer"));
        }
    }
}

fn names(spec: &ResourceQuotaSpec) -> impl Iterator<Item = &str> {
    spec.hard.iter().flatten().map(|(name, _)| name.as_str()).filter(|name| resources::is_standard_for_quota(name))
}

fn known(scope: &str) -> Option<About> {
    SCOPES.iter().find(|(name, _)| *name == scope).map(|(_, about)| *about)
}

/// Scopes of which a quota can have but one.
fn conflict<'a>(mut scopes: impl Iterator<Item = &'a str>) -> bool {
    let all: BTreeSet<&str> = scopes.by_ref().collect();
    let both = |a: &str, b: &str| all.contains(a) && all.contains(b);
    both("BestEffort", "NotBestEffort") || both("Terminating", "NotTerminating")
}

fn scopes(errors: &mut Errors, spec: &ResourceQuotaSpec) {
    const PATH: &str = "spec.scopes";
    let all = spec.scopes.clone().unwrap_or_default();
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(PATH, all.clone(), detail));
    for scope in &all {
        if known(scope).is_none() {
            refuse("unsupported scope");
        }
        for name in names(spec) {
            if !known(scope).is_some_and(|about| about.allows(name)) && known(scope).is_some() {
                refuse("unsupported scope applied to resource");
            }
        }
    }
    if conflict(all.iter().map(String::as_str)) {
        refuse("conflicting scopes");
    }
}

fn selector(errors: &mut Errors, spec: &ResourceQuotaSpec) {
    const PATH: &str = "spec.scopeSelector.matchExpressions";
    let Some(selector) = &spec.scope_selector else { return };
    let shown = serde_json::to_value(selector).unwrap_or_default();
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    for expression in expressions {
        match known(&expression.scope_name) {
            None => {
                let path = format!("{PATH}.scopeName");
                errors.push(FieldError::invalid(path, expression.scope_name.as_str(), "unsupported scope"));
            }
            Some(about) => {
                for _ in names(spec).filter(|name| !about.allows(name)) {
                    let detail = "unsupported scope applied to resource";
                    errors.push(FieldError::invalid(PATH, shown.clone(), detail));
                }
            }
        }
        operator(errors, PATH, expression);
    }
    if conflict(expressions.iter().map(|expression| expression.scope_name.as_str())) {
        errors.push(FieldError::invalid(PATH, shown, "conflicting scopes"));
    }
}

fn operator(errors: &mut Errors, path: &str, expression: &ScopedResourceSelectorRequirement) {
    let values = expression.values.clone().unwrap_or_default();
    let place = format!("{path}.operator");
    let with_values = matches!(expression.scope_name.as_str(), "PriorityClass" | "VolumeAttributesClass");
    if !with_values && known(&expression.scope_name).is_some() && expression.operator != "Exists" {
        let detail = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                      ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                      ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.push(FieldError::invalid(place.as_str(), expression.operator.as_str(), detail));
    }
    match expression.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.push(FieldError::required(format!("{path}.values"), detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.push(FieldError::invalid(format!("{path}.values"), values, detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.push(FieldError::invalid(place, other, "not a valid selector operator")),
    }
}
