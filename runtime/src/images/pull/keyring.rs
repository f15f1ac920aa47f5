//! A pod's credentials for registries: its pull secrets, and which of them fit an image.
//!
//! The rules are the kubelet's: host, port and path prefix must match, `*` and `?` stand for parts of a host's label,
//! and of several that match the most specific is tried first. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

/// The key of a Secret of type `kubernetes.io/dockerconfigjson`.
const CONFIG_JSON: &str = ".dockerconfigjson";
/// The key of a Secret of type `kubernetes.io/dockercfg`.
const CONFIG: &str = ".dockercfg";
/// How `docker login` keeps the credentials of Docker Hub.
const DOCKER_HUB: &str = "index.docker.io";

/// How one proves to a registry who one is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Credential {
    /// A name and a password, given to the registry or to its token server.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that the token server exchanges for one to the registry.
    Identity(String),
    /// A token that the registry takes as it is.
    Bearer(String),
}

impl std::fmt::Debug for Credential {
    // Secrets are not for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Basic { username, .. } => f.debug_struct("Basic").field("username", username).finish_non_exhaustive(),
            Self::Identity(_) => f.write_str("Identity"),
            Self::Bearer(_) => f.write_str("Bearer"),
        }
    }
}

/// One registry's entry in a `config.json` of Docker's.
#[derive(Clone, Default, Deserialize)]
pub struct AuthEntry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
    #[serde(default, rename = "registrytoken")]
    registry_token: String,
}

impl std::fmt::Debug for AuthEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthEntry").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Why credentials cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The secret's text is not JSON of that form.
    #[error("{key} of the pull secret is not valid: {why}")]
    NotJson {
        /// The key in the Secret.
        key: &'static str,
        /// Where and why.
        why: String,
    },
    /// `auth` is no base64 of `name:password`.
    #[error("the credentials for {registry:?} are not valid: auth must be the base64 of NAME:PASSWORD")]
    Auth {
        /// The registry as the secret names it.
        registry: String,
    },
}

impl AuthEntry {
    /// An entry as a registries file has it.
    pub(super) fn of(username: String, password: String, auth: String, identity_token: String) -> Self {
        Self { username, password, auth, identity_token, registry_token: String::new() }
    }

    /// The credential in it; nothing if it is empty.
    ///
    /// # Errors
    /// [`KeyringError::Auth`] if `auth` cannot be decoded.
    pub fn credential(&self, registry: &str) -> Result<Option<Credential>, KeyringError> {
        if !self.registry_token.is_empty() {
            return Ok(Some(Credential::Bearer(self.registry_token.clone())));
        }
        if !self.identity_token.is_empty() {
            return Ok(Some(Credential::Identity(self.identity_token.clone())));
        }
        if !self.auth.is_empty() {
            let (username, password) =
                decoded(&self.auth).ok_or_else(|| KeyringError::Auth { registry: registry.to_owned() })?;
            return Ok(Some(Credential::Basic { username, password }));
        }
        let some = !self.username.is_empty() || !self.password.is_empty();
        Ok(some.then(|| Credential::Basic { username: self.username.clone(), password: self.password.clone() }))
    }
}

/// `name:password` out of base64, with or without padding.
fn decoded(auth: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(auth.trim()).or_else(|_| STANDARD_NO_PAD.decode(auth.trim())).ok()?;
    // Some tools leave zero bytes at its end.
    let text = String::from_utf8(bytes).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.trim_end_matches('\0').to_owned()))
}

#[derive(Deserialize)]
struct ConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, AuthEntry>,
}

/// Credentials by the registries they are for.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    entries: Vec<(Pattern, Credential)>,
}

impl Keyring {
    /// Adds what a pull secret holds. One that holds neither form of credentials adds nothing.
    ///
    /// # Errors
    /// [`KeyringError`] if it cannot be read.
    pub fn add_secret(&mut self, data: &BTreeMap<String, Vec<u8>>) -> Result<(), KeyringError> {
        let broken = |key| move |e: serde_json::Error| KeyringError::NotJson { key, why: e.to_string() };
        let auths = if let Some(json) = data.get(CONFIG_JSON).filter(|j| !j.is_empty()) {
            serde_json::from_slice::<ConfigJson>(json).map_err(broken(CONFIG_JSON))?.auths
        } else if let Some(json) = data.get(CONFIG).filter(|j| !j.is_empty()) {
            serde_json::from_slice(json).map_err(broken(CONFIG))?
        } else {
            return Ok(());
        };
        for (registry, entry) in auths {
            let (Some(pattern), Some(credential)) = (Pattern::parse(&registry), entry.credential(&registry)?) else {
                continue;
            };
            if !self.entries.iter().any(|(p, c)| p.key == pattern.key && *c == credential) {
                self.entries.push((pattern, credential));
            }
        }
        // Stable, so that of equal keys the first secret comes first.
        self.entries.sort_by(|(a, _), (b, _)| b.key.cmp(&a.key));
        Ok(())
    }

    /// What fits a repository in full (`docker.io/library/hello`), the most specific first.
    #[must_use]
    pub fn find(&self, repository: &str) -> Vec<Credential> {
        let of = |fits: &dyn Fn(&Pattern) -> bool| -> Vec<Credential> {
            self.entries.iter().filter(|(p, _)| fits(p)).map(|(_, c)| c.clone()).collect()
        };
        let found = of(&|p| p.fits(repository));
        if found.is_empty() && repository.starts_with("docker.io/") { of(&|p| p.key == DOCKER_HUB) } else { found }
    }
}

