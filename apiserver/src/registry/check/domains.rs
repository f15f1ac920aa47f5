//! Rules about names of hosts with a star, and of things that begin with a domain.

use coracle_api::field::FieldError;
use coracle_api::names::is_dns1123_subdomain;

use super::Errors;
use super::names::{require, subdomain};

const WILDCARD_RULE: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, \
     which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character \
     (e.g. '*.example.com', regex used for validation is \
     '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

const PATH_RULE: &str = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";

/// The longest DNS name.
const NAME_MAX: usize = 253;

/// A host whose first label may be a star: `*.example.com`.
pub(in crate::registry) fn wildcard(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if value.len() > NAME_MAX {
        broken.push(format!("must be no more than {NAME_MAX} characters"));
    }
    if !value.strip_prefix("*.").is_some_and(is_dns1123_subdomain) {
        broken.push(WILDCARD_RULE.to_owned());
    }
    broken
}

/// A domain and a path: `acme.io/foo`.
pub(in crate::registry) fn prefixed_path(errors: &mut Errors, path: &str, value: &str) {
    match value.split_once('/') {
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
            errors.extend(subdomain(host).into_iter().map(|rule| FieldError::invalid(path, host, rule)));
            let allowed = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
            if !rest.chars().all(allowed) {
                errors.push(FieldError::invalid(path, rest, PATH_RULE));
            }
        }
        _ => errors.push(FieldError::invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")")),
    }
}

/// The name of a driver: a short subdomain, in any case.
pub(in crate::registry) fn driver(errors: &mut Errors, path: &str, name: &str) {
    const DRIVER_MAX: usize = 63;
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if name.len() > DRIVER_MAX {
        errors.push(FieldError::too_long(path, DRIVER_MAX));
    }
    if !subdomain(&name.to_lowercase()).is_empty() {
        require(errors, path, name, subdomain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_prefixes_have_their_places() {
        assert_eq!(wildcard("*.example.com"), Vec::<String>::new());
        for bad in ["a.*.com", "*", "*.", "*.A"] {
            assert_eq!(wildcard(bad), [WILDCARD_RULE], "{bad}");
        }
        let told = |value: &str| {
            let mut errors = Vec::new();
            prefixed_path(&mut errors, "p", value);
            errors.len()
        };
        assert_eq!([told("a.io/b"), told("a"), told("/b"), told("a/"), told("A/b c")], [0, 1, 1, 1, 2]);
    }
}
