//! The rules for `metadata`, the same for all kinds but for the look of names.
//!
//! Source of the words: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`.

use coracle_api::field::FieldError;
use coracle_api::names::{DNS1035_RULE, LABEL_RULE, SUBDOMAIN_RULE};
use coracle_api::wellknown::{FINALIZER_FOREGROUND, FINALIZER_KUBERNETES, FINALIZER_ORPHAN};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Deserialize;
use serde_json::Value;

use super::check::labels::{annotations, labels, qualified_name};
use super::check::names::{self, require};
use super::check::{Errors, item};
use super::{Row, Scope};

/// What the names of a kind's objects must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// An RFC 1123 subdomain: most kinds.
    Subdomain,
    /// An RFC 1123 label: Namespaces.
    Label,
    /// An RFC 1035 label: Services, which become DNS names.
    Dns1035,
    /// Anything that can stand in a path: roles and their bindings.
    PathSegment,
}

impl NameRule {
    /// The sentences that a name breaks.
    #[must_use]
    pub fn broken(self, name: &str) -> Vec<String> {
        match self {
            Self::Subdomain => names::subdomain(name),
            Self::Label => names::label(name),
            Self::Dns1035 => names::dns1035(name),
            Self::PathSegment => names::path_segment(name),
        }
    }

    /// The sentences that the beginning of a name breaks; it may end in a dash.
    fn broken_as_prefix(self, prefix: &str) -> Vec<String> {
        match prefix.strip_suffix('-') {
            Some(rest) if self != Self::PathSegment => self.broken(&format!("{rest}a")),
            _ => self.broken(prefix),
        }
    }

    /// The rule as one sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Subdomain => SUBDOMAIN_RULE,
            Self::Label => LABEL_RULE,
            Self::Dns1035 => DNS1035_RULE,
            Self::PathSegment => "may not contain '/' or '%'",
        }
    }
}

fn parsed(object: &Value) -> ObjectMeta {
    object.get("metadata").and_then(|meta| ObjectMeta::deserialize(meta).ok()).unwrap_or_default()
}

/// The rules for the metadata of a new object.
#[must_use]
pub fn validate(object: &Value, row: &Row) -> Vec<FieldError> {
    let meta = parsed(object);
    let mut errors = Vec::new();
    let name = meta.name.as_deref().unwrap_or_default();
    if let Some(prefix) = meta.generate_name.as_deref().filter(|p| !p.is_empty()) {
        let broken = row.name_rule.broken_as_prefix(prefix);
        errors.extend(broken.into_iter().map(|rule| FieldError::invalid("metadata.generateName", prefix, rule)));
    }
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        let broken = row.name_rule.broken(name);
        errors.extend(broken.into_iter().map(|rule| FieldError::invalid("metadata.name", name, rule)));
    }
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    match row.scope {
        Scope::Namespaced if namespace.is_empty() => errors.push(FieldError::required("metadata.namespace", "")),
        Scope::Namespaced => require(&mut errors, "metadata.namespace", namespace, names::label),
        Scope::Cluster if !namespace.is_empty() => {
            errors.push(FieldError::forbidden("metadata.namespace", "not allowed on this type"));
        }
        Scope::Cluster => {}
    }
    rest(&mut errors, &meta);
    errors
}

/// The rules for a change of the metadata. As upstream, which looks at the change once for all kinds and once more for
/// each, the causes stand twice; the sentence tells them once.
#[must_use]
pub fn validate_update(new: &Value, old: &Value, row: &Row) -> Vec<FieldError> {
    let mut errors = changes(new, old);
    errors.extend(errors.clone());
    errors.extend(validate(new, row));
    errors
}

fn changes(new: &Value, old: &Value) -> Errors {
    let mut errors = Vec::new();
    if old.pointer("/metadata/deletionTimestamp").is_some() {
        no_new_finalizers(&mut errors, new, old);
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let value = |object: &Value| object.get("metadata").and_then(|m| m.get(field)).cloned();
        let (new, old) = (value(new), value(old));
        if new != old {
            errors.push(immutable(&format!("metadata.{field}"), new.unwrap_or_default()));
        }
    }
    let meta = parsed(new);
    keys(&mut errors, &meta);
    owners(&mut errors, meta.owner_references.as_deref().unwrap_or_default());
    errors
}

/// A field that may not change; times are shown as upstream shows them.
fn immutable(path: &str, value: Value) -> FieldError {
    const RULE: &str = "field is immutable";
    match value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(time) => FieldError::invalid_as(path, time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(), RULE),
        None => FieldError::invalid(path, value, RULE),
    }
}

fn no_new_finalizers(errors: &mut Errors, new: &Value, old: &Value) {
    let old = parsed(old).finalizers.unwrap_or_default();
    let added: Vec<String> = parsed(new).finalizers.into_iter().flatten().filter(|f| !old.contains(f)).collect();
    if !added.is_empty() {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers {}",
            serde_json::to_string(&added).unwrap_or_default()
        );
        errors.push(FieldError::forbidden("metadata.finalizers", detail));
    }
}

fn rest(errors: &mut Errors, meta: &ObjectMeta) {
    keys(errors, meta);
    owners(errors, meta.owner_references.as_deref().unwrap_or_default());
    finalizers(errors, meta.finalizers.as_deref().unwrap_or_default());
}

