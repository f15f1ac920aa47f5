//! What a request asks for, and what of it is passed on.
//!
//! Invariant: a backend is told by us, and by nobody else, who asked and how. What concerns the connection alone stays
//! with it: each side of ours has framing of its own, written by hyper from the body that was read, so that no client
//! can hide a request within another. (hyper takes `transfer-encoding` for the framing where a `content-length` is given
//! too, drops the latter and closes after it; different lengths, or encodings that do not end in `chunked`, are 400.)

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{
    CONNECTION, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use tokio::sync::OwnedSemaphorePermit;

use super::host;
use super::refusal::Refusal;

/// Headers of a connection, beside those that `connection` names.
const OF_CONNECTION: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const ORIGINAL_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-original-forwarded-for");
const SCHEME: HeaderName = HeaderName::from_static("x-scheme");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Programs that take headers for variables of their environment would take this one for `HTTP_PROXY`.
const PROXY: HeaderName = HeaderName::from_static("proxy");

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) peer: SocketAddr,
    /// The port that it came to.
    pub(super) port: u16,
    pub(super) scheme: Scheme,
    /// Its place among the connections, kept for as long as it has one.
    pub(super) _place: Arc<OwnedSemaphorePermit>,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The host, without its port, in lower case; empty if none was named.
    pub(super) host: String,
    /// The same as it was written.
    authority: Option<HeaderValue>,
    /// What the connection is to become, if the backend agrees.
    pub(super) upgrade: Option<HeaderValue>,
}

impl Asked {
    /// Reads it of a request.
    ///
    /// # Errors
    /// [`Refusal`], if there is no sense in it, or two.
    pub(super) fn of<B>(request: &Request<B>) -> Result<Self, Refusal> {
        if request.method() == Method::CONNECT {
            return Err(Refusal::Connect);
        }
        let path = request.uri().path();
        if !path.starts_with('/') || path.split('/').any(climbs) {
            return Err(Refusal::Malformed);
        }
        let authority = authority(request)?;
        let text = authority.as_ref().map_or(Ok(""), |value| value.to_str()).map_err(|_| Refusal::Malformed)?;
        let host = host::asked(text).ok_or(Refusal::Malformed)?;
        Ok(Self { host, upgrade: upgrade(request), authority })
    }

    /// Makes of a client's headers those that its backend is given.
    pub(super) fn pass_on(&self, headers: &mut HeaderMap, client: &Client, id: impl FnOnce() -> HeaderValue) {
        let takes_trailers = says(headers, &TE, "trailers");
        let original = headers.remove(&FORWARDED_FOR);
        strip(headers);
        for name in [EXPECT, FORWARDED, PROXY] {
            headers.remove(name);
        }
        let disguised: Vec<HeaderName> = headers.keys().filter(|name| is_disguised(name)).cloned().collect();
        for name in disguised {
            headers.remove(name);
        }
        if takes_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(upgrade) = &self.upgrade {
            headers.insert(UPGRADE, upgrade.clone());
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        let scheme = HeaderValue::from_static(client.scheme.as_str());
        set(headers, ORIGINAL_FORWARDED_FOR, original);
        let ip = client.peer.ip().to_canonical().to_string();
        set(headers, REAL_IP, HeaderValue::try_from(&ip).ok());
        set(headers, FORWARDED_FOR, HeaderValue::try_from(ip).ok());
        set(headers, HOST, self.authority.clone());
        set(headers, FORWARDED_HOST, self.authority.clone());
        set(headers, FORWARDED_PORT, Some(client.port.into()));
        for name in [FORWARDED_PROTO, FORWARDED_SCHEME, SCHEME] {
            set(headers, name, Some(scheme.clone()));
        }
        headers.entry(REQUEST_ID).or_insert_with(id);
    }
}

/// Leaves out what concerns a connection alone.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION).filter_map(|token| token.parse().ok()).collect();
    for name in named.into_iter().chain(OF_CONNECTION).filter(|name| *name != HOST) {
        headers.remove(name);
    }
}

/// The one authority that a request is for. An absolute URI, and a header beside it, must agree.
fn authority<B>(request: &Request<B>) -> Result<Option<HeaderValue>, Refusal> {
    let mut named = request.headers().get_all(HOST).iter();
    let header = named.next();
    if named.next().is_some() {
        return Err(Refusal::Malformed);
    }
    match (request.uri().authority(), header) {
        (Some(authority), Some(header)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(header.as_bytes()) => {
            Err(Refusal::Malformed)
        }
        (Some(authority), None) => HeaderValue::from_str(authority.as_str()).map(Some).map_err(|_| Refusal::Malformed),
        (None, None) if request.version() >= Version::HTTP_11 => Err(Refusal::Malformed),
        (_, header) => Ok(header.cloned()),
    }
}

/// Whether an element of a path leads upwards, however it is written.
fn climbs(element: &str) -> bool {
    element.len() <= "%2e%2e".len() && element.to_ascii_lowercase().replace("%2e", ".") == ".."
}

/// What the connection is to become. Not HTTP/2: requests over that would be seen by nobody.
fn upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let headers = request.headers();
    let wanted = headers.get(UPGRADE).filter(|_| request.version() == Version::HTTP_11)?;
    let is_http = tokens(headers, &UPGRADE).any(|token| token.to_ascii_lowercase().starts_with("h2"));
    (says(headers, &CONNECTION, "upgrade") && !is_http).then(|| wanted.clone())
}

/// Names that a backend may read as those that we set.
fn is_disguised(name: &HeaderName) -> bool {
    name.as_str().contains('_') && {
        let plain = name.as_str().replace('_', "-");
        plain.starts_with("x-forwarded-") || plain == REAL_IP.as_str() || plain == ORIGINAL_FORWARDED_FOR.as_str()
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests;
