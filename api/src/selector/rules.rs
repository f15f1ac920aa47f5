//! What a label's key and value must look like, in Kubernetes' sentences.
//!
//! Source: `k8s.io/apimachinery/pkg/util/validation`.

use crate::names::{SUBDOMAIN_RULE, is_dns1123_subdomain};

/// The longest name part of a key, and the longest value.
const LABEL_MAX: usize = 63;

/// The longest prefix of a key.
const PREFIX_MAX: usize = 253;

/// Kubernetes' sentence about the name part of label keys.
pub const QUALIFIED_NAME_RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// Kubernetes' sentence about label values.
pub const LABEL_VALUE_RULE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Whether `value` may be a label's value.
#[must_use]
pub fn is_label_value(value: &str) -> bool {
    value.len() <= LABEL_MAX && is_shaped(value)
}

/// The sentences that a key of a label breaks: an optional subdomain and `/`, then a name.
#[must_use]
pub fn broken_by_key(key: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let name = match key.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            broken.extend(broken_by_prefix(prefix).into_iter().map(|rule| format!("prefix part {rule}")));
            name
        }
        _ => {
            let rule = QUALIFIED_NAME_RULE.trim_start_matches("name part");
            let hint = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a qualified name{rule} {hint}")];
        }
    };
    if name.is_empty() {
        broken.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        broken.push(format!("name part must be no more than {LABEL_MAX} characters"));
    }
    if name.is_empty() || !is_shaped(name) {
        broken.push(QUALIFIED_NAME_RULE.to_owned());
    }
    broken
}

/// The sentences that a value of a label breaks.
#[must_use]
pub fn broken_by_value(value: &str) -> Vec<String> {
    let mut broken = Vec::new();
    if value.len() > LABEL_MAX {
        broken.push(format!("must be no more than {LABEL_MAX} characters"));
    }
    if !is_shaped(value) {
        broken.push(LABEL_VALUE_RULE.to_owned());
    }
    broken
}

fn broken_by_prefix(prefix: &str) -> Vec<String> {
    if prefix.is_empty() {
        return vec!["must be non-empty".to_owned()];
    }
    let mut broken = Vec::new();
    if prefix.len() > PREFIX_MAX {
        broken.push(format!("must be no more than {PREFIX_MAX} characters"));
    } else if !is_dns1123_subdomain(prefix) {
        broken.push(SUBDOMAIN_RULE.to_owned());
    }
    broken
}

/// Its characters alone, however long it is.
fn is_shaped(value: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric();
    value.chars().all(inner) && (value.is_empty() || value.starts_with(edge) && value.ends_with(edge))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_break_the_rules_they_should() {
        for fine in ["a", "a.b_c-d", "example.com/a", "9"] {
            assert_eq!(broken_by_key(fine), Vec::<String>::new(), "{fine}");
        }
        assert_eq!(broken_by_key("-x"), [QUALIFIED_NAME_RULE]);
        assert_eq!(broken_by_key(""), ["name part must be non-empty", QUALIFIED_NAME_RULE]);
        assert_eq!(broken_by_key("/a"), ["prefix part must be non-empty"]);
        assert_eq!(broken_by_key(&"a".repeat(64)), ["name part must be no more than 63 characters"]);
        assert!(broken_by_key("a/b/c").iter().all(|rule| rule.starts_with("a qualified name must consist")));
        assert_eq!(broken_by_value(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(broken_by_value("a b"), [LABEL_VALUE_RULE]);
        assert_eq!(broken_by_value(""), Vec::<String>::new());
    }
}
