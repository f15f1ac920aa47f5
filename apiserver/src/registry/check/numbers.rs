//! Rules about numbers: ranges, ports, percentages.

use coracle_api::field::FieldError;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::Errors;
use super::names::{self, require};

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const PORT: &str = "must be between 1 and 65535, inclusive";
const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                       '93%', regex used for validation is '[0-9]+%')";

/// Zero or more.
pub(in crate::registry) fn not_negative(errors: &mut Errors, path: impl Into<String>, value: impl Into<i64>) {
    let value = value.into();
    if value < 0 {
        errors.push(FieldError::invalid(path, value, NOT_NEGATIVE));
    }
}

/// A count that is part of another.
pub(in crate::registry) fn at_most(errors: &mut Errors, path: impl Into<String>, value: i32, whole: i32, detail: &str) {
    if value > whole {
        errors.push(FieldError::invalid(path, value, detail));
    }
}

/// A port.
pub(in crate::registry) fn port(errors: &mut Errors, path: impl Into<String>, value: i32) {
    if !(1..=65535).contains(&value) {
        errors.push(FieldError::invalid(path, value, PORT));
    }
}

/// A port or the name of one.
pub(in crate::registry) fn port_or_name(errors: &mut Errors, path: impl Into<String>, value: &IntOrString) {
    match value {
        IntOrString::Int(number) => port(errors, path, *number),
        IntOrString::String(name) => require(errors, &path.into(), name, names::port),
    }
}

/// A count or a percentage, which may be neither negative nor over 100%.
pub(in crate::registry) fn count_or_percent(errors: &mut Errors, path: impl Into<String>, value: &IntOrString) {
    match value {
        IntOrString::Int(number) => not_negative(errors, path, *number),
        IntOrString::String(text) if percent(text).is_none() => {
            errors.push(FieldError::invalid(path, text.as_str(), PERCENT));
        }
        IntOrString::String(_) => {}
    }
}

/// A percentage that is not over 100.
pub(in crate::registry) fn at_most_all(errors: &mut Errors, path: impl Into<String>, value: &IntOrString) {
    if let IntOrString::String(text) = value
        && percent(text).is_some_and(|p| p > 100)
    {
        errors.push(FieldError::invalid(path, text.as_str(), "must not be greater than 100%"));
    }
}

/// The number of a percentage: 25 of `25%`.
pub(in crate::registry) fn percent(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('%')?;
    digits.chars().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether a count or percentage is none at all.
pub(in crate::registry) fn is_zero(value: &IntOrString) -> bool {
    match value {
        IntOrString::Int(number) => *number == 0,
        IntOrString::String(text) => percent(text).map_or_else(|| text.parse().unwrap_or(0_i64) == 0, |p| p == 0),
    }
}

/// A count or percentage as a value in an error.
pub(in crate::registry) fn shown(value: &IntOrString) -> Value {
    match value {
        IntOrString::Int(number) => (*number).into(),
        IntOrString::String(text) => text.as_str().into(),
    }
}

/// A quantity in billionths; what is none counts as zero, for decoding has refused it before.
pub(in crate::registry) fn nanos(quantity: &Quantity) -> i128 {
    coracle_api::quantity::nanos(&quantity.0).unwrap_or(0)
}

/// Whether a quantity is more than nothing.
pub(in crate::registry) fn is_positive(quantity: &Quantity) -> bool {
    nanos(quantity) > 0
}

/// A quantity of nothing or more.
pub(in crate::registry) fn quantity_not_negative(errors: &mut Errors, path: String, quantity: &Quantity) {
    if nanos(quantity) < 0 {
        errors.push(FieldError::invalid(path, quantity.0.as_str(), NOT_NEGATIVE));
    }
}

/// Whether a quantity is a whole number, as far as upstream looks: to the thousandth.
pub(in crate::registry) fn is_whole(quantity: &Quantity) -> bool {
    const ONE: i128 = 1_000_000_000;
    nanos(quantity) % ONE == 0
}
