//! Outgoing HTTP of guests: connections are kept, timeouts hold, and a program of this process needs no connection.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use ::http::{Method, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, RequestOptions, WasiHttpHooks};

use super::*;
use crate::outbound::Outbound;
use crate::sockets::Pod;

impl Node {
    /// A container's way out.
    fn outbound(&self) -> (Outbound, Arc<Pod>) {
        let pod = Arc::new(Pod::new(&self.launch(), CancellationToken::new(), Arc::default(), 16));
        (Outbound::new(pod.clone()), pod)
    }
}

async fn ask(outbound: &mut Outbound, method: Method, options: RequestOptions) -> Result<Response<Bytes>, Error> {
    let request = Request::builder().method(method).uri("http://backend/").header("host", "backend");
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let sent = outbound.send_request(request.body(body).unwrap(), Some(options), Box::new(async { Ok(()) }));
    let (response, over) = Pin::from(sent).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Pin::from(over).await?;
    Ok(Response::from_parts(head, body))
}

/// A server that answers so many requests on each connection, and counts the connections.
async fn backend(node: &Node, each: usize) -> (Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    *node.loopback.endpoint.lock().unwrap() = Some(listener.local_addr().unwrap());
    let (accepted, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let count = accepted.clone();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, SeqCst);
            connections.spawn(async move {
                for _ in 0..each {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => request.push(byte),
                            Err(_) => return,
                        }
                    }
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
                }
            });
        }
    });
    (accepted, tasks)
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let node = Node::new();
    let (accepted, _tasks) = backend(&node, usize::MAX).await;
    let (mut outbound, pod) = node.outbound();
    for _ in 0..3 {
        assert_eq!(ask(&mut outbound, Method::POST, RequestOptions::default()).await.unwrap().body(), "hi");
    }
    assert_eq!(accepted.load(SeqCst), 1);
    let traffic = pod.counters().traffic();
    assert!(traffic.sent_bytes > 0 && traffic.received_bytes > 0);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    let node = Node::new();
    let (accepted, _tasks) = backend(&node, 1).await;
    let (mut outbound, _) = node.outbound();
    for _ in 0..3 {
        assert_eq!(ask(&mut outbound, Method::GET, RequestOptions::default()).await.unwrap().body(), "hi");
    }
    assert_eq!(accepted.load(SeqCst), 3);
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_an_error() {
    let node = Node::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    *node.loopback.endpoint.lock().unwrap() = Some(listener.local_addr().unwrap());
    let (mut outbound, _) = node.outbound();
    let options = RequestOptions { first_byte_timeout: Some(Duration::from_millis(30)), ..RequestOptions::default() };
    let error = ask(&mut outbound, Method::GET, options).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error:?}");
}

#[tokio::test]
async fn a_program_of_this_process_is_asked_without_a_connection() {
    let node = Node::with(|config| config.http.instances = 1);
    let server = component(include_str!("guests/server.wat"), "server");
    let mut running = node.start(server, |_| {}).await;
    *node.loopback.endpoint.lock().unwrap() = node.loopback.real(80);
    node.loopback.is_near.store(true, SeqCst);
    let (mut outbound, pod) = node.outbound();
    let response = ask(&mut outbound, Method::GET, RequestOptions::default()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.body().as_ref()), (200, b"1\n".as_slice()));
    let head = ask(&mut outbound, Method::HEAD, RequestOptions::default()).await.unwrap();
    assert_eq!((head.headers()["content-length"].as_bytes(), head.body().as_ref()), (b"2".as_slice(), b"".as_slice()));
    let response = ask(&mut outbound, Method::GET, RequestOptions::default()).await.unwrap();
    assert_eq!(response.body(), "3\n");
    let traffic = running.usage().traffic;
    assert_eq!((traffic.requests.total, traffic.sent_bytes), (3, 4), "only bodies went over, and no heads");
    assert_eq!(pod.counters().traffic().received_bytes, 4);
    running.stop();
    assert_eq!(running.outcome().await, Outcome::Stopped);
    assert!(ask(&mut outbound, Method::GET, RequestOptions::default()).await.is_err(), "it has ended");
}
