//! `kubectl port-forward`, over a WebSocket as it comes and over SPDY as it was: the same stories for both.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use coracle_tests::stream::Stream;
use coracle_tests::{Cluster, eventually};
use sha2::{Digest, Sha256};

/// How kubectl is told to speak SPDY; nothing if it is to do as it likes.
#[derive(Clone, Copy)]
enum Way {
    WebSocket,
    Spdy,
}

/// As much as the story of the large transfer tells of, in bytes.
const LARGE: usize = 100_000_000;

fn echo() -> (Cluster, String) {
    let cluster = Cluster::start();
    cluster.push("echo");
    cluster.coracle("apply -f samples/echo/echo.yaml").ok();
    let pod = cluster.ready_pods("app=echo", 1).remove(0);
    (cluster, pod)
}

/// Forwards a free port of this machine to that of the pod.
fn forward(cluster: &Cluster, to: &str, port: u16, way: Way) -> (Stream, SocketAddr) {
    let websockets = if matches!(way, Way::Spdy) { "false" } else { "true" };
    let line = format!("port-forward {to} :{port}");
    let mut forwarder = cluster.kubectl_stream_with(&line, &[("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)]);
    let told = forwarder.until("where it listens", |line| line.starts_with("Forwarding from 127.0.0.1:"));
    let address = told.split_whitespace().nth(2).unwrap().parse().unwrap();
    (forwarder, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    connection
}

/// Says something, ends, and returns what comes back.
fn exchange(address: SocketAddr, text: &str) -> String {
    let mut connection = connect(address);
    connection.write_all(text.as_bytes()).unwrap();
    connection.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    connection.read_to_string(&mut back).unwrap();
    back
}

/// Bytes that are never the same twice, so that none can be lost, doubled or swapped unseen.
fn piece(number: u64) -> Vec<u8> {
    (0..4096_u64).flat_map(|at| (number * 4096 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).collect()
}

fn checksum(connection: &mut TcpStream) -> (usize, Vec<u8>) {
    let (mut hash, mut count, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        match connection.read(&mut buffer).unwrap() {
            0 => return (count, hash.finalize().to_vec()),
            read => {
                hash.update(&buffer[..read]);
                count += read;
            }
        }
    }
}

/// Writes so many bytes and ends; says how many there were, and their checksum.
fn write(to: &mut TcpStream, bytes: usize) -> (usize, Vec<u8>) {
    let (mut hash, mut count) = (Sha256::new(), 0);
    for number in 0.. {
        let piece = piece(number);
        to.write_all(&piece).unwrap();
        hash.update(&piece);
        count += piece.len();
        if count >= bytes {
            break;
        }
    }
    to.shutdown(Shutdown::Write).unwrap();
    (count, hash.finalize().to_vec())
}

fn a_port_is_forwarded(way: Way) {
    let (cluster, pod) = echo();
    let (_forwarder, address) = forward(&cluster, &format!("pod/{pod}"), 7777, way);
    assert_eq!(exchange(address, "ahoy"), "ahoy");
    assert_eq!(exchange(address, ""), "");

    // By a Deployment and by a Service, each of which leads to a pod.
    let (_by_deployment, address) = forward(&cluster, "deploy/echo", 7777, way);
    assert_eq!(exchange(address, "deployed"), "deployed");
    let (_by_service, address) = forward(&cluster, "svc/echo", 7777, way);
    assert_eq!(exchange(address, "served"), "served");

    // Many at once, all open before any is read.
    let mut connections: Vec<TcpStream> = (0..50).map(|_| connect(address)).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.write_all(number.to_string().as_bytes()).unwrap();
    }
    for (number, connection) in connections.iter_mut().enumerate() {
        let mut back = vec![0; number.to_string().len()];
        connection.read_exact(&mut back).unwrap();
        assert_eq!(back, number.to_string().as_bytes());
    }
    // One that is cut harms none of the others.
    drop(connections.remove(0));
    connections[0].write_all(b"still here").unwrap();
    let mut back = [0; 10];
    connections[0].read_exact(&mut back).unwrap();
    assert_eq!(&back, b"still here");
}

#[test]
fn a_port_is_forwarded_over_a_websocket() {
    a_port_is_forwarded(Way::WebSocket);
}

#[test]
fn a_port_is_forwarded_over_spdy() {
    a_port_is_forwarded(Way::Spdy);
}

fn much_comes_back_as_it_was(way: Way) {
    let (cluster, pod) = echo();
    let (_forwarder, address) = forward(&cluster, &format!("pod/{pod}"), 7777, way);
    // A reader that takes nothing for a while: what it is owed waits with the pod, and nobody else does.
    let mut slow = connect(address);
    slow.write_all(b"slow").unwrap();
    let mut connection = connect(address);
    let mut writer = connection.try_clone().unwrap();
    let writing = std::thread::spawn(move || write(&mut writer, LARGE));
    let back = checksum(&mut connection);
    let sent = writing.join().unwrap();
    assert!(back == sent, "{} of {} bytes came back as they were", back.0, sent.0);
    let mut back = [0; 4];
    slow.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"slow");
}

#[test]
fn a_hundred_megabytes_come_back_as_they_were_over_a_websocket() {
    much_comes_back_as_it_was(Way::WebSocket);
}

#[test]
fn a_hundred_megabytes_come_back_as_they_were_over_spdy() {
    much_comes_back_as_it_was(Way::Spdy);
}

#[test]
fn a_reader_that_takes_nothing_for_long_loses_nothing_and_holds_up_nobody_else() {
    let (cluster, pod) = echo();
    let (_slow_forwarder, slow) = forward(&cluster, &format!("pod/{pod}"), 7777, Way::WebSocket);
    let mut slow = connect(slow);
    let mut writer = slow.try_clone().unwrap();
    let writing = std::thread::spawn(move || write(&mut writer, LARGE / 2));
    // Another session works meanwhile; the first has long come to a standstill.
    let (_quick_forwarder, quick) = forward(&cluster, &format!("pod/{pod}"), 7777, Way::WebSocket);
    let mut quick = connect(quick);
    let mut other = quick.try_clone().unwrap();
    let also_writing = std::thread::spawn(move || write(&mut other, LARGE / 10));
    assert!(checksum(&mut quick) == also_writing.join().unwrap());

    assert!(checksum(&mut slow) == writing.join().unwrap());
}

#[test]
fn a_port_that_nobody_listens_on_is_told_and_a_pod_that_goes_ends_the_session() {
    let (cluster, pod) = echo();
    for way in [Way::WebSocket, Way::Spdy] {
        let (mut forwarder, address) = forward(&cluster, &format!("pod/{pod}"), 9, way);
        let mut connection = connect(address);
        let mut nothing = Vec::new();
        match connection.read_to_end(&mut nothing) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        // kubectl tells what the node said, on its standard error, and ends.
        forwarder.until("the connection", |line| line.contains("Handling connection for"));
        forwarder.to_the_end();
    }
    let (forwarder, address) = forward(&cluster, &format!("pod/{pod}"), 7777, Way::WebSocket);
    assert_eq!(exchange(address, "ahoy"), "ahoy");
    cluster.kubectl("delete deploy/echo").ok();
    forwarder.to_the_end();
}

#[test]
fn an_http_component_is_reached_through_a_forwarded_port() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    eventually("a ready pod", || {
        let ready = cluster.kubectl("wait --for=condition=Available deploy/hello --timeout=30s").tried();
        ready.map(drop)
    });
    for way in [Way::WebSocket, Way::Spdy] {
        let (_forwarder, address) = forward(&cluster, "svc/hello", 80, way);
        let mut connection = connect(address);
        connection.write_all(b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[test]
fn a_local_port_that_is_taken_is_kubectls_own_to_tell() {
    let (cluster, pod) = echo();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let told = cluster.kubectl(&format!("port-forward pod/{pod} --address 127.0.0.1 {port}:7777")).refused();
    assert!(told.contains("unable to listen on any of the requested ports"), "{told}");
}
