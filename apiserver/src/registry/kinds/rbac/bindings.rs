//! RoleBinding and ClusterRoleBinding: who has a role.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::super::ALL_VERBS;
use super::GROUP;
use crate::registry::cells::{self, AGE, NAME, text, wide};
use crate::registry::check::names::{self, path_segment, require};
use crate::registry::check::{Errors, at, item};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Role", "The role that it gives."),
    AGE,
    wide("Users", "The users that have the role."),
    wide("Groups", "The groups that have the role."),
    wide("ServiceAccounts", "The ServiceAccounts that have the role."),
];

const USER: &str = "User";
const GROUP_KIND: &str = "Group";
const SERVICE_ACCOUNT: &str = "ServiceAccount";

pub(in crate::registry::kinds) fn row() -> Row {
    Row {
        group: GROUP,
        version: "v1",
        kind: "RoleBinding",
        plural: "rolebindings",
        singular: "rolebinding",
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
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        scope: Scope::Cluster,
        schema: Cluster::SCHEMA,
        strategy: Arc::new(Typed::<Cluster>::new()),
        ..row()
    }
}

struct Namespaced;

impl Kind for Namespaced {
    type Object = RoleBinding;

    const SCHEMA: &'static str = "io.k8s.api.rbac.v1.RoleBinding";

    fn default(object: &mut RoleBinding) {
        default(&mut object.role_ref, object.subjects.as_deref_mut().unwrap_or_default());
    }

    fn validate(object: &RoleBinding) -> Vec<FieldError> {
        validate(&object.role_ref, object.subjects.as_deref(), Scope::Namespaced)
    }

    fn validate_update(new: &RoleBinding, old: &RoleBinding) -> Vec<FieldError> {
        let mut errors = Self::validate(new);
        same_role(&mut errors, &new.role_ref, &old.role_ref);
        errors
    }

    fn cells(object: &RoleBinding, now: Timestamp) -> Vec<Value> {
        shown(&object.metadata, &object.role_ref, object.subjects.as_deref(), now)
    }
}

struct Cluster;

impl Kind for Cluster {
    type Object = ClusterRoleBinding;

    const SCHEMA: &'static str = "io.k8s.api.rbac.v1.ClusterRoleBinding";

    fn default(object: &mut ClusterRoleBinding) {
        default(&mut object.role_ref, object.subjects.as_deref_mut().unwrap_or_default());
    }

    fn validate(object: &ClusterRoleBinding) -> Vec<FieldError> {
        validate(&object.role_ref, object.subjects.as_deref(), Scope::Cluster)
    }

    fn validate_update(new: &ClusterRoleBinding, old: &ClusterRoleBinding) -> Vec<FieldError> {
        let mut errors = Self::validate(new);
        same_role(&mut errors, &new.role_ref, &old.role_ref);
        errors
    }

    fn cells(object: &ClusterRoleBinding, now: Timestamp) -> Vec<Value> {
        shown(&object.metadata, &object.role_ref, object.subjects.as_deref(), now)
    }
}

fn default(role: &mut RoleRef, subjects: &mut [Subject]) {
    let absent = |group: &Option<String>| group.as_deref().is_none_or(str::is_empty);
    if absent(&role.api_group) {
        role.api_group = Some(GROUP.to_owned());
    }
    for subject in subjects {
        subject.api_group = match subject.kind.as_str() {
            USER | GROUP_KIND if absent(&subject.api_group) => Some(GROUP.to_owned()),
            _ => subject.api_group.take().filter(|group| !group.is_empty()),
        };
    }
}

fn validate(role: &RoleRef, subjects: Option<&[Subject]>, scope: Scope) -> Errors {
    let mut errors = Vec::new();
    in_group(&mut errors, "roleRef", role.api_group.as_deref());
    let kinds = match scope {
        Scope::Namespaced => &["Role", "ClusterRole"][..],
        Scope::Cluster => &["ClusterRole"][..],
    };
    if !kinds.contains(&role.kind.as_str()) {
        errors.push(FieldError::not_supported("roleRef.kind", role.kind.as_str(), kinds));
    }
    if role.name.is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    } else {
        require(&mut errors, "roleRef.name", &role.name, path_segment);
    }
    for (index, subject) in subjects.unwrap_or_default().iter().enumerate() {
        validate_subject(&mut errors, &item("", "subjects", index), subject, scope);
    }
    errors
}

fn in_group(errors: &mut Errors, path: &str, group: Option<&str>) {
    let group = group.unwrap_or_default();
    if group != GROUP {
        errors.push(FieldError::not_supported(at(path, "apiGroup"), group, &[GROUP]));
    }
}

fn validate_subject(errors: &mut Errors, path: &str, subject: &Subject, scope: Scope) {
    if subject.name.is_empty() {
        errors.push(FieldError::required(at(path, "name"), ""));
    }
    match subject.kind.as_str() {
        SERVICE_ACCOUNT => {
            if !subject.name.is_empty() {
                require(errors, &at(path, "name"), &subject.name, names::subdomain);
            }
            if let Some(group) = subject.api_group.as_deref().filter(|group| !group.is_empty()) {
                errors.push(FieldError::not_supported(at(path, "apiGroup"), group, &[""]));
            }
            if scope == Scope::Cluster && subject.namespace.as_deref().is_none_or(str::is_empty) {
                errors.push(FieldError::required(at(path, "namespace"), ""));
            }
        }
        USER | GROUP_KIND => in_group(errors, path, subject.api_group.as_deref()),
        other => {
            let kinds = [SERVICE_ACCOUNT, USER, GROUP_KIND];
            errors.push(FieldError::not_supported(at(path, "kind"), other, &kinds));
        }
    }
}

fn same_role(errors: &mut Errors, new: &RoleRef, old: &RoleRef) {
    if new != old {
        let value = serde_json::to_value(new).unwrap_or_default();
        errors.push(FieldError::invalid("roleRef", value, "cannot change roleRef"));
    }
}

fn shown(meta: &ObjectMeta, role: &RoleRef, subjects: Option<&[Subject]>, now: Timestamp) -> Vec<Value> {
    let of = |kind: &str| {
        let named = subjects.unwrap_or_default().iter().filter(|subject| subject.kind == kind);
        let names = named.map(|subject| match subject.namespace.as_deref().filter(|n| !n.is_empty()) {
            Some(namespace) if kind == SERVICE_ACCOUNT => format!("{namespace}/{}", subject.name),
            _ => subject.name.clone(),
        });
        Value::from(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        cells::name(meta),
        format!("{}/{}", role.kind, role.name).into(),
        cells::age(meta, now),
        of(USER),
        of(GROUP_KIND),
        of(SERVICE_ACCOUNT),
    ]
}
