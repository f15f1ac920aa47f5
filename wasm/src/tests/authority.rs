//! HTTPS of guests to the cluster's own hosts: its authority is trusted for them, and for no others.

use std::pin::Pin;

use ::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, RequestOptions, WasiHttpHooks};

use super::*;
use crate::outbound::Outbound;
use crate::sockets::Pod;

const NAMES: [&str; 2] = ["backend", "backend.default.svc.cluster.local"];

/// A server with a certificate for both names; comes back with that of who signed it.
async fn server(node: &Node) -> (String, JoinSet<()>) {
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
    let config = config.with_no_client_auth().with_single_cert(vec![own.der().clone()], private).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    *node.loopback.endpoint.lock().unwrap() = Some(listener.local_addr().unwrap());
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
    (authority.pem(), tasks)
}

async fn ask(node: &Node, authority: Option<Authority>, host: &str) -> Result<StatusCode, Error> {
    let launch = Launch { authority: authority.map(Arc::new), ..node.launch() };
    let pod = Arc::new(Pod::new(&launch, CancellationToken::new(), Arc::default(), 16));
    let request = Request::builder().uri(format!("https://{host}:{}/", loopback::SERVICE.port())).header("host", host);
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let options = RequestOptions::default();
    let mut outbound = Outbound::new(pod);
    let sent = outbound.send_request(request.body(body).unwrap(), Some(options), Box::new(async { Ok(()) }));
    let (response, _) = Pin::from(sent).await?;
    Ok(response.status())
}

#[tokio::test]
async fn the_clusters_authority_is_trusted_for_its_own_hosts_alone() {
    let node = Node::new();
    let (pem, _tasks) = server(&node).await;
    let authority = || Some(Authority::new(&pem, vec!["BackEnd".to_owned()]).unwrap());
    assert_eq!(ask(&node, authority(), "backend").await.unwrap(), StatusCode::OK);
    for (authority, host) in [(authority(), NAMES[1]), (None, "backend")] {
        let refused = ask(&node, authority, host).await.unwrap_err();
        assert!(matches!(refused, Error::Tls(_)), "{host}: {refused:?}");
    }
}

#[test]
fn what_is_no_certificate_is_no_authority() {
    assert!(Authority::new("", Vec::new()).is_err());
}
