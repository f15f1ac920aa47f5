//! Sockets: a guest binds its pod's ports, finds Services by name, and connects where the network says.

use std::net::TcpListener;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn a_guest_listens_looks_up_and_connects_in_cluster_terms() {
    let node = Node::new();
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    backend.set_nonblocking(true).unwrap();
    let backend = tokio::net::TcpListener::from_std(backend).unwrap();
    *node.loopback.endpoint.lock().unwrap() = Some(backend.local_addr().unwrap());

    let mut running = node.start(component(include_str!("guests/sockets.wat"), "command"), |_| {}).await;
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
    let (mut from_guest, _) = backend.accept().await.unwrap();
    let mut word = [0; 11];
    from_guest.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"from-guest\n");
    assert_eq!(running.outcome().await, Outcome::Exited(0));
    assert_eq!(node.loopback.real(8080), None);
}
