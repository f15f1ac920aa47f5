//! Which protocol a client and this node speak, read from the headers of a request. Pure.
//!
//! A client names what it knows, best first; the first of those that the node knows too is taken. SPDY's versions stand
//! in a header of Kubernetes' own, those of WebSocket in its own; SPDY may also be carried within a WebSocket.

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Refusal;

/// The versions of SPDY's streams that a client knows, and the one that was taken.
const STREAM_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// Those that the node knows, told to a client that knows none of them.
const ACCEPTED_VERSIONS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// How SPDY is named.
const SPDY: &str = "SPDY/3.1";

/// What stands before a SPDY protocol that is carried within a WebSocket.
const TUNNELLED: &str = "SPDY/3.1+";

/// What the node speaks at a path, by the names of the protocols.
#[derive(Debug, Clone, Copy)]
pub(in crate::kubelet) struct Offer {
    /// Over a WebSocket; the empty name stands for a client that names none.
    pub(in crate::kubelet) websocket: &'static [&'static str],
    /// Over SPDY.
    pub(in crate::kubelet) spdy: &'static [&'static str],
    /// Over SPDY within a WebSocket.
    pub(in crate::kubelet) tunnelled: &'static [&'static str],
}

/// How streams travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kubelet) enum Transport {
    /// As messages of a WebSocket, a channel each.
    WebSocket,
    /// As streams of SPDY.
    Spdy,
    /// As streams of SPDY, which travels as messages of a WebSocket.
    Tunnel,
}

/// What was agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kubelet) struct Agreed {
    pub(in crate::kubelet) transport: Transport,
    /// Its name.
    pub(in crate::kubelet) protocol: &'static str,
    /// What the client is told.
    pub(in crate::kubelet) headers: HeaderMap,
}

/// Agrees with a client.
///
/// # Errors
/// [`Refusal`] if it wants no upgrade, or none that is offered.
pub(in crate::kubelet) fn agree(request: &HeaderMap, offer: Offer) -> Result<Agreed, Refusal> {
    if !words(request, &CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade")) {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "Upgrade request required"));
    }
    if words(request, &UPGRADE).any(|word| word.eq_ignore_ascii_case("websocket")) {
        return websocket(request, offer);
    }
    if words(request, &UPGRADE).any(|word| word.eq_ignore_ascii_case(SPDY)) {
        return spdy(request, offer.spdy);
    }
    Err(Refusal::new(StatusCode::BAD_REQUEST, "unable to upgrade: missing upgrade headers in request"))
}

fn websocket(request: &HeaderMap, offer: Offer) -> Result<Agreed, Refusal> {
    if request.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut refusal =
            Refusal::new(StatusCode::BAD_REQUEST, "unable to upgrade: the version of WebSocket must be 13");
        refusal.headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(refusal);
    }
    let Some(key) = request.get(SEC_WEBSOCKET_KEY) else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "unable to upgrade: Sec-WebSocket-Key is required"));
    };
    let named: Vec<&str> = words(request, &SEC_WEBSOCKET_PROTOCOL).collect();
    let tunnelled = |name: &str| {
        let inner = name.strip_prefix(TUNNELLED)?;
        offer.tunnelled.iter().find(|offered| **offered == inner).map(|offered| (Transport::Tunnel, *offered))
    };
    let plain = |name: &str| {
        offer.websocket.iter().find(|offered| **offered == name).map(|offered| (Transport::WebSocket, *offered))
    };
    let taken = match named.as_slice() {
        [] => plain("").map(|taken| ("", taken)),
        named => named.iter().find_map(|name| Some((*name, tunnelled(name).or_else(|| plain(name))?))),
    };
    let Some((name, (transport, protocol))) = taken else {
        let known = offer.websocket.join(" ");
        let named = named.join(" ");
        let text = format!("requested protocol(s) are not supported: [{named}]; supports [{known}]");
        return Err(Refusal::new(StatusCode::FORBIDDEN, text));
    };
    let mut headers = upgraded("websocket");
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let (Ok(name), false) = (HeaderValue::from_str(name), name.is_empty()) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, name);
    }
    Ok(Agreed { transport, protocol, headers })
}

