//! HTTPS of guests to the cluster's own hosts: its authority is trusted for them, and for no others.

use std::pin::Pin;

use ::http::{Request, Response, StatusCode, Version};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::*;
use crate::outbound::Outbound;
use crate::sockets::Pod;

const NAMES: [&str; 2] = ["backend", "backend.default.svc.cluster.local"];

/// What secures a server with a certificate for both names, and the certificate of who signed it.
fn secured(protocols: &[&[u8]]) -> (String, TlsAcceptor) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let own_key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(NAMES.map(str::to_owned)).unwrap().signed_by(&own_key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let private = PrivateKeyDer::try_from(own_key.serialize_der()).unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![own.der().clone()], private).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// A listener that the Service leads to.
async fn endpoint(node: &Node) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    *node.loopback.endpoint.lock().unwrap() = Some(listener.local_addr().unwrap());
    listener
}

/// A server that knows HTTP/1.1; comes back with the certificate of its authority.
async fn server(node: &Node) -> (String, JoinSet<()>) {
    let (pem, acceptor) = secured(&[]);
    let listener = endpoint(node).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // Who does not trust us goes away.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (pem, tasks)
}

/// The HTTP of a container that trusts this authority.
fn outbound(node: &Node, authority: Option<Authority>) -> Outbound {
    let launch = Launch { authority: authority.map(Arc::new), ..node.launch() };
    Outbound::new(Arc::new(Pod::new(&launch, CancellationToken::new(), Arc::default(), 16)))
}

async fn ask(outbound: &mut Outbound, host: &str) -> Result<Response<WasiBody>, Error> {
    let request = Request::builder().uri(format!("https://{host}:{}/", loopback::SERVICE.port())).header("host", host);
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let options = RequestOptions::default();
    let sent = outbound.send_request(request.body(body).unwrap(), Some(options), Box::new(async { Ok(()) }));
    let (response, _) = Pin::from(sent).await?;
    Ok(response)
}

#[tokio::test]
async fn the_clusters_authority_is_trusted_for_its_own_hosts_alone() {
    let node = Node::new();
    let (pem, _tasks) = server(&node).await;
    let authority = || Some(Authority::new(&pem, vec!["BackEnd".to_owned()]).unwrap());
    let response = ask(&mut outbound(&node, authority()), "backend").await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_11));
    for (authority, host) in [(authority(), NAMES[1]), (None, "backend")] {
        let refused = ask(&mut outbound(&node, authority), host).await.err();
        assert!(matches!(refused, Some(Error::Tls(_))), "{host}: {refused:?}");
    }
}

#[tokio::test]
async fn a_server_that_offers_http_2_is_asked_all_over_one_connection() {
    let node = Node::new();
    let (pem, acceptor) = secured(&[b"h2", b"http/1.1"]);
    let listener = endpoint(&node).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // A second connection would be let wait for ever.
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
        let answer = service_fn(async |request: Request<Incoming>| {
            assert_eq!(request.version(), Version::HTTP_2);
            assert!(!request.headers().contains_key("host"));
            let authority = request.uri().authority().unwrap().to_string();
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(authority))))
        });
        http2::Builder::new(TokioExecutor::new()).serve_connection(stream, answer).await.unwrap();
    });
    let mut outbound = outbound(&node, Some(Authority::new(&pem, vec!["backend".to_owned()]).unwrap()));
    for _ in 0..3 {
        let answer = ask(&mut outbound, "backend").await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "backend:80");
    }
}

#[test]
fn what_is_no_certificate_is_no_authority() {
    assert!(Authority::new("", Vec::new()).is_err());
}
