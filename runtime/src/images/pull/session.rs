//! A conversation with one registry about one repository, as one person: manifests, blobs, and who one is.
//!
//! Invariant: a session never changes its credential. What it was granted is its own, so that no pod is served by
//! what another one may.

use bytes::Bytes;
use coracle_api::names::Digest;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use base64::Engine as _;

use super::super::MANIFEST_BYTES_MAX;
use super::super::upload::hex;
use super::challenge::{self, Challenge};
use super::keyring::Credential;
use super::refusal::Refusal;
use super::registries::Endpoint;
use super::transport::{Transport, refused, whole};

/// The manifests that we understand, as a registry is told.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

const CONTENT_DIGEST: &str = "docker-content-digest";

/// The largest answer of a token server: a token is some kilobytes.
const TOKEN_BYTES_MAX: usize = 256 * 1024;

/// What we call ourselves before a token server (OAuth 2 wants a name).
const CLIENT_ID: &str = "coracle";

/// A conversation.
#[derive(Debug)]
pub(super) struct Session {
    transport: Transport,
    endpoint: Endpoint,
    credential: Option<Credential>,
    authorization: Option<HeaderValue>,
}

/// A token server's answer: one of the two is there.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// A manifest as it came.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
    /// What the registry says that it is.
    pub(super) media_type: Option<String>,
}

impl Session {
    pub(super) fn new(transport: Transport, endpoint: Endpoint, credential: Option<Credential>) -> Self {
        let authorization = match &credential {
            Some(Credential::Bearer(token)) => bearer(token),
            Some(Credential::Basic { .. } | Credential::Identity(_)) | None => None,
        };
        Self { transport, endpoint, credential, authorization }
    }

    /// The digest that a tag has there now, without fetching anything; nothing if the registry does not say it.
    pub(super) async fn resolve(&mut self, pick: &str) -> Result<Option<Digest>, Refusal> {
        let url = self.url("manifests", pick);
        let answer = self.ask(&Method::HEAD, &url, &accepting(ACCEPT)).await?;
        if answer.status().is_success() {
            return Ok(digest_header(answer.headers()));
        }
        // An answer to HEAD has no body, and a registry's words stand there. Some do not know HEAD at all.
        Ok(None)
    }

    /// A manifest by tag or digest.
    pub(super) async fn manifest(&mut self, pick: &str) -> Result<Received, Refusal> {
        let url = self.url("manifests", pick);
        let answer = self.ask(&Method::GET, &url, &accepting(ACCEPT)).await?;
        if !answer.status().is_success() {
            return Err(self.refusal(&url, answer).await);
        }
        let media_type = answer.headers().get(header::CONTENT_TYPE).and_then(|t| t.to_str().ok()).map(str::to_owned);
        let bytes = whole(&url, answer, MANIFEST_BYTES_MAX).await?;
        let text = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        let wrong = |why: String| Refusal::Content { url: url.clone(), why };
        let digest = Digest::new(text).map_err(|e| wrong(e.to_string()))?;
        if pick.contains(':') && pick != digest.as_str() {
            return Err(wrong(format!("the manifest has the digest {digest}")));
        }
        Ok(Received { digest, bytes, media_type })
    }