/// The rules for labels and annotations.
fn keys(errors: &mut Errors, meta: &ObjectMeta) {
    if let Some(map) = &meta.labels {
        labels(errors, "metadata.labels", map);
    }
    if let Some(map) = &meta.annotations {
        annotations(errors, "metadata.annotations", map);
    }
}

fn owners(errors: &mut Errors, owners: &[OwnerReference]) {
    let path = "metadata.ownerReferences";
    let mut controller: Option<&OwnerReference> = None;
    for owner in owners {
        for (field, value) in
            [("apiVersion", &owner.api_version), ("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)]
        {
            if value.is_empty() {
                let detail = if field == "apiVersion" { "version" } else { field };
                let detail = format!("{detail} must not be empty");
                errors.push(FieldError::invalid(format!("{path}.{field}"), "", detail));
            }
        }
        if owner.kind == "Event" && owner.api_version == "v1" {
            let shown = serde_json::to_value(owner).unwrap_or_default();
            errors.push(FieldError::invalid(path, shown, "/v1, Kind=Event is disallowed from being an owner"));
        }
        if owner.controller == Some(true) {
            if let Some(first) = controller {
                let shown = serde_json::to_value(owners).unwrap_or_default();
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                    first.kind, first.name, owner.kind, owner.name
                );
                errors.push(FieldError::invalid(path, shown, detail));
            }
            controller = Some(owner);
        }
    }
}

fn finalizers(errors: &mut Errors, finalizers: &[String]) {
    const STANDARD: [&str; 3] = [FINALIZER_ORPHAN, FINALIZER_FOREGROUND, FINALIZER_KUBERNETES];
    for (index, name) in finalizers.iter().enumerate() {
        let broken = qualified_name(name);
        if broken.is_empty() && !name.contains('/') && !STANDARD.contains(&name.as_str()) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(item("metadata", "finalizers", index), name.as_str(), detail));
        }
        errors.extend(broken.into_iter().map(|rule| FieldError::invalid("metadata.finalizers", name.as_str(), rule)));
    }
    let has = |name: &str| finalizers.iter().any(|f| f == name);
    if has(FINALIZER_ORPHAN) && has(FINALIZER_FOREGROUND) {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid("metadata.finalizers", finalizers.to_vec(), detail));
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::registry::Registry;

    fn check(plural: &str, metadata: Value, expected: Expect) {
        let row = Registry::builtin().get("", "v1", plural).unwrap();
        let found: Vec<String> = validate(&json!({"metadata": metadata}), &row)
            .iter()
            .map(|e| e.to_string().chars().take(90).collect())
            .collect();
        expected.assert_eq(&found.join("\n"));
    }

    #[test]
    fn names_follow_the_rule_of_their_kind() {
        check("pods", json!({"name": "a.b-c", "namespace": "x"}), expect![""]);
        check(
            "services",
            json!({"name": "a.b", "namespace": "x"}),
            expect![[r#"metadata.name: Invalid value: "a.b": a DNS-1035 label must consist of lower case alphanume"#]],
        );
        check(
            "namespaces",
            json!({"name": "a.b"}),
            expect![[r#"metadata.name: Invalid value: "a.b": must not contain dots"#]],
        );
        check(
            "nodes",
            json!({"generateName": "n-", "name": "n-1", "namespace": "x"}),
            expect!["metadata.namespace: Forbidden: not allowed on this type"],
        );
        check(
            "pods",
            json!({"namespace": "x"}),
            expect!["metadata.name: Required value: name or generateName is required"],
        );
    }

    #[test]
    fn keys_and_owners_are_checked() {
        check(
            "nodes",
            json!({"name": "n", "labels": {"a/b/c": "x"}, "finalizers": ["nodomain"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "", "uid": ""}]}),
            expect![[r#"
                metadata.labels: Invalid value: "a/b/c": a qualified name must consist of alphanumeric cha
                metadata.ownerReferences.name: Invalid value: "": name must not be empty
                metadata.ownerReferences.uid: Invalid value: "": uid must not be empty
                metadata.finalizers[0]: Invalid value: "nodomain": name is neither a standard finalizer na"#]],
        );
    }

    #[test]
    fn identity_is_immutable() {
        let row = Registry::builtin().get("", "v1", "nodes").unwrap();
        let old = json!({"metadata": {"name": "n", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let new = json!({"metadata": {"name": "n", "uid": "2", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["a.b/c"]}});
        let found: Vec<String> = validate_update(&new, &old, &row).iter().map(ToString::to_string).collect();
        let finalizers = r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers ["a.b/c"]"#;
        let uid = r#"metadata.uid: Invalid value: "2": field is immutable"#;
        assert_eq!(found, [finalizers, uid, finalizers, uid]);
    }

    #[test]
    fn only_the_server_lets_an_object_go() {
        let row = Registry::builtin().get("", "v1", "nodes").unwrap();
        let (old, new) = (
            json!({"metadata": {"name": "n"}}),
            |at: &str| json!({"metadata": {"name": "n", "deletionTimestamp": at}}),
        );
        let found = validate_update(&new("2001-01-01T00:00:00Z"), &old, &row);
        let sentence = "metadata.deletionTimestamp: Invalid value: 2001-01-01 00:00:00 +0000 UTC: field is immutable";
        assert_eq!(coracle_api::field::aggregate(&found), sentence);
    }
}
