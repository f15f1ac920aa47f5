//! Which registries are asked for an image, and how: mirrors, names rewritten for them, credentials, TLS.
//!
//! The file's form is that of k3s' `registries.yaml`. What is wrong in it is found when it is read, not at the first
//! pull. Which endpoints an image has is a plain function of its name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use regex::Regex;
use rustls::ClientConfig;
use serde::Deserialize;

use super::super::Reference;
use super::keyring::{AuthEntry, Credential, KeyringError};
use super::tls::{self, TlsError};

/// Where the images of `docker.io` really are.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// The entry that stands for every registry that has none of its own.
const ANY: &str = "*";

/// The file, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistriesFile {
    /// By the host that images name: who is asked first.
    #[serde(default)]
    mirrors: BTreeMap<String, Mirror>,
    /// By the host that is spoken to: how.
    #[serde(default)]
    configs: BTreeMap<String, HostFile>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mirror {
    #[serde(default)]
    endpoint: Vec<EndpointUrl>,
    #[serde(default)]
    rewrite: Rewrites,
}

/// Where a mirror is: `https://mirror.example.com:5000`, or with a path that already leads to its `/v2`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct EndpointUrl {
    authority: String,
    scheme: Option<Scheme>,
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// How repositories are called on a mirror: by the first pattern that fits, in the order of the alphabet.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
struct Rewrites(Vec<(Regex, String)>);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostFile {
    auth: Option<AuthFile>,
    tls: Option<TlsFile>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthFile {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    identity_token: String,
}

impl std::fmt::Debug for AuthFile {
    // Secrets are not for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthFile").field("username", &self.username).finish_non_exhaustive()
    }
}

/// The files of TLS for one host.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsFile {
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    #[serde(default)]
    pub(super) insecure_skip_verify: bool,
}

impl TryFrom<BTreeMap<String, String>> for Rewrites {
    type Error = String;

    fn try_from(rules: BTreeMap<String, String>) -> Result<Self, String> {
        let rule = |(pattern, to): (String, String)| match Regex::new(&pattern) {
            Ok(regex) => Ok((regex, go_template(&to))),
            Err(error) => Err(format!("{pattern:?} is not a regular expression: {error}")),
        };
        rules.into_iter().map(rule).collect::<Result<_, _>>().map(Self)
    }
}

impl TryFrom<String> for EndpointUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fault = || format!("{text:?} is not a registry's URL; write for example https://mirror.example.com:5000");
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(_) => return Err(fault()),
            None => (None, text.as_str()),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let known: http::uri::Authority = authority.parse().map_err(|_| fault())?;
        if known.host().is_empty() || authority.contains('@') || path.contains(['?', '#']) {
            return Err(fault());
        }
        let path = match path.trim_end_matches('/') {
            "" | "/v2" => "/v2".to_owned(),
            other => other.to_owned(),
        };
        Ok(Self { authority: authority.to_owned(), scheme, path })
    }
}

/// Why a registries file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    /// The files of TLS cannot be read or do not fit.
    #[error("configs.{host:?}.tls")]
    Tls {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The credentials cannot be read.
    #[error("configs.{host:?}.auth")]
    Auth {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: KeyringError,
    },
}

/// What is known of one host.
#[derive(Debug, Clone, Default)]
struct Host {
    credential: Option<Credential>,
    tls: Option<Arc<ClientConfig>>,
}

/// The registries, ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    mirrors: BTreeMap<String, Mirror>,
    hosts: BTreeMap<String, Host>,
}

