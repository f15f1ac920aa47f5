//! ServiceAccount tokens: signed here, and read back here. They are JSON Web Tokens as upstream issues them.
//!
//! Invariant: what [`Tokens::read`] gives was signed by our own key and is in its time. Whether those whom it speaks
//! for still exist is asked of the store, by [`holder::of`].

pub(crate) mod claims;
pub(crate) mod holder;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::pki::{PkiError, write_private};
use claims::Claims;

/// Who signs, and the audience of tokens that name none: the API itself, by the name that pods reach it by.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";

/// The file of the key in the directory of the certificates.
const KEY_FILE: &str = "sa.key";

/// How far the clocks of others may be off (upstream's leeway).
const LEEWAY_SECONDS: i64 = 60;

/// The signature of all tokens: ECDSA on P-256 with SHA-256.
const ALGORITHM: &str = "ES256";

/// What signs and reads tokens.
pub(crate) struct Tokens {
    key: EcdsaKeyPair,
    /// Names the key in the head of a token.
    id: String,
    random: SystemRandom,
}

/// Why a token is not taken, in words fit for a `TokenReview`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// It is none of ours, or has been tampered with.
    #[error("invalid bearer token")]
    Foreign,
    /// Its time is over.
    #[error("service account token has expired")]
    Expired,
    /// Its time has not come.
    #[error("service account token is not valid yet")]
    NotYet,
}

impl Tokens {
    /// Reads the key in `dir`, or makes one.
    pub(crate) fn open(dir: &Path) -> Result<Self, PkiError> {
        let path = dir.join(KEY_FILE);
        if !path.exists() {
            let made = KeyPair::generate().map_err(PkiError::Make)?;
            write_private(&path, &made.serialize_pem())?;
        }
        let pem = std::fs::read_to_string(&path).map_err(|source| PkiError::File { path: path.clone(), source })?;
        let content = |why: String| PkiError::Content { path: PathBuf::from(&path), why };
        let pair = KeyPair::from_pem(&pem).map_err(|e| content(e.to_string()))?;
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der(), &random);
        let key = key.map_err(|e| content(e.to_string()))?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.subject_public_key_info()));
        Ok(Self { key, id, random })
    }

    /// Signs a token; nothing if the system has no randomness to give.
    pub(crate) fn sign(&self, claims: &Claims) -> Option<String> {
        let head = json!({"alg": ALGORITHM, "kid": self.id});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = serde_json::to_value(claims).ok()?;
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature = self.key.sign(&self.random, signed.as_bytes()).ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Reads a token that we signed.
    pub(crate) fn read(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let claims = self.verified(token).filter(|claims| claims.iss == ISSUER).ok_or(TokenError::Foreign)?;
        in_time(&claims, now).map(|()| claims)
    }

    fn verified(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, body) = signed.split_once('.')?;
        let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()?;
        if head.get("alg").and_then(Value::as_str) != Some(ALGORITHM) {
            return None;
        }
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    }

    /// The public key as a JSON Web Key Set, for others who check our tokens (`/openid/v1/jwks`).
    pub(crate) fn key_set(&self) -> Value {
        // An uncompressed point: 4, then the two coordinates.
        let point = self.key.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(point.len() / 2);
        json!({"keys": [{
            "use": "sig",
            "kty": "EC",
            "kid": self.id,
            "crv": "P-256",
            "alg": ALGORITHM,
            "x": URL_SAFE_NO_PAD.encode(x),
            "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }

    /// What `/.well-known/openid-configuration` says of us, whose keys are served at `address`.
    pub(crate) fn openid_configuration(address: SocketAddr) -> Value {
        json!({
            "issuer": ISSUER,
            "jwks_uri": format!("https://{address}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        })
    }
}

/// Whether this is the time of a token that was read before.
pub(crate) fn in_time(claims: &Claims, now: Timestamp) -> Result<(), TokenError> {
    let now = now.as_second();
    if now > claims.exp.saturating_add(LEEWAY_SECONDS) {
        return Err(TokenError::Expired);
    }
    if now < claims.nbf.saturating_sub(LEEWAY_SECONDS) {
        return Err(TokenError::NotYet);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use claims::{Bound, Named};
    use jiff::SignedDuration;

    use super::*;

    fn claims(now: Timestamp) -> Claims {
        let account = Named { name: "sa".to_owned(), uid: "u".to_owned() };
        let bound = Bound { namespace: "ns".to_owned(), serviceaccount: account, ..Bound::default() };
        Claims::new(bound, vec![ISSUER.to_owned()], 600, now)
    }

    #[test]
    fn a_token_is_read_as_it_was_signed_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from_second(1_000_000).unwrap();
        let given = claims(now);
        let token = Tokens::open(dir.path()).unwrap().sign(&given).unwrap();
        let tokens = Tokens::open(dir.path()).unwrap();
        assert_eq!(tokens.read(&token, now), Ok(given));
        assert_eq!(tokens.read(&token, now + SignedDuration::from_secs(700)), Err(TokenError::Expired));
        assert_eq!(tokens.read(&token, now - SignedDuration::from_secs(100)), Err(TokenError::NotYet));
    }

    #[test]
    fn what_we_did_not_sign_is_not_taken() {
        let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let now = Timestamp::from_second(1_000_000).unwrap();
        let tokens = Tokens::open(ours.path()).unwrap();
        let foreign = Tokens::open(other.path()).unwrap().sign(&claims(now)).unwrap();
        let token = tokens.sign(&claims(now)).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let bodies = [
            String::new(),
            "bad".to_owned(),
            "a.b.c".to_owned(),
            foreign,
            format!("{unsigned}.{}.", parts[1]),
            format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode("{}"), parts[2]),
        ];
        for body in bodies {
            assert_eq!(tokens.read(&body, now), Err(TokenError::Foreign), "{body}");
        }
    }

    #[test]
    fn the_public_key_is_told_without_the_private_one() {
        let dir = tempfile::tempdir().unwrap();
        let set = Tokens::open(dir.path()).unwrap().key_set();
        let key = set["keys"][0].as_object().unwrap();
        let names: Vec<&String> = key.keys().collect();
        assert_eq!(names.len(), 7);
        assert!(!key.contains_key("d"), "the private number");
        assert_eq!(URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap().len(), 32);
    }
}
