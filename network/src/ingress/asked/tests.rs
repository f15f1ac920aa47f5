//! What is read of requests, and what backends are told.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::*;

fn request(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = uri.parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    request
}

fn host(uri: &str, headers: &[(&str, &str)]) -> Result<String, Refusal> {
    Asked::of(&request(uri, headers)).map(|asked| asked.host)
}

fn check(headers: &[(&str, &str)], expected: &Expect) {
    let request = request("/", headers);
    let asked = Asked::of(&request).unwrap();
    let place = Arc::new(Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap());
    let peer = "192.0.2.7:4711".parse().unwrap();
    let client = Client { peer, port: 443, scheme: Scheme::Https, _place: place };
    let mut headers = request.into_parts().0.headers;
    asked.pass_on(&mut headers, &client, || HeaderValue::from_static("made"));
    let mut lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
    lines.sort();
    expected.assert_eq(&lines.concat());
}

#[test]
fn a_request_is_for_one_host() {
    assert_eq!(host("/", &[("host", "A.dev:8080")]), Ok("a.dev".to_owned()));
    assert_eq!(host("http://a.dev/x", &[]), Ok("a.dev".to_owned()));
    assert_eq!(host("http://a.dev/x", &[("host", "A.dev")]), Ok("a.dev".to_owned()));
    assert_eq!(host("http://a.dev/x", &[("host", "b.dev")]), Err(Refusal::Malformed));
    assert_eq!(host("http://u@a.dev/x", &[]), Err(Refusal::Malformed));
    assert_eq!(host("/", &[("host", "a.dev"), ("host", "a.dev")]), Err(Refusal::Malformed));
    assert_eq!(host("/", &[("host", "a dev")]), Err(Refusal::Malformed));
    assert_eq!(host("/", &[]), Err(Refusal::Malformed));
    let mut old = request("/", &[]);
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(Asked::of(&old).unwrap().host, "");
}

#[test]
fn a_path_that_climbs_is_refused_and_one_that_only_looks_so_is_not() {
    for bad in ["/a/../b", "/..", "/a/%2e%2e/b", "/a/.%2E", "/%2e./"] {
        assert_eq!(host(bad, &[("host", "a.dev")]), Err(Refusal::Malformed), "{bad}");
    }
    for good in ["/a..b", "/...", "/./a", "/a/..b", "/a//b", "/a?x=/../b"] {
        assert!(host(good, &[("host", "a.dev")]).is_ok(), "{good}");
    }
    assert_eq!(host("*", &[("host", "a.dev")]), Err(Refusal::Malformed));
}

#[test]
fn a_backend_is_told_who_asked_and_how_by_nobody_but_us() {
    check(
        &[
            ("host", "a.dev:8443"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "gopher"),
            ("x_forwarded_host", "evil.dev"),
            ("x-real-ip", "10.0.0.2"),
            ("forwarded", "for=10.0.0.3"),
            ("proxy", "http://evil.dev"),
            ("x-request-id", "mine"),
            ("accept", "text/plain"),
        ],
        &expect![[r"
            accept: text/plain
            host: a.dev:8443
            x-forwarded-for: 192.0.2.7
            x-forwarded-host: a.dev:8443
            x-forwarded-port: 443
            x-forwarded-proto: https
            x-forwarded-scheme: https
            x-original-forwarded-for: 10.0.0.1
            x-real-ip: 192.0.2.7
            x-request-id: mine
            x-scheme: https
        "]],
    );
}

#[test]
fn what_concerns_the_connection_alone_stays_with_it() {
    check(
        &[
            ("host", "a.dev"),
            ("connection", "close, X-Mine, Host"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers, gzip"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic eDp5"),
            ("expect", "100-continue"),
            ("upgrade", "h2c"),
        ],
        &expect![[r"
            host: a.dev
            te: trailers
            x-forwarded-for: 192.0.2.7
            x-forwarded-host: a.dev
            x-forwarded-port: 443
            x-forwarded-proto: https
            x-forwarded-scheme: https
            x-real-ip: 192.0.2.7
            x-request-id: made
            x-scheme: https
        "]],
    );
}

#[test]
fn a_websocket_is_passed_on_and_another_http_is_not() {
    let upgrade = |value: &str, connection: &str| {
        let request = request("/", &[("host", "a"), ("connection", connection), ("upgrade", value)]);
        Asked::of(&request).unwrap().upgrade.map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(upgrade("websocket", "keep-alive, Upgrade").as_deref(), Some("websocket"));
    assert_eq!(upgrade("websocket", "keep-alive"), None);
    assert_eq!(upgrade("h2c", "upgrade"), None);
    assert_eq!(upgrade("websocket, H2C", "upgrade"), None);
}

proptest! {
    #[test]
    fn no_path_that_is_passed_on_climbs(path in "(/([a.]|%2e|%2E|%2f){0,3}){1,5}") {
        let Ok(uri) = path.parse::<http::Uri>() else { return Ok(()) };
        let mut request = request("/", &[("host", "a.dev")]);
        *request.uri_mut() = uri;
        if Asked::of(&request).is_ok() {
            let decoded = path.replace("%2e", ".").replace("%2E", ".");
            prop_assert!(!decoded.split('/').any(|element| element == ".."), "{}", path);
        }
    }
}
