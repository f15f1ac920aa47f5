//! The cluster's certificates: an authority of its own, a serving certificate, and one for the person who started it.
//!
//! They are kept in `data_dir/pki`, keys readable by their owner only, and made anew when they are about to expire
//! or when the names that the server is reached by have changed. The authority stays as long as its file does.

pub(crate) mod authority;
pub(crate) mod kubeconfig;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use authority::{Authority, Purpose};

/// What goes wrong with certificates, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("cannot use {path:?}: {source}; check that the data directory is yours and not full")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no certificate or key.
    #[error("{path:?} does not hold what it should: {why}; delete it, and a new one is made")]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
}

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    /// The certificate.
    pub(crate) certificate: String,
    /// Its key.
    pub(crate) key: String,
}

/// All that the server and its admin need.
pub(crate) struct Pki {
    /// The authority's certificate, as PEM.
    pub(crate) authority: String,
    /// What the server shows.
    pub(crate) serving: Pair,
    /// What the admin shows.
    pub(crate) admin: Pair,
}

/// The user that the admin's certificate names.
const ADMIN_USER: &str = "kubernetes-admin";

impl Pki {
    /// Reads the certificates in `dir`, and makes those that are missing or out of date.
    pub(crate) fn open(dir: &Path, names: &[String]) -> Result<Self, PkiError> {
        let file = |path: &Path, source| PkiError::File { path: path.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(|source| file(dir, source))?;
        let authority = Authority::open(dir)?;
        let serving = authority.pair(dir, "apiserver", &Purpose::Server { names: names.to_vec() })?;
        let group = coracle_api::wellknown::GROUP_MASTERS.to_owned();
        let admin = authority.pair(dir, "admin", &Purpose::Client { user: ADMIN_USER.to_owned(), group })?;
        Ok(Self { authority: authority.certificate().to_owned(), serving, admin })
    }
}

/// The names and addresses that the server is reached by.
pub(crate) fn names(bind: IpAddr, service: IpAddr, extra: &[String]) -> Vec<String> {
    let fixed = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let mut names: Vec<String> = fixed.iter().map(|n| (*n).to_owned()).collect();
    names.push(format!("kubernetes.default.svc.{}", coracle_api::wellknown::CLUSTER_DOMAIN));
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned(), bind.to_string(), service.to_string()]);
    names.extend(extra.iter().filter(|n| !n.is_empty()).cloned());
    names.sort();
    names.dedup();
    names
}

/// A PEM certificate as bytes.
pub(crate) fn certificate(pem: &str) -> Result<CertificateDer<'static>, rustls::pki_types::pem::Error> {
    CertificateDer::from_pem_slice(pem.as_bytes())
}

/// A PEM key as bytes.
pub(crate) fn key(pem: &str) -> Result<PrivateKeyDer<'static>, rustls::pki_types::pem::Error> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
}

/// Writes a file that only its owner may read, all of it or nothing.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<(), PkiError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |source| PkiError::File { path: path.to_owned(), source };
    let draft = path.with_extension("draft");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&draft, path).map_err(failed)
}