    /// The content of a blob from the byte `from` on. The answer's status is 200 if it begins at the first byte after
    /// all, 206 if not.
    pub(super) async fn blob(&mut self, digest: &Digest, from: u64) -> Result<Response<Incoming>, Refusal> {
        let url = self.url("blobs", digest.as_str());
        let mut headers = accepting("*/*");
        if let Ok(range) = HeaderValue::from_str(&format!("bytes={from}-"))
            && from > 0
        {
            headers.insert(header::RANGE, range);
        }
        let answer = self.ask(&Method::GET, &url, &headers).await?;
        if answer.status().is_success() || answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(answer);
        }
        Err(self.refusal(&url, answer).await)
    }

    /// For people, and for the logs.
    pub(super) fn url(&self, what: &str, pick: &str) -> String {
        format!("{}/{}/{what}/{pick}", self.endpoint.base, self.endpoint.repository)
    }

    async fn refusal(&self, url: &str, answer: Response<Incoming>) -> Refusal {
        match refused(url, answer).await {
            Refusal::Status { url, status, words }
                if status == StatusCode::UNAUTHORIZED && self.credential.is_none() =>
            {
                let words = if words.is_empty() { words } else { words + " " };
                Refusal::Status { url, status, words: words + "(no credentials were given)" }
            }
            other => other,
        }
    }

    /// Sends a request; asked who we are, says it and sends the request again.
    async fn ask(&mut self, method: &Method, url: &str, headers: &HeaderMap) -> Result<Response<Incoming>, Refusal> {
        let full = match &self.endpoint.namespace {
            Some(namespace) => format!("{url}?ns={namespace}"),
            None => url.to_owned(),
        };
        let answer = self.send(method, &full, headers).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let challenges = answer.headers().get_all(header::WWW_AUTHENTICATE);
        let challenges: Vec<&str> = challenges.iter().filter_map(|c| c.to_str().ok()).collect();
        let challenges = challenges.join(", ");
        if challenges.is_empty() {
            return Ok(answer);
        }
        let challenge = challenge::parse(&challenges)
            .ok_or_else(|| Refusal::Challenge { url: url.to_owned(), challenge: challenges.clone() })?;
        match self.authorize(challenge).await? {
            Some(authorization) => {
                self.authorization = Some(authorization);
                self.send(method, &full, headers).await
            }
            None => Ok(answer),
        }
    }

    async fn send(&self, method: &Method, url: &str, headers: &HeaderMap) -> Result<Response<Incoming>, Refusal> {
        let mut headers = headers.clone();
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        self.transport.send(method, url, &headers, Bytes::new()).await
    }

    /// What answers a challenge; nothing if we have nothing to say.
    async fn authorize(&self, challenge: Challenge) -> Result<Option<HeaderValue>, Refusal> {
        match (challenge, &self.credential) {
            (Challenge::Basic, Some(Credential::Basic { username, password })) => Ok(basic(username, password)),
            (Challenge::Basic, Some(Credential::Identity(_) | Credential::Bearer(_)) | None)
            | (Challenge::Bearer { .. }, Some(Credential::Bearer(_))) => Ok(None),
            (Challenge::Bearer { realm, service, scope }, credential) => {
                let scope =
                    if scope.is_empty() { format!("repository:{}:pull", self.endpoint.repository) } else { scope };
                self.token(&realm, &service, &scope, credential.as_ref()).await.map(|token| bearer(&token))
            }
        }
    }

    /// A token from the server that a challenge names: also without a credential, for what everybody may pull.
    async fn token(
        &self,
        realm: &str,
        service: &str,
        scope: &str,
        credential: Option<&Credential>,
    ) -> Result<String, Refusal> {
        let mut headers = HeaderMap::new();
        let (method, url, body) = match credential {
            Some(Credential::Identity(identity)) => {
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(header::CONTENT_TYPE, form);
                let grant = [("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", identity)];
                (Method::POST, realm.to_owned(), form_of(&[("service", service), ("scope", scope)], &grant))
            }
            other => {
                let mut account = Vec::new();
                if let Some(Credential::Basic { username, password }) = other {
                    account.push(("account", username.as_str()));
                    headers.extend(basic(username, password).map(|b| (header::AUTHORIZATION, b)));
                }
                let glue = if realm.contains('?') { '&' } else { '?' };
                let query = form_of(&[("service", service), ("scope", scope)], &account);
                (Method::GET, format!("{realm}{glue}{query}"), String::new())
            }
        };
        if realm.starts_with("http://") && credential.is_some() && !self.endpoint.base.starts_with("http://") {
            return Err(Refusal::Redirect { url: realm.to_owned(), why: "its token server has no TLS" });
        }
        let answer = self.transport.send(&method, &url, &headers, Bytes::from(body)).await?;
        if !answer.status().is_success() {
            return Err(self.refusal(realm, answer).await);
        }
        let bytes = whole(realm, answer, TOKEN_BYTES_MAX).await?;
        let wrong = |why: String| Refusal::Content { url: realm.to_owned(), why };
        let token: Token = serde_json::from_slice(&bytes).map_err(|e| wrong(format!("its token is not JSON: {e}")))?;
        let token = if token.token.is_empty() { token.access_token } else { token.token };
        if token.is_empty() { Err(wrong("it gave no token".to_owned())) } else { Ok(token) }
    }
}

/// Fields as a form or a query has them.
fn form_of(first: &[(&str, &str)], then: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(first.iter().chain(then).copied()).finish()
}

fn accepting(types: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(types))])
}

fn digest_header(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok().and_then(|d| Digest::new(d).ok())
}

fn bearer(token: &str) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {token}"))
}

fn basic(username: &str, password: &str) -> Option<HeaderValue> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    sensitive(&format!("Basic {pair}"))
}

/// A header that is not for logs.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
