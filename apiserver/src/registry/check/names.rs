//! Rules about names: each function gives the sentences that a value breaks.

use coracle_api::field::FieldError;
use coracle_api::names::{DNS1035_RULE, LABEL_RULE, SUBDOMAIN_RULE};

use super::Errors;
use super::path::Place;

/// The longest DNS label.
pub(in crate::registry) const LABEL_MAX: usize = 63;
/// The longest DNS name.
const SUBDOMAIN_MAX: usize = 253;
/// The longest port name (RFC 6335).
const PORT_NAME_MAX: usize = 15;

/// Adds an error per broken sentence.
pub(in crate::registry) fn require(errors: &mut Errors, path: impl Place, value: &str, rule: fn(&str) -> Vec<String>) {
    let broken = rule(value);
    if !broken.is_empty() {
        let path = path.told();
        errors.extend(broken.into_iter().map(|detail| FieldError::invalid(path.as_str(), value, detail)));
    }
}

/// Length and shape apart, as upstream tells them.
fn bounded(value: &str, max: usize, shape: fn(&str) -> bool, rule: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if value.len() > max {
        broken.push(format!("must be no more than {max} characters"));
    }
    if !shape(value) {
        broken.push(rule.to_owned());
    }
    broken
}

/// Small letters, digits and dashes, with a letter or digit at both ends, of any length.
fn is_label_shaped(value: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !value.is_empty() && value.chars().all(inner) && !value.starts_with('-') && !value.ends_with('-')
}

fn is_subdomain_shaped(value: &str) -> bool {
    value.split('.').all(is_label_shaped)
}

fn is_dns1035_shaped(value: &str) -> bool {
    is_label_shaped(value) && value.starts_with(|c: char| c.is_ascii_lowercase())
}

/// An RFC 1123 label: `my-name`.
pub(in crate::registry) fn label(value: &str) -> Vec<String> {
    // What would be a subdomain has too many of one thing only.
    let rule = if is_subdomain_shaped(value) { "must not contain dots" } else { LABEL_RULE };
    bounded(value, LABEL_MAX, is_label_shaped, rule)
}

/// An RFC 1123 subdomain: `example.com`.
pub(in crate::registry) fn subdomain(value: &str) -> Vec<String> {
    bounded(value, SUBDOMAIN_MAX, is_subdomain_shaped, SUBDOMAIN_RULE)
}

/// A name that DNS servers are asked for: underscores are usual there, as in `_http._tcp.example.com`.
pub(in crate::registry) fn search_domain(value: &str) -> Vec<String> {
    const RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' \
                        or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used \
                        for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let label = |part: &str| {
        let part = part.strip_prefix('_').unwrap_or(part);
        !part.is_empty() && part.chars().all(inner) && !part.starts_with(['-', '_']) && !part.ends_with(['-', '_'])
    };
    let mut broken = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        broken.push(format!("must be no more than {SUBDOMAIN_MAX} characters"));
    }
    if !value.split('.').all(label) {
        broken.push(RULE.to_owned());
    }
    broken
}

/// An RFC 1035 label, which starts with a letter: names of Services.
pub(in crate::registry) fn dns1035(value: &str) -> Vec<String> {
    bounded(value, LABEL_MAX, is_dns1035_shaped, DNS1035_RULE)
}

/// A name that can stand in a path.
pub(in crate::registry) fn path_segment(value: &str) -> Vec<String> {
    if matches!(value, "." | "..") {
        return vec![format!("may not be '{value}'")];
    }
    ["/", "%"].iter().filter(|c| value.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// The name of a port (RFC 6335).
pub(in crate::registry) fn port(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let mut rule = |holds: bool, sentence: String| {
        if !holds {
            broken.push(sentence);
        }
    };
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    rule(value.len() <= PORT_NAME_MAX, format!("must be no more than {PORT_NAME_MAX} characters"));
    let charset = value.chars().all(inner) && !value.is_empty();
    rule(charset, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    let letter = !charset || value.chars().any(|c| c.is_ascii_lowercase());
    rule(letter, "must contain at least one letter (a-z)".to_owned());
    rule(!value.contains("--"), "must not contain consecutive hyphens".to_owned());
    let edges = !value.starts_with('-') && !value.ends_with('-');
    rule(edges, "must not begin or end with a hyphen".to_owned());
    broken
}

/// The name of an environment variable.
pub(in crate::registry) fn environment(value: &str) -> Vec<String> {
    let printable = value.chars().all(|c| (' '..='~').contains(&c) && c != '=');
    if printable && !value.is_empty() {
        return Vec::new();
    }
    let rule = "a valid environment variable name must consist only of printable ASCII characters other than '='";
    vec![rule.to_owned()]
}

/// A key of a ConfigMap or Secret, which may become a file.
pub(in crate::registry) fn config_key(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        broken.push(format!("must be no more than {SUBDOMAIN_MAX} characters"));
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if value.is_empty() || !value.chars().all(inner) {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  \
                    or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
        broken.push(rule.to_owned());
    }
    if value == "." {
        broken.push("must not be '.'".to_owned());
    } else if value == ".." {
        broken.push("must not be '..'".to_owned());
    } else if value.starts_with("..") {
        broken.push("must not start with '..'".to_owned());
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_break_the_rules_they_should() {
        assert_eq!(label("my-name"), Vec::<String>::new());
        assert_eq!(label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(label("A").len(), 1);
        assert_eq!(label("a.b"), ["must not contain dots"]);
        assert_eq!(subdomain(&"a".repeat(254)), ["must be no more than 253 characters"]);
        assert_eq!(subdomain("a..b").len(), 1);
        assert_eq!(dns1035("1a").len(), 1);
        assert_eq!(path_segment("a%b"), ["may not contain '%'"]);
        assert_eq!(port("http-2"), Vec::<String>::new());
        assert_eq!(port("TOO_long_port_name").len(), 2);
        assert_eq!(port("12"), ["must contain at least one letter (a-z)"]);
        assert_eq!(environment("A="), environment(""));
        assert_eq!(config_key("..").len(), 1);
        assert_eq!(config_key("a b").len(), 1);
    }
}
