//! Which certificate a TLS client is shown: that of the Secret which an Ingress names for the host, else one of our own.
//!
//! Our own is signed by itself and made when it is first needed: a client that checks refuses it, and a person sees at
//! once what is missing. A Secret that changes counts for the next connection.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use coracle_api::names::NamespacedName;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::complaint::{Complaint, Reason, Subject};
use super::host::{ByHost, Host};

/// The name in our own certificate.
const FALLBACK_NAME: &str = "Coracle Ingress Fallback Certificate";

/// The host in it: one that cannot be anybody's.
const FALLBACK_HOST: &str = "ingress.local";

/// Certificates by host.
pub(super) type Shown = ByHost<Arc<CertifiedKey>>;

/// What TLS clients are shown.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    shown: ArcSwap<Shown>,
    fallback: OnceLock<Option<Arc<CertifiedKey>>>,
}

impl Certificates {
    /// From now on, these.
    pub(super) fn show(&self, shown: Shown) {
        self.shown.store(Arc::new(shown));
    }

    /// How TLS is spoken with them.
    pub(super) fn tls(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let versions = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = versions.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn fallback(&self) -> Option<Arc<CertifiedKey>> {
        let made = self.fallback.get_or_init(|| {
            let made = self_signed();
            made.inspect_err(|error| tracing::error!(%error, "the fallback certificate cannot be made")).ok()
        });
        made.clone()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or_default().to_ascii_lowercase();
        self.shown.load().find(&name).cloned().or_else(|| self.fallback())
    }
}

/// Why a Secret is no certificate.
#[derive(Debug, Clone, thiserror::Error)]
enum Invalid {
    #[error("it has no {0:?}")]
    Missing(&'static str),
    #[error("its {key:?} is no PEM: {why}")]
    Pem { key: &'static str, why: String },
    #[error("its certificate and key do not go together or cannot be used: {0}")]
    Unusable(rustls::Error),
    #[error("it cannot be made: {0}")]
    Make(String),
}

/// What Secrets hold, read anew only where they have changed.
#[derive(Debug, Default)]
pub(super) struct Read(HashMap<NamespacedName, (String, Result<Arc<CertifiedKey>, Invalid>)>);

impl Read {
    /// The certificates that these Ingresses, the oldest first, name; and what is wrong with them.
    pub(super) fn shown(
        &mut self,
        ingresses: &[Arc<Ingress>],
        secret: impl Fn(&NamespacedName) -> Option<Arc<Secret>>,
    ) -> (Shown, Vec<Complaint>) {
        let (mut shown, mut complaints, mut named) = (Shown::default(), Vec::new(), HashSet::new());
        for (ingress, host, name) in ingresses.iter().flat_map(named_by) {
            let about = Subject::of(ingress);
            match secret(&name) {
                None => {
                    let message = format!(
                        "Secret \"{name}\" not found: clients of {host} are shown a self-signed certificate instead"
                    );
                    complaints.push(Complaint::new(&about, Reason::SecretNotFound, message));
                }
                Some(secret) => match self.read(&name, &secret) {
                    Ok(certificate) => drop(shown.entry(host).or_insert(certificate)),
                    Err(error) => {
                        let message = format!(
                            "Secret \"{name}\" is no certificate: {error}; clients of {host} are shown a self-signed one"
                        );
                        complaints.push(Complaint::new(&about, Reason::InvalidSecret, message));
                    }
                },
            }
            named.insert(name);
        }
        self.0.retain(|name, _| named.contains(name));
        complaints.sort();
        complaints.dedup();
        (shown, complaints)
    }

    fn read(&mut self, name: &NamespacedName, secret: &Secret) -> Result<Arc<CertifiedKey>, Invalid> {
        let version = secret.metadata.resource_version.clone().unwrap_or_default();
        match self.0.get(name) {
            Some((read, certificate)) if *read == version => certificate.clone(),
            _ => {
                let certificate = certificate(secret);
                self.0.insert(name.clone(), (version, certificate.clone()));
                certificate
            }
        }
    }
}

/// Whether an Ingress names a Secret at all.
pub(super) fn names_secret(ingress: &Ingress) -> bool {
    let entries = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
    entries.into_iter().any(|entry| entry.secret_name.is_some())
}

/// The hosts and Secrets of an Ingress. An entry without hosts is for those of its rules.
fn named_by(ingress: &Arc<Ingress>) -> Vec<(&Arc<Ingress>, Host, NamespacedName)> {
    let Some(spec) = &ingress.spec else { return Vec::new() };
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    let of_rules = || spec.rules.iter().flatten().map(|rule| Host::of_rule(rule.host.as_deref())).collect();
    let mut named = Vec::new();
    for entry in spec.tls.iter().flatten() {
        let Some(secret) = entry.secret_name.as_deref().filter(|name| !name.is_empty()) else { continue };
        let hosts: Vec<Host> = match entry.hosts.as_deref().unwrap_or_default() {
            [] if spec.rules.as_ref().is_none_or(Vec::is_empty) => vec![Host::Any],
            [] => of_rules(),
            hosts => hosts.iter().map(|host| Host::of_rule(Some(host))).collect(),
        };
        named.extend(hosts.into_iter().map(|host| (ingress, host, NamespacedName::new(namespace, secret))));
    }
    named
}

fn certificate(secret: &Secret) -> Result<Arc<CertifiedKey>, Invalid> {
    let (certificate, key) = ("tls.crt", "tls.key");
    let pem = |key: &'static str| {
        let data = secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
        data.filter(|bytes| !bytes.is_empty()).ok_or(Invalid::Missing(key))
    };
    let wrong = |key| move |error: rustls::pki_types::pem::Error| Invalid::Pem { key, why: error.to_string() };
    let chain = CertificateDer::pem_slice_iter(pem(certificate)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(wrong(certificate))?;
    let private = PrivateKeyDer::from_pem_slice(pem(key)?).map_err(wrong(key))?;
    CertifiedKey::from_der(chain, private, &default_provider()).map(Arc::new).map_err(Invalid::Unusable)
}

fn self_signed() -> Result<Arc<CertifiedKey>, Invalid> {
    let make = |error: rcgen::Error| Invalid::Make(error.to_string());
    let mut params = rcgen::CertificateParams::new(vec![FALLBACK_HOST.to_owned()]).map_err(make)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, FALLBACK_NAME);
    let key = rcgen::KeyPair::generate().map_err(make)?;
    let made = params.self_signed(&key).map_err(make)?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![made.der().clone()];
    CertifiedKey::from_der(chain, private, &default_provider()).map(Arc::new).map_err(Invalid::Unusable)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    /// A certificate and its key, as PEM.
    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["a.dev".to_owned()]).unwrap().self_signed(&key).unwrap();
        (made.pem(), key.serialize_pem())
    }

