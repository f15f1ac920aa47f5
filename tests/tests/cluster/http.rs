//! HTTP pods as their clients meet them: bodies that stream, clients that want something particular, and time limits.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use coracle_tests::{Cluster, eventually, http, paths};
use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

const PORT: u16 = 31_750;
const PODS: &str = "/api/v1/namespaces/default/pods";

/// What takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pod of a guest behind a NodePort, ready to answer.
fn served(guest: &str, annotations: serde_json::Value) -> (Cluster, SocketAddr) {
    let cluster = Cluster::start();
    cluster.coracle(&format!("image push {} web:1", paths::guest(guest).display())).ok();
    let metadata = json!({"name": "web", "labels": {"app": "web"}, "annotations": annotations});
    let spec = json!({"containers": [{"name": "web", "image": "web:1"}]});
    cluster.api().create(PODS, &json!({"metadata": metadata, "spec": spec}));
    let spec = json!({"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "nodePort": PORT}]});
    cluster.api().create("/api/v1/namespaces/default/services", &json!({"metadata": {"name": "web"}, "spec": spec}));
    cluster.ready_pods("app=web", 1);
    let addr = cluster.node_port(PORT);
    eventually("a first answer", || http::get(addr, "/healthz"));
    (cluster, addr)
}

/// A request whose body is written and whose answer is read piece by piece.
struct Talk {
    stream: BufReader<TcpStream>,
}

impl Talk {
    fn begin(addr: SocketAddr, path: &str, headers: &str) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut talk = Self { stream: BufReader::new(stream) };
        talk.write(&format!("POST {path} HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n{headers}\r\n"));
        talk
    }

    fn write(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn send(&mut self, piece: &str) {
        self.write(&format!("{:x}\r\n{piece}\r\n", piece.len()));
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn head(&mut self) -> String {
        let status = self.line();
        while !self.line().is_empty() {}
        status
    }

    /// The next chunk; empty at the end.
    fn chunk(&mut self) -> String {
        let size = self.line();
        let size = usize::from_str_radix(&size, 16).unwrap_or_else(|error| panic!("{size:?}: {error}"));
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).unwrap();
        String::from_utf8(chunk).unwrap().trim_end_matches("\r\n").to_owned()
    }

    /// As many chunks as it takes to read so many bytes.
    fn read(&mut self, bytes: usize) -> String {
        let mut text = String::new();
        while text.len() < bytes {
            let chunk = self.chunk();
            assert!(!chunk.is_empty(), "it ended after {} of {bytes} bytes", text.len());
            text.push_str(&chunk);
        }
        text
    }
}

/// The most memory that the process has had, in bytes.
fn peak(cluster: &Cluster) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", cluster.server().pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn streams(guest: &str) {
    const PIECES: usize = 1024;
    let (cluster, addr) = served(guest, json!({}));
    let mut talk = Talk::begin(addr, "/echo", "");
    // What was sent comes back before more is sent: neither side waits for the whole.
    talk.send("first");
    assert_eq!(talk.head(), "HTTP/1.1 200 OK");
    assert_eq!(talk.read(5), "first");
    let piece = "0123456789abcdef".repeat(4096);
    let before = peak(&cluster);
    for _ in 0..PIECES {
        talk.send(&piece);
        assert!(talk.read(piece.len()) == piece);
    }
    talk.write("0\r\n\r\n");
    assert_eq!(talk.chunk(), "");
    let grown = peak(&cluster).saturating_sub(before);
    assert!(grown < PIECES * piece.len() / 4, "a body of {} bytes took {grown}", PIECES * piece.len());
}

#[test]
fn bodies_stream_through_a_guest_of_wasi_0_2_in_both_directions_and_take_no_memory() {
    streams("web");
}

#[test]
fn bodies_stream_through_a_guest_of_wasi_0_3_in_both_directions_and_take_no_memory() {
    streams("web3");
}

#[test]
fn an_instance_of_wasi_0_3_works_on_several_requests_at_once() {
    let (_cluster, addr) = served("web3", json!({}));
    let begin = |_| {
        let mut talk = Talk::begin(addr, "/together", "");
        assert_eq!(talk.head(), "HTTP/1.1 200 OK");
        assert_eq!(talk.read(6), "begun\n");
        talk
    };
    let mut talks: Vec<Talk> = (0..4).map(begin).collect();
    // One that comes while the instance is just at work is given another; not all of them can.
    let together = talks.iter_mut().filter_map(|talk| {
        talk.write("0\r\n\r\n");
        (talk.read(1) != "1 together\n").then_some(())
    });
    assert!(together.count() > 0);
}

#[test]
fn a_client_that_wants_to_be_asked_for_its_body_is_asked() {
    let (_cluster, addr) = served("web", json!({}));
    let mut talk = Talk::begin(addr, "/echo", "Expect: 100-continue\r\n");
    assert_eq!(talk.head(), "HTTP/1.1 100 Continue");
    talk.send("here");
    talk.write("0\r\n\r\n");
    assert_eq!(talk.head(), "HTTP/1.1 200 OK");
    assert_eq!(talk.read(4), "here");
}

#[test]
fn a_request_that_takes_longer_than_its_pod_allows_is_told_504_and_the_next_is_answered() {
    let (cluster, addr) = served("web", json!({"coracle.dev/request-timeout": "200ms"}));
    let (status, text) = http::get(addr, "/never").unwrap();
    assert_eq!(status, 504, "{text}");
    assert_eq!(http::get(addr, "/healthz"), Ok((200, "ok\n".to_owned())));
    let log = cluster.coracle("logs web").ok();
    assert!(log.contains("took longer than 200ms"), "{log}");

    let metadata = json!({"name": "typo", "annotations": {"coracle.dev/request-timeout": "soon"}});
    let spec = json!({"containers": [{"name": "web", "image": "web:1"}]});
    cluster.api().create(PODS, &json!({"metadata": metadata, "spec": spec}));
    let message = cluster.waiting("typo", &["CreateContainerConfigError"]);
    assert_eq!(message, "annotation coracle.dev/request-timeout: time: invalid duration \"soon\"");
}

#[test]
fn http_2_is_spoken_in_clear_text_with_trailers_both_ways() {
    let (_cluster, addr) = served("web", json!({}));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = client.unwrap();
        let exchange = async {
            let mut trailers = ::http::HeaderMap::new();
            trailers.insert("grpc-status", ::http::HeaderValue::from_static("0"));
            let frames = [Frame::data(Bytes::from_static(b"hello")), Frame::trailers(trailers)];
            let body = StreamBody::new(futures::stream::iter(frames).map(Ok::<_, std::io::Error>));
            let request = ::http::Request::post("http://web/echo").body(body).unwrap();
            let answer = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
            assert_eq!(answer.trailers().unwrap()["grpc-status"], "0");
            assert_eq!(answer.to_bytes(), "hello");
        };
        tokio::select! {
            () = exchange => {}
            ended = connection => panic!("the connection ended: {ended:?}"),
        }
    });
}