fn spdy(request: &HeaderMap, offered: &'static [&'static str]) -> Result<Agreed, Refusal> {
    let named: Vec<&str> = words(request, &STREAM_VERSION).collect();
    if named.is_empty() {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "unable to upgrade: X-Stream-Protocol-Version is required"));
    }
    let taken = named.iter().find_map(|name| offered.iter().find(|offered| *offered == name));
    let Some(protocol) = taken else {
        let (named, known) = (named.join(" "), offered.join(" "));
        let text = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{named}], server accepts [{known}]"
        );
        let mut refusal = Refusal::new(StatusCode::FORBIDDEN, text);
        for protocol in offered {
            refusal.headers.append(ACCEPTED_VERSIONS, HeaderValue::from_static(protocol));
        }
        return Err(refusal);
    };
    let mut headers = upgraded(SPDY);
    headers.insert(STREAM_VERSION, HeaderValue::from_static(protocol));
    Ok(Agreed { transport: Transport::Spdy, protocol, headers })
}

fn upgraded(to: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(to));
    headers
}

/// The words of a header that may stand several times, and may list several.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const OFFER: Offer =
        Offer { websocket: &["v5", "v4", ""], spdy: &["v4", "v3"], tunnelled: &["portforward.k8s.io"] };

    fn check(request: &[(&'static str, &'static str)], expected: &Expect) {
        let mut headers = HeaderMap::new();
        for (name, value) in request {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let told = |headers: &HeaderMap| {
            headers.iter().map(|(name, value)| format!("\n  {name}: {}", value.to_str().unwrap())).collect::<String>()
        };
        let text = match agree(&headers, OFFER) {
            Ok(agreed) => format!("{:?} {:?}{}", agreed.transport, agreed.protocol, told(&agreed.headers)),
            Err(refused) => format!("{} {}{}", refused.status, refused.text, told(&refused.headers)),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn a_websocket_takes_the_clients_first_protocol_that_is_known() {
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let asks = |protocols: &'static str| {
            let mut request = vec![("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"), key];
            request.push(("sec-websocket-version", "13"));
            request.push(("sec-websocket-protocol", protocols));
            request
        };
        check(
            &asks("v9, v5, v4"),
            &expect![[r#"
                WebSocket "v5"
                  connection: Upgrade
                  upgrade: websocket
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
                  sec-websocket-protocol: v5"#]],
        );
        check(
            &asks("SPDY/3.1+portforward.k8s.io"),
            &expect![[r#"
                Tunnel "portforward.k8s.io"
                  connection: Upgrade
                  upgrade: websocket
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=
                  sec-websocket-protocol: SPDY/3.1+portforward.k8s.io"#]],
        );
        check(
            &asks(""),
            &expect![[r#"
                WebSocket ""
                  connection: Upgrade
                  upgrade: websocket
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="#]],
        );
        check(
            &asks("v9"),
            &expect![[r"
                403 Forbidden requested protocol(s) are not supported: [v9]; supports [v5 v4 ]
                  content-type: text/plain; charset=utf-8"]],
        );
    }

    #[test]
    fn spdy_takes_the_clients_first_version_that_is_known() {
        let upgrade = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        let asks = |versions: &[&'static str]| {
            let versions = versions.iter().map(|version| ("x-stream-protocol-version", *version));
            upgrade.iter().copied().chain(versions).collect::<Vec<_>>()
        };
        check(
            &asks(&["v5", "v4", "v3"]),
            &expect![[r#"
                Spdy "v4"
                  connection: Upgrade
                  upgrade: SPDY/3.1
                  x-stream-protocol-version: v4"#]],
        );
        check(
            &asks(&["v1"]),
            &expect![[r"
                403 Forbidden unable to upgrade: unable to negotiate protocol: client supports [v1], server accepts [v4 v3]
                  content-type: text/plain; charset=utf-8
                  x-accepted-stream-protocol-versions: v4
                  x-accepted-stream-protocol-versions: v3"]],
        );
        check(
            &asks(&[]),
            &expect![[r"
                400 Bad Request unable to upgrade: X-Stream-Protocol-Version is required
                  content-type: text/plain; charset=utf-8"]],
        );
    }

    #[test]
    fn who_wants_no_upgrade_is_told() {
        check(
            &[],
            &expect![[r"
                400 Bad Request Upgrade request required
                  content-type: text/plain; charset=utf-8"]],
        );
        check(
            &[("connection", "upgrade"), ("upgrade", "h2c")],
            &expect![[r"
                400 Bad Request unable to upgrade: missing upgrade headers in request
                  content-type: text/plain; charset=utf-8"]],
        );
    }
}
