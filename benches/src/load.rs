//! Many clients of one API server at once, each on a TLS connection of its own, as lean as a client can be: what is
//! measured is the server, not the tool that asks.
//!
//! Invariant: a latency is counted only for an answer that came whole and with a 2xx; any other ends the bench.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Spread;

/// An API server, and how its owner proves who they are.
#[derive(Clone)]
pub struct Target {
    addr: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy)]
pub enum Protocol {
    /// One request at a time on a connection.
    Http1,
    /// Many at a time.
    Http2,
}

impl Target {
    /// The server of this kubeconfig, at this address.
    pub async fn of(kubeconfig: &Path, addr: SocketAddr) -> Self {
        let file = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(file, &options).await.expect("a kubeconfig that is whole");
        let tls = config.rustls_client_config().expect("it has certificates");
        Self { addr, tls: Arc::new(tls) }
    }

    async fn stream(&self, protocol: Protocol) -> TokioIo<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.addr).await.expect("the server listens");
        tcp.set_nodelay(true).expect("a socket takes the option");
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        let stream = TlsConnector::from(Arc::new(tls)).connect(self.addr.ip().into(), tcp).await;
        TokioIo::new(stream.expect("the server speaks TLS"))
    }

    /// A connection of HTTP/1.1.
    pub async fn connect(&self) -> Connection {
        let (sender, connection) = http1::handshake(self.stream(Protocol::Http1).await).await.expect("it speaks HTTP");
        tokio::spawn(connection);
        Connection { sender, host: self.addr.to_string() }
    }

    /// A connection of HTTP/2, for many requests at once.
    pub async fn connect_many(&self) -> Connections {
        let stream = self.stream(Protocol::Http2).await;
        let (sender, connection) =
            http2::Builder::new(TokioExecutor::new()).handshake(stream).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        Connections { sender, host: self.addr.to_string() }
    }
}

/// A connection that has one request at a time.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Asks, and waits for the whole answer.
    pub async fn ask(&mut self, ask: Ask) -> Bytes {
        let (response, path) = self.open(ask).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("the answer comes whole").to_bytes();
        assert!(status.is_success(), "{path} was answered {status}: {}", String::from_utf8_lossy(&body));
        body
    }

    /// Asks, and hands over the answer as it begins.
    pub async fn open(&mut self, ask: Ask) -> (Response<Incoming>, String) {
        let path = ask.path.clone();
        self.sender.ready().await.expect("the connection holds");
        let request = ask.request(&self.host, &path);
        (self.sender.send_request(request).await.expect("an answer"), path)
    }
}

/// A connection that has many requests at a time.
#[derive(Clone)]
pub struct Connections {
    sender: http2::SendRequest<Full<Bytes>>,
    host: String,
}

impl Connections {
    /// Asks, and hands over the answer as it begins.
    pub async fn open(&mut self, ask: Ask) -> Response<Incoming> {
        let url = format!("https://{}{}", self.host, ask.path);
        self.sender.ready().await.expect("the connection holds");
        self.sender.send_request(ask.request(&self.host, &url)).await.expect("an answer")
    }
}

const JSON: &str = "application/json";

/// What is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    /// How.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The body, JSON or nothing.
    pub body: Bytes,
    media_type: &'static str,
}

impl Ask {
    /// A read.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path.into(), Bytes::new(), JSON)
    }

    /// A new object.
    pub fn post(path: impl Into<String>, object: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, path.into(), object.into(), JSON)
    }

    /// An object in the place of another.
    pub fn put(path: impl Into<String>, object: impl Into<Bytes>) -> Self {
        Self::new(Method::PUT, path.into(), object.into(), JSON)
    }

    /// A merge patch.
    pub fn patch(path: impl Into<String>, patch: impl Into<Bytes>) -> Self {
        Self::new(Method::PATCH, path.into(), patch.into(), "application/merge-patch+json")
    }

    fn new(method: Method, path: String, body: Bytes, media_type: &'static str) -> Self {
        Self { method, path, body, media_type }
    }

    fn request(self, host: &str, uri: &str) -> Request<Full<Bytes>> {
        let request = Request::builder().method(self.method).uri(uri).header(CONTENT_TYPE, self.media_type);
        request.header(HOST, host).body(Full::new(self.body)).expect("a request")
    }
}

/// What many clients saw.
pub struct Outcome {
    /// Milliseconds from a request to its whole answer.
    pub latencies: Spread,
    /// Answers a second, all clients together.
    pub rate: f64,
}

/// Lets `clients` ask `count` times in all, each as soon as its last answer has come.
pub async fn load<F>(target: &Target, clients: usize, count: usize, ask: F) -> Outcome
where
    F: Fn(usize) -> Ask + Clone + Send + 'static,
{
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(target.connect().await);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let working = connections.into_iter().map(|mut connection| {
        let (next, ask) = (Arc::clone(&next), ask.clone());
        tokio::spawn(async move {
            let mut taken = Vec::with_capacity(count / clients + 1);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return taken;
                }
                let asked = Instant::now();
                connection.ask(ask(number)).await;
                taken.push(asked.elapsed().as_secs_f64() * 1e3);
            }
        })
    });
    let working: Vec<_> = working.collect();
    let mut latencies = Vec::with_capacity(count);
    for client in working {
        latencies.extend(client.await.expect("a client works to its end"));
    }
    let seconds = begin.elapsed().as_secs_f64();
    let rate = u32::try_from(latencies.len()).map_or(f64::NAN, f64::from) / seconds;
    Outcome { latencies: Spread::of(latencies), rate }
}

/// Runs the clients' side of a bench on one thread, which leaves the other cores to the server.
pub fn on_one_thread<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(work)
}
