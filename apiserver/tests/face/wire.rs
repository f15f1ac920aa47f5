//! HTTP as raw clients meet it: common headers, limits, times, and fairness between users.

use std::sync::Arc;
use std::time::Duration;

use coracle_apiserver::{Apiserver, Config};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::server::mounts;

const TOKENS: &str = "noisy,noisy,1,system:masters\nquiet,quiet,2,system:masters\n";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A server on a port.
struct Listening {
    addr: std::net::SocketAddr,
    connector: TlsConnector,
}

impl Listening {
    async fn connect(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let name = ServerName::IpAddress(self.addr.ip().into());
        self.connector.connect(name, stream).await.unwrap()
    }

    /// Sends the head of a request and what follows it.
    async fn begin(&self, method: &str, path: &str, token: &str, headers: &str, body: &str) -> TlsStream<TcpStream> {
        let mut stream = self.connect().await;
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\r\n{body}");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    /// A request that is over when the connection is.
    async fn ask(&self, method: &str, path: &str, token: &str, headers: &str) -> String {
        let headers = format!("Connection: close\r\n{headers}");
        answer(self.begin(method, path, token, &headers, "").await).await
    }

    /// A write whose body does not come.
    async fn hang(&self, token: &str) -> TlsStream<TcpStream> {
        self.begin("POST", MAPS, token, "Content-Type: application/json\r\nContent-Length: 9\r\n", "{").await
    }
}

/// All that is answered.
async fn answer(mut stream: TlsStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    // A server that has said all it has to say need not end TLS in form.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn listening<F: Future<Output = ()>>(change: impl FnOnce(&mut Config), ask: impl FnOnce(Listening) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, TOKENS).unwrap();
    let mut config = Config::alone(dir.path());
    config.token_auth_file = Some(tokens);
    change(&mut config);
    let server = Apiserver::build(config, mounts()).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.path().join("pki/ca.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let listening = Listening { addr: server.addr(), connector: TlsConnector::from(Arc::new(client)) };
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    let asking = async {
        ask(listening).await;
        told.cancel();
    };
    tokio::join!(server.run(shutdown), asking);
}

fn header<'a>(answer: &'a str, name: &str) -> &'a str {
    let of = |line: &'a str| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name));
    answer.lines().find_map(of).map_or("", |(_, value)| value)
}

#[tokio::test]
async fn every_answer_has_a_name_and_is_not_to_be_cached() {
    listening(
        |_| {},
        async |server| {
            for (path, token) in [(MAPS, "quiet"), ("/readyz", "quiet"), ("/none", "quiet"), (MAPS, "wrong")] {
                let told = server.ask("GET", path, token, "").await;
                assert_eq!(header(&told, "audit-id").len(), 36, "{told}");
                assert_eq!(header(&told, "cache-control"), "no-cache, private", "{told}");
            }
            let own = server.ask("GET", "/version", "quiet", "Audit-Id: my-own\r\n").await;
            assert_eq!(header(&own, "audit-id"), "my-own");
        },
    )
    .await;
}

#[tokio::test]
async fn a_request_takes_no_longer_than_allotted() {
    listening(
        |config| config.request_timeout = Duration::from_millis(300),
        async |server| {
            let told = answer(server.hang("quiet").await).await;
            assert!(told.starts_with("HTTP/1.1 504 "), "{told}");
            assert!(told.contains(r#""message":"Timeout: request did not complete within the allotted timeout""#));
            assert!(told.contains(r#""reason":"Timeout""#) && told.contains(r#""details":{}"#), "{told}");
        },
    )
    .await;
}

#[tokio::test]
async fn a_client_may_ask_for_less_time() {
    listening(
        |_| {},
        async |server| {
            let headers = "Content-Type: application/json\r\nContent-Length: 9\r\n";
            let hung = server.begin("POST", &format!("{MAPS}?timeout=50ms"), "quiet", headers, "{").await;
            assert!(answer(hung).await.starts_with("HTTP/1.1 504 "));
            let told = server.ask("GET", &format!("{MAPS}?timeout=x"), "quiet", "").await;
            assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
            let why = r#"invalid timeout specified in the request URL - time: invalid duration \"x\""#;
            assert!(told.contains(why), "{told}");
            assert!(server.ask("GET", &format!("{MAPS}?timeout=0s"), "quiet", "").await.starts_with("HTTP/1.1 200 "));
        },
    )
    .await;
}

#[tokio::test]
async fn a_user_with_too_many_requests_is_turned_away_and_others_are_served() {
    let change = |config: &mut Config| {
        config.max_mutating_requests_inflight = 4;
        config.request_timeout = Duration::from_secs(20);
    };
    listening(change, async |server| {
        let mut hung = Vec::new();
        for _ in 0..4 {
            hung.push(server.hang("noisy").await);
        }
        // Three of them hold a seat and one waits; a fifth is one too many. It may overtake them, so it is asked again.
        let delete = format!("{MAPS}/none");
        let mut told = server.ask("DELETE", &delete, "noisy", "").await;
        while told.starts_with("HTTP/1.1 404 ") {
            told = server.ask("DELETE", &delete, "noisy", "").await;
        }
        assert!(told.starts_with("HTTP/1.1 429 "), "{told}");
        assert_eq!(header(&told, "retry-after"), "1");
        assert!(told.ends_with("Too many requests, please try again later.\n"), "{told}");
        assert!(server.ask("DELETE", &delete, "quiet", "").await.starts_with("HTTP/1.1 404 "));
        assert!(server.ask("GET", MAPS, "noisy", "").await.starts_with("HTTP/1.1 200 "), "reads are apart");
        drop(hung);
    })
    .await;
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    listening(
        |_| {},
        async |server| {
            let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
            assert!(server.ask("GET", MAPS, "quiet", &many).await.starts_with("HTTP/1.1 431 "));
            let long = format!("{MAPS}?x={}", "y".repeat(70 * 1024));
            assert!(server.ask("GET", &long, "quiet", "").await.starts_with("HTTP/1.1 414 "));
        },
    )
    .await;
}

#[tokio::test]
async fn who_speaks_http_without_tls_is_told_so() {
    listening(
        |_| {},
        async |server| {
            let mut stream = TcpStream::connect(server.addr).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut told = String::new();
            let _ = stream.read_to_string(&mut told).await;
            assert!(told.ends_with("Client sent an HTTP request to an HTTPS server.\n"), "{told}");
        },
    )
    .await;
}
