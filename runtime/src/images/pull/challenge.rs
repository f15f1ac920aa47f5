//! What a registry asks for when it says 401: the challenges of `WWW-Authenticate` (RFC 9110, 11.6.1). Pure.

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A name and a password.
    Basic,
    /// A token from a server that it names.
    Bearer {
        /// Where tokens are made.
        realm: String,
        /// For whom they are made; empty if it is not said.
        service: String,
        /// What they are to allow; empty if it is not said.
        scope: String,
    },
}

/// The first challenge in a header that we can answer; a token is preferred to a password.
pub(super) fn parse(header: &str) -> Option<Challenge> {
    let challenges = split(header);
    let bearer = challenges.iter().filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).find_map(|(_, ps)| {
        let get = |name: &str| ps.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
        let (service, scope) = (get("service").unwrap_or_default(), get("scope").unwrap_or_default());
        Some(Challenge::Bearer { realm: get("realm").filter(|r| !r.is_empty())?, service, scope })
    });
    let basic = || challenges.iter().any(|(s, _)| s.eq_ignore_ascii_case("basic")).then_some(Challenge::Basic);
    bearer.or_else(basic)
}

type Parameters = Vec<(String, String)>;

/// Each scheme with its parameters. What follows a syntax error is left out.
fn split(header: &str) -> Vec<(String, Parameters)> {
    let mut all: Vec<(String, Parameters)> = Vec::new();
    let mut rest = header.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',', '\t']).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        if let Some(value) = tail.trim_start().strip_prefix('=') {
            let Some((value, after)) = value_of(value.trim_start()) else { break };
            if let Some((_, parameters)) = all.last_mut() {
                parameters.push((word.to_owned(), value));
            }
            rest = after;
        } else {
            all.push((word.to_owned(), Vec::new()));
            rest = tail;
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    all
}

/// A token or a quoted string, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(at + 1..).unwrap_or_default())),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.into(), scope: scope.into() })
    }

    #[test]
    fn challenges_of_real_registries_are_understood() {
        for (header, expected) in [
            (r#"Basic realm="basic-realm""#, Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/hello:pull,push""#,
                bearer("https://auth.docker.io/token", "registry.docker.io", "repository:library/hello:pull,push"),
            ),
            (
                r#"Bearer realm="https://ghcr.io/token", service=ghcr.io"#,
                bearer("https://ghcr.io/token", "ghcr.io", ""),
            ),
            (r#"Basic realm="x", Bearer realm="https://t/a\"b" , error="e""#, bearer("https://t/a\"b", "", "")),
            (r#"Negotiate, Basic realm="x, y""#, Some(Challenge::Basic)),
            ("Bearer", None),
            (r#"Bearer realm="open"#, None),
            ("Digest realm=x", None),
            ("", None),
            ("=,=", None),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }
}
