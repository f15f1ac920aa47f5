//! Names as types: a value of one of these has been checked, so nothing inside checks it again.

use std::fmt;
use std::str::FromStr;

/// A name that does not have the form its role asks for. The message says the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {rule}")]
pub struct InvalidName {
    /// The role, for example `node name`.
    pub what: &'static str,
    /// What was given.
    pub value: String,
    /// The rule it breaks, in Kubernetes' words.
    pub rule: &'static str,
}

/// Kubernetes' sentence about RFC 1123 subdomains, as `kubectl` users know it.
pub const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Kubernetes' sentence about RFC 1123 labels.
pub const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

/// Kubernetes' sentence about RFC 1035 labels (Service names).
pub const DNS1035_RULE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// Whether `value` is an RFC 1123 label: at most 63 characters of `[a-z0-9-]`, alphanumeric at both ends.
#[must_use]
pub fn is_dns1123_label(value: &str) -> bool {
    value.len() <= 63 && label_shape(value)
}

/// Whether `value` is an RFC 1123 subdomain: labels joined by dots, at most 253 characters.
#[must_use]
pub fn is_dns1123_subdomain(value: &str) -> bool {
    value.len() <= 253 && value.split('.').all(label_shape)
}

/// Whether `value` is an RFC 1035 label: as an RFC 1123 label, but starting with a letter.
#[must_use]
pub fn is_dns1035_label(value: &str) -> bool {
    is_dns1123_label(value) && value.starts_with(|c: char| c.is_ascii_lowercase())
}

fn label_shape(value: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !value.is_empty() && value.chars().all(inner) && !value.starts_with('-') && !value.ends_with('-')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr, $rule:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            #[doc = concat!("Checks that `value` is a ", $what, ".")]
            ///
            /// # Errors
            /// [`InvalidName`] with the rule that it breaks.
            pub fn new(value: impl Into<String>) -> Result<Self, InvalidName> {
                let value = value.into();
                let check: fn(&str) -> bool = $check;
                if check(&value) { Ok(Self(value)) } else { Err(InvalidName { what: $what, value, rule: $rule }) }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(value: &str) -> Result<Self, InvalidName> {
                Self::new(value)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name of a Node: an RFC 1123 subdomain.
    NodeName, "node name", is_dns1123_subdomain, SUBDOMAIN_RULE
);
name!(
    /// An object's `metadata.uid`: unique over all time and all objects.
    Uid, "uid", |v| !v.is_empty() && v.len() <= 128, "a uid must be 1 to 128 characters"
);
name!(
    /// A content digest, `sha256:` and 64 lower-case hexadecimal digits (OCI image specification).
    Digest, "digest", is_sha256, "a digest must be 'sha256:' followed by 64 lower-case hexadecimal digits"
);

fn is_sha256(value: &str) -> bool {
    value
        .strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')))
}

impl Digest {
    /// The 64 hexadecimal digits without the algorithm: what OCI layouts use as a file name.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }
}

/// A namespaced object as people write it: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// The namespace; empty for an object of the cluster.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl NamespacedName {
    /// The pair, taken as it comes from an object that the API server has already checked.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains_follow_rfc_1123() {
        for good in ["a", "a-b", "0a", "a.b-c.d"] {
            assert!(is_dns1123_subdomain(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a..b", "a_b", ".a"] {
            assert!(!is_dns1123_subdomain(bad), "{bad}");
        }
        assert!(!is_dns1123_label("a.b"));
        assert!(!is_dns1035_label("0a"));
    }

    #[test]
    fn a_digest_is_sha256_and_64_hex_digits() {
        assert!(Digest::new(format!("sha256:{}", "a".repeat(64))).is_ok());
        assert!(Digest::new(format!("sha256:{}", "A".repeat(64))).is_err());
        assert!(Digest::new("sha256:../../etc/passwd").is_err());
    }
}