/// One place where an image may be.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// Up to and with `/v2`: `https://registry-1.docker.io/v2`.
    pub(super) base: String,
    /// The repository there.
    pub(super) repository: String,
    /// For a mirror: whose images it is asked for.
    pub(super) namespace: Option<String>,
    /// Used if the pod has none that fit.
    pub(super) credential: Option<Credential>,
    /// TLS of its own; none for the system's authorities.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Registries {
    /// Makes ready what a file says, reading the files that it names.
    ///
    /// # Errors
    /// [`RegistriesError`] if one of them is missing or does not hold what it should.
    pub fn build(file: RegistriesFile) -> Result<Self, RegistriesError> {
        let mut hosts = BTreeMap::new();
        for (host, config) in file.configs {
            let auth = config.auth.unwrap_or_default();
            let entry = AuthEntry::of(auth.username, auth.password, auth.auth, auth.identity_token);
            let credential =
                entry.credential(&host).map_err(|source| RegistriesError::Auth { host: host.clone(), source })?;
            let tls = config.tls.map(|tls| tls::config(&tls)).transpose();
            let tls = tls.map_err(|source| RegistriesError::Tls { host: host.clone(), source })?;
            hosts.insert(host, Host { credential, tls });
        }
        Ok(Self { mirrors: file.mirrors, hosts })
    }

    /// Whether an image has a registry at all. A name without a host belongs to the local store alone, unless it was
    /// said where the images of `docker.io` are: a misspelt name of one's own must not run a stranger's program.
    #[must_use]
    pub fn know(&self, image: &Reference) -> bool {
        image.names_registry() || self.mirror(image.registry()).is_some()
    }

    fn mirror(&self, registry: &str) -> Option<&Mirror> {
        self.mirrors.get(registry).or_else(|| self.mirrors.get(ANY))
    }

    /// Where an image may be, in the order in which they are asked: its mirrors, then its registry itself.
    pub(super) fn endpoints(&self, image: &Reference) -> Vec<Endpoint> {
        let registry = image.registry();
        let origin = EndpointUrl {
            authority: if registry == "docker.io" { DOCKER_HUB } else { registry }.to_owned(),
            scheme: None,
            path: "/v2".to_owned(),
        };
        let mut all: Vec<Endpoint> = Vec::new();
        if let Some(mirror) = self.mirror(registry) {
            let repository = mirror.rewrite.apply(image.path());
            let of = |url| self.endpoint(url, repository.clone(), registry);
            all.extend(mirror.endpoint.iter().map(of));
        }
        let origin = self.endpoint(&origin, image.path().to_owned(), registry);
        let same = |e: &Endpoint| e.base == origin.base && e.repository == origin.repository;
        if !all.iter().any(same) {
            all.push(origin);
        }
        all
    }

    fn endpoint(&self, url: &EndpointUrl, repository: String, registry: &str) -> Endpoint {
        let host = self.host(&url.authority);
        let scheme = url.scheme.unwrap_or_else(|| {
            if is_local(&url.authority) && host.tls.is_none() { Scheme::Http } else { Scheme::Https }
        });
        let name = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let itself = url.authority == registry || (registry == "docker.io" && url.authority == DOCKER_HUB);
        Endpoint {
            base: format!("{name}://{}{}", url.authority, url.path),
            repository,
            namespace: (!itself).then(|| registry.to_owned()),
            credential: host.credential,
            tls: host.tls,
        }
    }

    /// What is known of a host, by its name with the port or without the usual one.
    fn host(&self, authority: &str) -> Host {
        let bare = authority.strip_suffix(":443").or_else(|| authority.strip_suffix(":80")).unwrap_or(authority);
        let hub = (authority == DOCKER_HUB).then_some("docker.io");
        let found = [Some(authority), Some(bare), hub, Some(ANY)].into_iter().flatten();
        found.filter_map(|name| self.hosts.get(name)).next().cloned().unwrap_or_default()
    }
}

impl Rewrites {
    fn apply(&self, repository: &str) -> String {
        let rule = self.0.iter().find(|(pattern, _)| pattern.is_match(repository));
        rule.map_or_else(|| repository.to_owned(), |(p, to)| p.replace(repository, to).into_owned())
    }
}

/// `$1x` means group 1 and then x, as people write it for k3s; for our engine it would be a group named `1x`.
fn go_template(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = after.split_at(digits);
        out.push_str(before);
        out.push('$');
        if !number.is_empty() {
            out.push_str(&format!("{{{number}}}"));
        }
        rest = tail;
    }
    out + rest
}