/// A registry as a secret names it: `https://index.docker.io/v1/`, `*.example.com:5000/team`.
#[derive(Debug, Clone)]
struct Pattern {
    key: String,
    host: String,
    port: String,
    path: String,
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let (authority, path) = split(bare);
        // The versions of the API stand in what `docker login` writes, and not in the names of images.
        let path = path.strip_prefix("/v1/").or_else(|| path.strip_prefix("/v2/")).map_or(path, |rest| {
            let from = path.len() - rest.len() - 1;
            path.get(from..).unwrap_or_default()
        });
        let path = if path == "/" { "" } else { path };
        if authority.is_empty() {
            return None;
        }
        let (host, port) = host_and_port(authority);
        Some(Self {
            key: format!("{authority}{path}"),
            host: host.to_owned(),
            port: port.to_owned(),
            path: path.to_owned(),
        })
    }

    fn fits(&self, repository: &str) -> bool {
        let (authority, path) = split(repository);
        let (host, port) = host_and_port(authority);
        let (ours, theirs): (Vec<&str>, Vec<&str>) = (self.host.split('.').collect(), host.split('.').collect());
        self.port == port
            && path.starts_with(&self.path)
            && ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(|(pattern, label)| is_like(pattern.as_bytes(), label.as_bytes()))
    }
}

fn split(text: &str) -> (&str, &str) {
    let at = text.find('/').unwrap_or(text.len());
    text.split_at(at)
}

fn host_and_port(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ => (authority, ""),
    }
}

/// Whether a label is like a pattern with `*` and `?`.
fn is_like(pattern: &[u8], label: &[u8]) -> bool {
    match (pattern.split_first(), label.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), None) => is_like(rest, label),
        (Some((b'*', rest)), Some((_, tail))) => is_like(rest, label) || is_like(pattern, tail),
        (Some((b'?', rest)), Some((_, tail))) => is_like(rest, tail),
        (Some((p, rest)), Some((l, tail))) => p == l && is_like(rest, tail),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(key: &str, json: &str) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([(key.to_owned(), json.as_bytes().to_vec())])
    }

    /// The names of the users that fit, in the order in which they are tried.
    fn check(registries: &[&str], repository: &str) -> String {
        let auths: Vec<String> = registries.iter().map(|r| format!(r#"{r:?}:{{"username":{r:?}}}"#)).collect();
        let mut keyring = Keyring::default();
        keyring.add_secret(&secret(CONFIG_JSON, &format!(r#"{{"auths":{{{}}}}}"#, auths.join(",")))).unwrap();
        let name = |c: Credential| match c {
            Credential::Basic { username, .. } => username,
            Credential::Identity(_) | Credential::Bearer(_) => "token".to_owned(),
        };
        keyring.find(repository).into_iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn host_port_and_path_must_match() {
        for (pattern, repository, fits) in [
            ("example.com", "example.com/a/b", true),
            ("https://example.com/v1/", "example.com/a/b", true),
            ("https://example.com/v2/", "example.com/a/b", true),
            ("example.com/a", "example.com/a/b", true),
            ("example.com/c", "example.com/a/b", false),
            ("example.com:5000", "example.com/a", false),
            ("example.com", "example.com:5000/a", false),
            ("http://example.com:5000", "example.com:5000/a", true),
            ("*.example.com", "eu.example.com/a", true),
            ("*.example.com", "example.com/a", false),
            ("*.example.com", "a.eu.example.com/a", false),
            ("r?.*.com", "r1.example.com/a", true),
            ("pre*fix.com", "prefix.com/a", true),
            ("localhost", "localhost/a", true),
        ] {
            assert_eq!(!check(&[pattern], repository).is_empty(), fits, "{pattern} {repository}");
        }
    }

    #[test]
    fn the_most_specific_is_tried_first() {
        let all = ["example.com", "example.com/team", "*.com", "example.com/team/app", "other.com"];
        assert_eq!(check(&all, "example.com/team/app"), "example.com/team/app example.com/team example.com *.com");
    }

    #[test]
    fn what_docker_login_writes_for_docker_hub_fits_names_without_a_host() {
        assert_eq!(check(&["https://index.docker.io/v1/"], "docker.io/library/hello"), "https://index.docker.io/v1/");
        assert_eq!(check(&["https://index.docker.io/v1/"], "ghcr.io/hello"), "");
        // The fallback is for want of a better one.
        assert_eq!(check(&["index.docker.io", "docker.io"], "docker.io/a/b"), "docker.io");
    }

    #[test]
    fn every_form_of_a_credential_is_read() {
        let mut keyring = Keyring::default();
        keyring.add_secret(&secret(CONFIG, r#"{"a.io":{"auth":"dXNlcjpwYTpzcw=="}}"#)).unwrap();
        keyring.add_secret(&secret(CONFIG_JSON, r#"{"auths":{"a.io":{"auth":"dXNlcjpwYTpzcw"}}}"#)).unwrap();
        keyring.add_secret(&secret(CONFIG_JSON, r#"{"auths":{"a.io":{"identitytoken":"t"},"b.io":{}}}"#)).unwrap();
        keyring.add_secret(&secret("other", "x")).unwrap();
        let basic = Credential::Basic { username: "user".into(), password: "pa:ss".into() };
        assert_eq!(keyring.find("a.io/x"), [basic, Credential::Identity("t".into())]);
        assert!(keyring.find("b.io/x").is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let refused = |json| Keyring::default().add_secret(&secret(CONFIG_JSON, json)).unwrap_err().to_string();
        assert!(refused("{").contains(".dockerconfigjson of the pull secret is not valid: EOF"));
        assert!(refused(r#"{"auths":{"a.io":{"auth":"%%"}}}"#).contains(r#"credentials for "a.io" are not valid"#));
    }
}
