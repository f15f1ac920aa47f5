//! Role and ClusterRole: lists of what may be done.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use serde_json::Value;

use super::super::ALL_VERBS;
use super::GROUP;
use crate::registry::cells::{self, CREATED, NAME};
use crate::registry::check::labels::selector;
use crate::registry::check::{Errors, at, item};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[NAME, CREATED];

pub(in crate::registry::kinds) fn row() -> Row {
    Row {
        group: GROUP,
        version: "v1",
        kind: "Role",
        plural: "roles",
        singular: "role",
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Namespaced::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::PathSegment,
        generation: Generation::Never,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Namespaced>::new()),
    }
}

pub(in crate::registry::kinds) fn cluster_row() -> Row {
    Row {
        kind: "ClusterRole",
        plural: "clusterroles",
        singular: "clusterrole",
        scope: Scope::Cluster,
        schema: Cluster::SCHEMA,
        strategy: Arc::new(Typed::<Cluster>::new()),
        ..row()
    }
}

struct Namespaced;

impl Kind for Namespaced {
    type Object = Role;

    const SCHEMA: &'static str = "io.k8s.api.rbac.v1.Role";

    const NULLS: &'static [&'static str] = &["rules"];

    fn validate(object: &Role) -> Vec<FieldError> {
        validate_rules(object.rules.as_deref().unwrap_or_default(), Scope::Namespaced)
    }

    fn cells(object: &Role, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&object.metadata), cells::created(&object.metadata)]
    }
}

struct Cluster;

impl Kind for Cluster {
    type Object = ClusterRole;

    const SCHEMA: &'static str = "io.k8s.api.rbac.v1.ClusterRole";

    const NULLS: &'static [&'static str] = &["rules"];

    fn validate(object: &ClusterRole) -> Vec<FieldError> {
        const PATH: &str = "aggregationRule.clusterRoleSelectors";
        let mut errors = validate_rules(object.rules.as_deref().unwrap_or_default(), Scope::Cluster);
        if let Some(aggregation) = &object.aggregation_rule {
            let selectors = aggregation.cluster_role_selectors.as_deref().unwrap_or_default();
            if selectors.is_empty() {
                let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                errors.push(FieldError::required(PATH, detail));
            }
            for (index, one) in selectors.iter().enumerate() {
                selector(&mut errors, format!("{PATH}[{index}]").as_str(), one);
            }
        }
        errors
    }

    fn cells(object: &ClusterRole, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&object.metadata), cells::created(&object.metadata)]
    }
}

fn validate_rules(rules: &[PolicyRule], scope: Scope) -> Errors {
    let mut errors = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        validate_rule(&mut errors, &item("", "rules", index), rule, scope);
    }
    errors
}

fn validate_rule(errors: &mut Errors, path: &str, rule: &PolicyRule, scope: Scope) {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (groups, resources, urls) = (list(&rule.api_groups), list(&rule.resources), list(&rule.non_resource_urls));
    if rule.verbs.is_empty() {
        errors.push(FieldError::required(at(path, "verbs"), "verbs must contain at least one value"));
    }
    if !urls.is_empty() {
        let place = at(path, "nonResourceURLs");
        if scope == Scope::Namespaced {
            let detail = "namespaced rules cannot apply to non-resource URLs";
            errors.push(FieldError::invalid(place.clone(), urls.clone(), detail));
        }
        if !groups.is_empty() || !resources.is_empty() || !list(&rule.resource_names).is_empty() {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(place, urls, detail));
        }
        return;
    }
    if groups.is_empty() {
        let detail = "resource rules must supply at least one api group";
        errors.push(FieldError::required(at(path, "apiGroups"), detail));
    }
    if resources.is_empty() {
        let detail = "resource rules must supply at least one resource";
        errors.push(FieldError::required(at(path, "resources"), detail));
    }
}
