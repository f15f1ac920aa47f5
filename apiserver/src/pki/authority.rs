//! The certificate authority: made once, kept, and asked for the other certificates.
//!
//! It signs nothing that the files do not show, and never leaves a key readable by others.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use coracle_api::clock;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Pair, PkiError, certificate, write_private};

/// How long the authority is valid: as upstream's installers make it.
const AUTHORITY_LASTS: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// How long its certificates are valid.
const CERTIFICATE_LASTS: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A certificate with less time left than this is made anew at the next start.
const RENEWED_BEFORE: SignedDuration = SignedDuration::from_hours(90 * 24);

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A server reached by these names and addresses.
    Server {
        /// Which.
        names: Vec<String>,
    },
    /// A client that is this user, in this group.
    Client {
        /// Who.
        user: String,
        /// In which group.
        group: String,
    },
}

/// The authority.
pub(crate) struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads the authority in `dir`, or makes one.
    pub(crate) fn open(dir: &Path) -> Result<Self, PkiError> {
        let (certificate, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        if !certificate.exists() || !key.exists() {
            let key_pair = KeyPair::generate().map_err(PkiError::Make)?;
            let params = authority_params().map_err(PkiError::Make)?;
            let made = params.self_signed(&key_pair).map_err(PkiError::Make)?;
            write_private(&key, &key_pair.serialize_pem())?;
            write_private(&certificate, &made.pem())?;
        }
        let pem = read(&certificate)?;
        let content =
            |path: &Path, why: rcgen::Error| PkiError::Content { path: path.to_owned(), why: why.to_string() };
        let key_pair = KeyPair::from_pem(&read(&key)?).map_err(|e| content(&key, e))?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key_pair).map_err(|e| content(&certificate, e))?;
        Ok(Self { certificate: pem, issuer })
    }

    /// Its certificate, as PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Reads the pair of this name in `dir`; makes it if it is missing, about to expire, or for something else.
    pub(crate) fn pair(&self, dir: &Path, name: &str, purpose: &Purpose) -> Result<Pair, PkiError> {
        let (certificate, key) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        if let (Ok(kept), Ok(key)) = (std::fs::read_to_string(&certificate), std::fs::read_to_string(&key))
            && self.still_good(&kept, purpose, clock::now())
        {
            return Ok(Pair { certificate: kept, key });
        }
        let made = self.sign(purpose).map_err(PkiError::Make)?;
        write_private(&key, &made.key)?;
        write_private(&certificate, &made.certificate)?;
        Ok(made)
    }

    /// Makes a certificate with a new key.
    pub(crate) fn sign(&self, purpose: &Purpose) -> Result<Pair, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        valid_for(&mut params, CERTIFICATE_LASTS);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = rcgen::DistinguishedName::new();
        match purpose {
            Purpose::Server { names } => {
                params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                params.subject_alt_names = names.iter().map(|n| subject_name(n)).collect::<Result<_, _>>()?;
            }
            Purpose::Client { user, group } => {
                params.distinguished_name.push(DnType::CommonName, user.as_str());
                params.distinguished_name.push(DnType::OrganizationName, group.as_str());
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
        }
        let made = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { certificate: made.pem(), key: key.serialize_pem() })
    }

    fn still_good(&self, pem: &str, purpose: &Purpose, now: Timestamp) -> bool {
        let (Ok(der), Ok(authority)) = (certificate(pem), certificate(&self.certificate)) else { return false };
        let (Ok((_, read)), Ok((_, authority))) =
            (X509Certificate::from_der(&der), X509Certificate::from_der(&authority))
        else {
            return false;
        };
        let left = read.validity().not_after.timestamp() - now.as_second();
        let ours = read.verify_signature(Some(authority.public_key())).is_ok();
        ours && left > RENEWED_BEFORE.as_secs() && is_for(&read, purpose)
    }
}

fn authority_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    valid_for(&mut params, AUTHORITY_LASTS);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "coracle-ca");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// From yesterday, as clocks differ.
fn valid_for(params: &mut CertificateParams, lasts: SignedDuration) {
    let day = |at: Timestamp| {
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        let small = |n: i8| u8::try_from(n).unwrap_or(1);
        date_time_ymd(i32::from(date.year()), small(date.month()), small(date.day()))
    };
    let now = clock::now();
    params.not_before = day(now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(now));
    params.not_after = day(now.checked_add(lasts).unwrap_or(now));
}

fn subject_name(name: &str) -> Result<SanType, rcgen::Error> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.try_into()?)),
    }
}

fn is_for(certificate: &X509Certificate<'_>, purpose: &Purpose) -> bool {
    match purpose {
        Purpose::Server { names } => {
            let stated = certificate.subject_alternative_name().ok().flatten();
            let stated: BTreeSet<String> =
                stated.iter().flat_map(|s| &s.value.general_names).filter_map(shown_name).collect();
            names.iter().cloned().collect::<BTreeSet<_>>() == stated
        }
        Purpose::Client { user, group } => {
            let subject = certificate.subject();
            let is = |mut parts: Box<dyn Iterator<Item = String> + '_>, wanted: &str| parts.any(|p| p == wanted);
            let users = subject.iter_common_name().filter_map(|n| n.as_str().ok().map(str::to_owned));
            let groups = subject.iter_organization().filter_map(|n| n.as_str().ok().map(str::to_owned));
            is(Box::new(users), user) && is(Box::new(groups), group)
        }
    }
}

fn shown_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn read(path: &Path) -> Result<String, PkiError> {
    std::fs::read_to_string(path).map_err(|source| PkiError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_kept_until_its_names_change() {
        let dir = tempfile::tempdir().unwrap();
        let server = |name: &str| Purpose::Server { names: vec![name.to_owned(), "127.0.0.1".to_owned()] };
        let authority = Authority::open(dir.path()).unwrap();
        let first = authority.pair(dir.path(), "x", &server("a")).unwrap().certificate;
        let authority = Authority::open(dir.path()).unwrap();
        assert_eq!(authority.pair(dir.path(), "x", &server("a")).unwrap().certificate, first);
        assert_ne!(authority.pair(dir.path(), "x", &server("b")).unwrap().certificate, first);
    }

    #[test]
    fn keys_are_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Authority::open(dir.path()).unwrap();
        let mode = std::fs::metadata(dir.path().join("ca.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