/// Whether a registry is on this machine, where plain HTTP is usual.
fn is_local(authority: &str) -> bool {
    let host = authority.parse::<http::uri::Authority>().map(|a| a.host().to_owned()).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|a| a.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(json: &str) -> Registries {
        Registries::build(serde_json::from_str(json).unwrap()).unwrap()
    }

    /// Where an image is looked for, in order.
    fn check(json: &str, image: &str) -> Vec<String> {
        let endpoints = registries(json).endpoints(&image.parse().unwrap());
        let line = |e: Endpoint| {
            let of = e.namespace.map_or_else(String::new, |n| format!(" for {n}"));
            format!("{}/{}{of}", e.base, e.repository)
        };
        endpoints.into_iter().map(line).collect()
    }

    #[test]
    fn without_a_file_an_image_is_at_the_host_that_it_names() {
        assert_eq!(check("{}", "ghcr.io/a/b:1"), ["https://ghcr.io/v2/a/b"]);
        assert_eq!(check("{}", "docker.io/hello"), ["https://registry-1.docker.io/v2/library/hello"]);
        for local in ["localhost:5000", "127.0.0.1:5000", "127.3.4.5"] {
            assert_eq!(check("{}", &format!("{local}/a")), [format!("http://{local}/v2/a")]);
        }
    }

    #[test]
    fn mirrors_are_asked_first_and_by_their_own_names() {
        let file = r#"{"mirrors":{
            "docker.io":{"endpoint":["https://m.io:5000","http://n.io/proxy/v2/"],
                         "rewrite":{"^library/(.*)":"hub/$1x"}},
            "*":{"endpoint":["any.io"]}}}"#;
        assert_eq!(
            check(file, "hello"),
            [
                "https://m.io:5000/v2/hub/hellox for docker.io",
                "http://n.io/proxy/v2/hub/hellox for docker.io",
                "https://registry-1.docker.io/v2/library/hello",
            ]
        );
        assert_eq!(check(file, "ghcr.io/a"), ["https://any.io/v2/a for ghcr.io", "https://ghcr.io/v2/a"]);
    }

    #[test]
    fn a_registry_that_is_its_own_mirror_is_asked_once() {
        let file = r#"{"mirrors":{"r.io:5000":{"endpoint":["http://r.io:5000"]}}}"#;
        assert_eq!(check(file, "r.io:5000/a"), ["http://r.io:5000/v2/a", "https://r.io:5000/v2/a"]);
        let file = r#"{"mirrors":{"r.io":{"endpoint":["https://r.io/v2"]}}}"#;
        assert_eq!(check(file, "r.io/a"), ["https://r.io/v2/a"]);
    }

    #[test]
    fn a_host_has_its_credentials_and_its_tls() {
        let file = r#"{"configs":{"r.io":{"auth":{"username":"u","password":"p"}},
            "localhost:5000":{"tls":{"insecure_skip_verify":true}}}}"#;
        let of = |image: &str| registries(file).endpoints(&image.parse().unwrap()).remove(0);
        assert_eq!(of("r.io/a").credential, Some(Credential::Basic { username: "u".into(), password: "p".into() }));
        assert_eq!(of("s.io/a").credential, None);
        assert_eq!(of("localhost:5000/a").base, "https://localhost:5000/v2");
        assert!(of("localhost:5000/a").tls.is_some() && of("r.io/a").tls.is_none());
    }

    #[test]
    fn a_name_without_a_host_has_a_registry_only_if_one_was_said() {
        let known = |json: &str, image: &str| registries(json).know(&image.parse().unwrap());
        assert!(!known("{}", "hello") && !known("{}", "team/hello:1"));
        assert!(known("{}", "docker.io/hello") && known("{}", "localhost/hello"));
        let hub = r#"{"mirrors":{"docker.io":{}}}"#;
        assert!(known(hub, "hello"));
        assert_eq!(check(hub, "hello"), ["https://registry-1.docker.io/v2/library/hello"]);
    }

    #[test]
    fn what_is_wrong_in_the_file_is_told() {
        let refused = |json: &str| serde_json::from_str::<RegistriesFile>(json).unwrap_err().to_string();
        for (json, words) in [
            (r#"{"mirror":{}}"#, "unknown field `mirror`, expected `mirrors` or `configs`"),
            (r#"{"mirrors":{"a":{"endpoint":["ftp://a"]}}}"#, "is not a registry's URL"),
            (r#"{"mirrors":{"a":{"endpoint":["https://"]}}}"#, "is not a registry's URL"),
            (r#"{"mirrors":{"a":{"rewrite":{"(":"x"}}}}"#, "is not a regular expression"),
            (r#"{"configs":{"a":{"auth":{"user":"x"}}}}"#, "unknown field `user`"),
        ] {
            assert!(refused(json).contains(words), "{}", refused(json));
        }
        let missing = r#"{"configs":{"a":{"tls":{"ca_file":"/nowhere.pem"}}}}"#;
        let error = Registries::build(serde_json::from_str(missing).unwrap()).unwrap_err();
        assert!(crate::with_causes(&error).contains(r#"configs."a".tls: cannot read "/nowhere.pem""#));
    }
}
