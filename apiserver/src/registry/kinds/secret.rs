//! Secret: settings that are nobody else's business. Errors never show values.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::{ALL_VERBS, config_map::sealed};
use crate::registry::cells::{self, AGE, NAME, or, text};
use crate::registry::check::at;
use crate::registry::check::names::{self, require};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

/// All values together: upstream's 1 MiB.
const DATA_BYTES_MAX: usize = 1024 * 1024;

const COLUMNS: &[Column] =
    &[NAME, text("Type", "What the entries are for."), text("Data", "How many entries it has."), AGE];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &["type"],
        name_rule: NameRule::Subdomain,
        generation: Generation::Never,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

/// A type of Secret and the keys that it asks for.
const KEYS: [(&str, &[&str]); 4] = [
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
];

const BASIC_AUTH: &str = "kubernetes.io/basic-auth";
const SERVICE_ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

impl Kind for Strategy {
    type Object = Secret;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.Secret";

    fn default(object: &mut Secret) {
        if object.type_.as_deref().is_none_or(str::is_empty) {
            object.type_ = Some("Opaque".to_owned());
        }
        for (key, value) in object.string_data.take().into_iter().flatten() {
            object.data.get_or_insert_default().insert(key, k8s_openapi::ByteString(value.into_bytes()));
        }
    }

    fn validate(object: &Secret) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = std::collections::BTreeMap::new();
        let data = object.data.as_ref().unwrap_or(&empty);
        for key in data.keys() {
            require(&mut errors, &format!("data[{key}]"), key, names::config_key);
        }
        if data.values().map(|v| v.0.len()).sum::<usize>() > DATA_BYTES_MAX {
            errors.push(FieldError::too_long("data", DATA_BYTES_MAX));
        }
        let kind = object.type_.as_deref().unwrap_or_default();
        let mut missing = |key: &str| errors.push(FieldError::required(format!("data[{key}]"), ""));
        let wanted = KEYS.iter().find(|(name, _)| *name == kind).map_or(&[][..], |(_, keys)| keys);
        wanted.iter().filter(|key| !data.contains_key(**key)).for_each(|key| missing(key));
        if kind == BASIC_AUTH && !data.contains_key("username") && !data.contains_key("password") {
            missing("username");
            missing("password");
        }
        for key in wanted.iter().filter(|key| key.starts_with(".docker")) {
            let json = data.get(*key).map(|v| serde_json::from_slice::<serde::de::IgnoredAny>(&v.0));
            if let Some(Err(error)) = json {
                let path = format!("data[{key}]");
                errors.push(FieldError::invalid(path, "<secret contents redacted>", error.to_string()));
            }
        }
        let account = object.metadata.annotations.as_ref().and_then(|a| a.get(SERVICE_ACCOUNT_NAME));
        if kind == SERVICE_ACCOUNT_TOKEN && account.is_none_or(String::is_empty) {
            let path = at("metadata", &format!("annotations[{SERVICE_ACCOUNT_NAME}]"));
            errors.push(FieldError::required(path, ""));
        }
        errors
    }

    fn validate_update(new: &Secret, old: &Secret) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if new.type_ != old.type_ {
            errors.push(FieldError::invalid("type", new.type_.clone().unwrap_or_default(), "field is immutable"));
        }
        if old.immutable == Some(true) {
            sealed(&mut errors, new.immutable != Some(true), "immutable");
            sealed(&mut errors, new.data != old.data, "data");
        }
        errors.extend(Self::validate(new));
        errors
    }

    fn cells(object: &Secret, now: Timestamp) -> Vec<Value> {
        let count = object.data.as_ref().map_or(0, |d| d.len());
        let kind = or(object.type_.as_deref(), "");
        vec![cells::name(&object.metadata), kind.into(), count.into(), cells::age(&object.metadata, now)]
    }
}
