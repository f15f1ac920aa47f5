//! The rules for environment variables and where their values come from.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector};

use crate::registry::check::labels::qualified_name;
use crate::registry::check::names::{self, require};
use crate::registry::check::{Errors, at, item};

/// Fields of a pod that a variable may hold.
const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Resources of a container that a variable may hold.
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// The rules for a container's environment.
pub(super) fn validate(errors: &mut Errors, path: &str, container: &Container) {
    for (index, variable) in container.env.iter().flatten().enumerate() {
        validate_variable(errors, &item(path, "env", index), variable);
    }
    for source in container.env_from.iter().flatten() {
        let path = at(path, "envFrom");
        if let Some(prefix) = source.prefix.as_deref().filter(|p| !p.is_empty()) {
            require(errors, &at(&path, "prefix"), prefix, names::environment);
        }
        match (&source.config_map_ref, &source.secret_ref) {
            (None, None) => {
                errors.push(FieldError::invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"));
            }
            (Some(_), Some(_)) => {
                errors.push(FieldError::invalid(path, "", "may not have more than one field specified at a time"));
            }
            (Some(map), None) => source_name(errors, at(&at(&path, "configMapRef"), "name"), &map.name),
            (None, Some(secret)) => source_name(errors, at(&at(&path, "secretRef"), "name"), &secret.name),
        }
    }
}

fn source_name(errors: &mut Errors, path: String, name: &str) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        require(errors, &path, name, names::subdomain);
    }
}

fn validate_variable(errors: &mut Errors, path: &str, variable: &EnvVar) {
    if variable.name.is_empty() {
        errors.push(FieldError::required(at(path, "name"), ""));
    } else {
        require(errors, &at(path, "name"), &variable.name, names::environment);
    }
    let Some(source) = &variable.value_from else { return };
    let path = at(path, "valueFrom");
    if variable.value.as_deref().is_some_and(|v| !v.is_empty()) {
        let detail = "may not be specified when `value` is not empty";
        errors.push(FieldError::invalid(path.as_str(), "", detail));
    }
    validate_source(errors, &path, source);
}

fn validate_source(errors: &mut Errors, path: &str, source: &EnvVarSource) {
    let mut count = 0;
    if let Some(field) = &source.field_ref {
        count += 1;
        validate_field_path(errors, &at(path, "fieldRef"), field, &FIELDS);
    }
    if let Some(resource) = &source.resource_field_ref {
        count += 1;
        let path = at(path, "resourceFieldRef");
        if resource.resource.is_empty() {
            errors.push(FieldError::required(at(&path, "resource"), ""));
        } else if !RESOURCES.contains(&resource.resource.as_str()) && !resource.resource.contains("hugepages-") {
            errors.push(FieldError::not_supported(at(&path, "resource"), resource.resource.as_str(), &RESOURCES));
        }
    }
    if let Some(key) = &source.config_map_key_ref {
        count += 1;
        validate_key(errors, &at(path, "configMapKeyRef"), &key.name, &key.key);
    }
    if let Some(key) = &source.secret_key_ref {
        count += 1;
        validate_key(errors, &at(path, "secretKeyRef"), &key.name, &key.key);
    }
    if count == 0 && source.file_key_ref.is_none() {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        errors.push(FieldError::invalid(path, "", detail));
    } else if count > 1 {
        errors.push(FieldError::invalid(path, "", "may not have more than one field specified at a time"));
    }
}

fn validate_key(errors: &mut Errors, path: &str, name: &str, key: &str) {
    if name.is_empty() {
        errors.push(FieldError::required(at(path, "name"), ""));
    }
    if key.is_empty() {
        errors.push(FieldError::required(at(path, "key"), ""));
    } else {
        require(errors, &at(path, "key"), key, names::config_key);
    }
}

/// The rules for a field of the pod that a variable or a file holds.
pub(super) fn validate_field_path(errors: &mut Errors, path: &str, field: &ObjectFieldSelector, offered: &[&str]) {
    let place = at(path, "fieldPath");
    let value = field.field_path.as_str();
    if field.api_version.as_deref().is_none_or(str::is_empty) {
        errors.push(FieldError::required(at(path, "apiVersion"), ""));
        return;
    }
    if value.is_empty() {
        errors.push(FieldError::required(place, ""));
        return;
    }
    if let Some((map, key)) = value.split_once("['").and_then(|(m, k)| Some((m, k.strip_suffix("']")?))) {
        if !matches!(map, "metadata.annotations" | "metadata.labels") {
            errors.push(FieldError::invalid(place, value, format!("{map:?} does not support subscript")));
        } else {
            require(errors, &place, &key.to_lowercase(), qualified_name);
        }
        return;
    }
    let known = FIELDS.contains(&value) || matches!(value, "metadata.annotations" | "metadata.labels");
    if !known {
        let detail = format!("error converting fieldPath: field label not supported: {value}");
        errors.push(FieldError::invalid(place, value, detail));
    } else if !offered.contains(&value) {
        errors.push(FieldError::not_supported(place, value, offered));
    }
}
