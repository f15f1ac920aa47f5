//! Hosts: as rules of Ingresses name them, and as requests and TLS clients do.
//!
//! Names have no case, and a wildcard stands for exactly one label: `*.boat.dev` is `a.boat.dev`, and neither
//! `boat.dev` nor `a.b.boat.dev`.

use std::collections::HashMap;

use http::uri::Authority;

/// What a rule is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Host {
    /// One host.
    Exact(String),
    /// All hosts of one label more than this.
    Wildcard(String),
    /// Hosts that no other rule names.
    Any,
}

impl Host {
    /// The host of a rule, or of an entry of `tls`.
    pub(super) fn of_rule(text: Option<&str>) -> Self {
        match text.unwrap_or_default() {
            "" | "*" => Self::Any,
            text => match text.strip_prefix("*.") {
                Some(rest) => Self::Wildcard(rest.to_ascii_lowercase()),
                None => Self::Exact(text.to_ascii_lowercase()),
            },
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(rest) => write!(f, "*.{rest}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Something for each host.
#[derive(Debug)]
pub(super) struct ByHost<T>(HashMap<Host, T>);

impl<T> Default for ByHost<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> ByHost<T> {
    /// What there is for a host of a rule.
    pub(super) fn entry(&mut self, host: Host) -> std::collections::hash_map::Entry<'_, Host, T> {
        self.0.entry(host)
    }

    /// What there is for a host that is asked for, in lower case: by its name, else by a wildcard, else for any.
    pub(super) fn find(&self, asked: &str) -> Option<&T> {
        let wildcard = || asked.split_once('.').and_then(|(_, rest)| self.0.get(&Host::Wildcard(rest.to_owned())));
        self.0.get(&Host::Exact(asked.to_owned())).or_else(wildcard).or_else(|| self.0.get(&Host::Any))
    }
}

/// The host that an authority names, without its port, in lower case. Nothing if it is no authority of HTTP.
pub(super) fn asked(authority: &str) -> Option<String> {
    if authority.is_empty() {
        return Some(String::new());
    }
    if authority.contains('@') {
        return None;
    }
    let authority: Authority = authority.parse().ok()?;
    let host = authority.host();
    (!host.is_empty()).then(|| host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &[&str], asked: &str, expected: Option<&str>) {
        let mut hosts = ByHost::default();
        for rule in rules {
            hosts.entry(Host::of_rule(Some(rule))).or_insert(*rule);
        }
        assert_eq!(hosts.find(asked).copied(), expected, "{asked} in {rules:?}");
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        check(&["*.foo.com"], "bar.foo.com", Some("*.foo.com"));
        check(&["*.foo.com"], "baz.bar.foo.com", None);
        check(&["*.foo.com"], "foo.com", None);
        check(&["*.foo.com"], "", None);
    }

    #[test]
    fn the_most_telling_rule_is_taken() {
        check(&["*.foo.com", "bar.foo.com", ""], "bar.foo.com", Some("bar.foo.com"));
        check(&["*.foo.com", "bar.foo.com", ""], "baz.foo.com", Some("*.foo.com"));
        check(&["*.foo.com", "bar.foo.com", ""], "foo.com", Some(""));
        check(&["BAR.foo.com"], "bar.foo.com", Some("BAR.foo.com"));
    }

    #[test]
    fn a_host_is_asked_for_with_or_without_a_port() {
        let of = |text| asked(text);
        assert_eq!(of("Foo.Com:8080").as_deref(), Some("foo.com"));
        assert_eq!(of("foo.com.").as_deref(), Some("foo.com"));
        assert_eq!(of("[::1]:80").as_deref(), Some("[::1]"));
        assert_eq!(of("").as_deref(), Some(""));
        for bad in ["a@b", "a b", ":80", "a/b", "a\u{1}"] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
