//! Sockets: a guest binds its pod's ports, finds Services by name, and connects where the network says.

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::*;

const GUEST: &str = include_str!("guests/sockets.wat");

/// Connects to the pod's port, and reads the guest's greeting.
async fn greeted(node: &Node) -> TcpStream {
    until(|| node.loopback.real(8080).is_some()).await;
    let real = node.loopback.real(8080).unwrap();
    let mut client = loop {
        // The port is reserved a moment before the guest listens.
        if let Ok(client) = TcpStream::connect(real).await {
            break client;
        }
    };
    let mut hello = [0; 15];
    client.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello from pod\n");
    client
}

/// Runs the guest to its end, with a backend that it says a word to.
async fn converses(guest: &str) {
    let node = Node::new();
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    *node.loopback.endpoint.lock().unwrap() = Some(backend.local_addr().unwrap());
    let mut running = node.start(component(guest, "command"), |_| {}).await;
    let _client = greeted(&node).await;
    let (mut from_guest, _) = backend.accept().await.unwrap();
    let mut word = [0; 11];
    from_guest.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"from-guest\n");
    assert_eq!(running.outcome().await, Outcome::Exited(0));
    assert_eq!(node.loopback.real(8080), None);
    let counted = Traffic { sent_bytes: 15 + 11, connections: 2, ..Traffic::default() };
    assert_eq!(running.usage().traffic, counted);
}

#[tokio::test]
async fn a_guest_listens_looks_up_and_connects_in_cluster_terms() {
    converses(GUEST).await;
}

#[tokio::test]
async fn a_guest_that_binds_any_address_of_ipv6_gets_the_pods_of_ipv4() {
    let guest = GUEST.replacen("(call $create (i32.const 0)", "(call $create (i32.const 1)", 1).replacen(
        "(local.get $n) (i32.const 0) (i32.const 8080)",
        "(local.get $n) (i32.const 1) (i32.const 8080)",
        1,
    );
    converses(&guest).await;
}

#[tokio::test]
async fn a_service_without_endpoints_refuses_and_another_address_cannot_be_bound() {
    let node = Node::new();
    let mut running = node.start(component(GUEST, "command"), |_| {}).await;
    let _client = greeted(&node).await;
    // The guest takes every refusal for the end.
    assert!(matches!(running.outcome().await, Outcome::Trapped { .. }));
    let foreign = GUEST.replacen("(i32.const 8080) (i32.const 0)", "(i32.const 8080) (i32.const 9)", 1);
    assert!(matches!(node.run(component(&foreign, "command"), |_| {}).await, Outcome::Trapped { .. }));
    assert_eq!(node.loopback.real(8080), None);
}

#[tokio::test]
async fn a_stop_waits_for_an_accepted_connection() {
    let node = Node::new();
    // After the greeting it waits for one more connection, with the first still open.
    let waits = GUEST.replace(";; resolve", "(call $wait (local.get $s))");
    let mut running = node.start(component(&waits, "command"), |_| {}).await;
    let _client = greeted(&node).await;
    running.stop();
    let early = tokio::time::timeout(Duration::from_millis(20), running.outcome()).await;
    assert!(early.is_err(), "{early:?}");
    running.kill();
    assert_eq!(running.outcome().await, Outcome::Stopped);
}

#[tokio::test]
async fn a_guest_answers_datagrams_to_their_senders() {
    let node = Node::new();
    let running = node.start(component(include_str!("guests/datagrams.wat"), "command"), |_| {}).await;
    until(|| node.loopback.real(5353).is_some()).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(node.loopback.real(5353).unwrap()).await.unwrap();
    let mut echo = [0; 16];
    let length = loop {
        // The port is reserved a moment before the guest binds it; until then datagrams are refused or lost.
        let _ = client.send(b"ping").await;
        if let Ok(Ok(length)) = tokio::time::timeout(Duration::from_millis(20), client.recv(&mut echo)).await {
            break length;
        }
    };
    assert_eq!(&echo[..length], b"ping");
    // A datagram is here before the guest's call has returned and was counted.
    until(|| matches!(running.usage().traffic, Traffic { received_bytes: 4.., sent_bytes: 4.., .. })).await;
}