    fn secret(version: &str, certificate: &str, key: &str) -> Arc<Secret> {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = [("tls.crt".to_owned(), bytes(certificate)), ("tls.key".to_owned(), bytes(key))];
        let mut secret = Secret { data: Some(data.into()), ..Secret::default() };
        secret.metadata.resource_version = Some(version.to_owned());
        Arc::new(secret)
    }

    fn ingress(name: &str, tls: serde_json::Value) -> Arc<Ingress> {
        let metadata = json!({ "namespace": "default", "name": name });
        let spec = json!({ "rules": [{ "host": "rule.dev" }], "tls": tls });
        Arc::new(serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap())
    }

    #[test]
    fn a_host_is_shown_the_secret_that_the_oldest_ingress_names_for_it() {
        let ((a, a_key), (b, b_key)) = (pair(), pair());
        let one = ingress("one", json!([{ "hosts": ["a.dev", "*.w.dev"], "secretName": "a" }]));
        let two = ingress("two", json!([{ "hosts": ["a.dev"], "secretName": "b" }, { "secretName": "b" }]));
        let secrets = |name: &NamespacedName| {
            Some(if name.name == "a" { secret("1", &a, &a_key) } else { secret("1", &b, &b_key) })
        };
        let (shown, complaints) = Read::default().shown(&[one, two], secrets);
        assert_eq!(complaints, []);
        let of = |host: &str| shown.find(host).map(|certificate| certificate.cert[0].to_vec());
        assert_eq!(of("a.dev"), of("x.w.dev"));
        assert_ne!(of("a.dev"), of("rule.dev"));
        assert!(of("rule.dev").is_some() && of("x.y.w.dev").is_none());
    }

    #[test]
    fn a_secret_is_read_anew_when_it_changes_and_what_is_wrong_is_said() {
        let ((a, a_key), (b, b_key)) = (pair(), pair());
        let one = [ingress("one", json!([{ "hosts": ["a.dev"], "secretName": "a" }]))];
        let mut read = Read::default();
        let mut with = |secret: Option<Arc<Secret>>| {
            let (shown, complaints) = read.shown(&one, |_| secret.clone());
            let messages: Vec<String> = complaints.into_iter().map(|complaint| complaint.message).collect();
            (shown.find("a.dev").map(|certificate| certificate.cert[0].to_vec()), messages.join("\n"))
        };
        let (first, second) = (with(Some(secret("1", &a, &a_key))), with(Some(secret("2", &b, &b_key))));
        assert!(first.0.is_some() && second.0.is_some() && first != second);
        assert!(with(None).1.starts_with("Secret \"default/a\" not found"));
        assert!(with(Some(secret("3", &a, &b_key))).1.contains("do not go together"));
        assert!(with(Some(secret("4", &a, ""))).1.contains("it has no \"tls.key\""));
        assert!(with(Some(secret("5", "x", &a_key))).1.contains("is no"));
    }

    #[test]
    fn without_a_secret_there_is_a_certificate_of_our_own() {
        let certificates = Arc::new(Certificates::default());
        assert!(certificates.fallback().is_some());
        assert!(certificates.tls().is_ok());
    }
}
