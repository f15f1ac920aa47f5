//! Rules that many kinds share: names, labels, selectors, numbers, addresses.
//!
//! Source of the words: `k8s.io/apimachinery/pkg/util/validation` and `pkg/api/validation`. A rule comes either as a
//! list of sentences about a value, or adds errors about a path to those found so far.

pub(super) mod addresses;
pub(super) mod conditions;
pub(super) mod domains;
pub(super) mod labels;
pub(super) mod names;
pub(super) mod numbers;
pub(super) mod path;
pub(super) mod resources;

use coracle_api::field::FieldError;

/// Errors found so far.
pub(super) type Errors = Vec<FieldError>;

/// A path with one more field.
pub(super) fn at(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// A path with one more index.
pub(super) fn item(path: &str, field: &str, index: usize) -> String {
    format!("{}[{index}]", at(path, field))
}

/// A text, empty where there is none.
pub(super) fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}

/// A field that must hold something.
pub(super) fn required(errors: &mut Errors, path: impl Into<String>, value: &str) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
}

/// A value of those allowed; absent or empty is asked for.
pub(super) fn one_of(errors: &mut Errors, path: impl Into<String>, value: Option<&str>, supported: &[&str]) {
    match value {
        None | Some("") => errors.push(FieldError::required(path, "")),
        Some(value) if !supported.contains(&value) => errors.push(FieldError::not_supported(path, value, supported)),
        Some(_) => {}
    }
}

/// A value of those allowed, if there is one.
pub(super) fn one_of_if_any(errors: &mut Errors, path: impl Into<String>, value: Option<&str>, supported: &[&str]) {
    if let Some(value) = value.filter(|v| !v.is_empty() && !supported.contains(v)) {
        errors.push(FieldError::not_supported(path, value, supported));
    }
}

/// An IP address of either family.
pub(super) fn ip(errors: &mut Errors, path: impl Into<String>, value: &str) {
    if value.parse::<std::net::IpAddr>().is_err() {
        let rule = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid(path, value, rule));
    }
}

/// A network of either family.
pub(super) fn cidr(errors: &mut Errors, path: impl Into<String>, value: &str) {
    let parts = value.split_once('/').and_then(|(a, bits)| Some((a.parse().ok()?, bits.parse::<u8>().ok()?)));
    let valid = match parts {
        Some((std::net::IpAddr::V4(_), bits)) => bits <= 32,
        Some((std::net::IpAddr::V6(_), bits)) => bits <= 128,
        None => false,
    };
    if !valid {
        let rule = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        errors.push(FieldError::invalid(path, value, rule));
    }
}

/// A field that may not change.
pub(super) fn immutable<T: PartialEq + serde::Serialize>(errors: &mut Errors, path: &str, new: &T, old: &T) {
    if new != old {
        let value = serde_json::to_value(new).unwrap_or_default();
        errors.push(FieldError::invalid(path, value, "field is immutable"));
    }
}
