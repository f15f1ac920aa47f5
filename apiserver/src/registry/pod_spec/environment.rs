//! The rules for environment variables and where their values come from.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, FileKeySelector};

use super::downward;
use super::volumes::local_path;
use crate::registry::check::names::{self, require};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, required, text};

/// The rules for a container's environment.
pub(super) fn validate(errors: &mut Errors, path: Path<'_>, container: &Container) {
    let list = path.field("env");
    for (index, variable) in container.env.iter().flatten().enumerate() {
        validate_variable(errors, list.index(index), variable);
    }
    let list = path.field("envFrom");
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        let path = list.index(index);
        let prefix = text(&source.prefix);
        if !prefix.is_empty() {
            require(errors, path.field("prefix"), prefix, names::environment);
        }
        if let Some(map) = &source.config_map_ref {
            let path = path.field("configMapRef");
            named(errors, path.field("name"), &map.name);
        }
        if let Some(secret) = &source.secret_ref {
            let path = path.field("secretRef");
            named(errors, path.field("name"), &secret.name);
        }
        match (&source.config_map_ref, &source.secret_ref) {
            (None, None) => {
                errors.push(FieldError::invalid(list, "", "must specify one of: `configMapRef` or `secretRef`"));
            }
            (Some(_), Some(_)) => errors.push(FieldError::invalid(list, "", ONE)),
            (Some(_), None) | (None, Some(_)) => {}
        }
    }
}

const ONE: &str = "may not have more than one field specified at a time";

fn named(errors: &mut Errors, path: Path<'_>, name: &str) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        require(errors, path, name, names::subdomain);
    }
}

fn validate_variable(errors: &mut Errors, path: Path<'_>, variable: &EnvVar) {
    if variable.name.is_empty() {
        errors.push(FieldError::required(path.field("name"), ""));
    } else {
        require(errors, path.field("name"), &variable.name, names::environment);
    }
    let Some(source) = &variable.value_from else { return };
    let path = path.field("valueFrom");
    let sources = validate_source(errors, path, source);
    if sources == 0 {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        errors.push(FieldError::invalid(path, "", detail));
    } else if !text(&variable.value).is_empty() {
        errors.push(FieldError::invalid(path, "", "may not be specified when `value` is not empty"));
    } else if sources > 1 {
        errors.push(FieldError::invalid(path, "", ONE));
    }
}

/// The rules for each source that is named; gives how many are.
fn validate_source(errors: &mut Errors, path: Path<'_>, source: &EnvVarSource) -> usize {
    if let Some(field) = &source.field_ref {
        downward::validate_field(errors, path.field("fieldRef"), field, &downward::VARIABLES);
    }
    if let Some(resource) = &source.resource_field_ref {
        downward::validate_resource(errors, path.field("resourceFieldRef"), resource);
    }
    if let Some(key) = &source.config_map_key_ref {
        validate_key(errors, path.field("configMapKeyRef"), &key.name, &key.key);
    }
    if let Some(key) = &source.secret_key_ref {
        validate_key(errors, path.field("secretKeyRef"), &key.name, &key.key);
    }
    if let Some(key) = &source.file_key_ref {
        validate_file_key(errors, path.field("fileKeyRef"), key);
    }
    let there = [
        source.field_ref.is_some(),
        source.resource_field_ref.is_some(),
        source.config_map_key_ref.is_some(),
        source.secret_key_ref.is_some(),
        source.file_key_ref.is_some(),
    ];
    there.into_iter().filter(|there| *there).count()
}

fn validate_key(errors: &mut Errors, path: Path<'_>, name: &str, key: &str) {
    require(errors, path.field("name"), name, names::subdomain);
    if key.is_empty() {
        errors.push(FieldError::required(path.field("key"), ""));
    } else {
        require(errors, path.field("key"), key, names::config_key);
    }
}

fn validate_file_key(errors: &mut Errors, path: Path<'_>, key: &FileKeySelector) {
    if key.volume_name.is_empty() {
        errors.push(FieldError::required(path.field("volumeName"), ""));
    } else {
        require(errors, path.field("volumeName"), &key.volume_name, names::label);
    }
    required(errors, path.field("path"), &key.path);
    local_path(errors, path.field("path"), &key.path);
    if key.key.is_empty() {
        errors.push(FieldError::required(path.field("key"), ""));
    } else {
        require(errors, path.field("key"), &key.key, names::environment);
    }
}
