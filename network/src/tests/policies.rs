//! Policies at the network's face: what the API says is in force a moment later, for pods and for clients outside.

use coracle_api::meet::ConnectError;
use futures::FutureExt;
use tokio::net::TcpSocket;

use super::*;
use crate::fake_api::{PODS, POLICIES};

/// Waits until it is so: what is written is followed by a task of its own.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

/// A policy about the pod `db`, whose peers are these.
fn about_db(from: Value) -> Value {
    json!({ "spec": { "podSelector": { "matchLabels": { "app": "db" } }, "ingress": [{ "from": from }] } })
}

/// Connects from an address of this machine; whether anybody took the connection.
async fn is_taken(from: &str, to: SocketAddr) -> bool {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    let mut client = socket.connect(to).await.unwrap();
    // Who is taken is answered; who is not, is reset, or had been before it could write.
    let said = async {
        client.write_all(b"hello").await?;
        client.read_exact(&mut [0; 2]).await
    };
    said.await.is_ok()
}

/// Answers every connection.
struct Welcome;

impl ConnectionHandler for Welcome {
    fn take(&self, connection: Connection) -> Result<(), Connection> {
        use std::io::Write;
        // Some only look whether anybody is there.
        let _ = { connection.stream }.write_all(b"ok");
        Ok(())
    }
}

#[tokio::test]
async fn a_policy_is_in_force_a_moment_after_it_is_written() {
    let running = running(config(218)).await;
    let (web, db) = (running.pod("web").await, running.pod("db").await);
    let _port = db.listen(Protocol::Tcp, any(80)).unwrap();
    running.endpoints("db", 80, &[db.ip()]);
    running.service("db", "127.43.218.1", free_port());
    let to = SocketAddr::new(db.ip(), 80);
    let by_service = || web.connect(Protocol::Tcp, address("127.43.218.1:8000"));
    until(|| by_service().is_ok()).await;

    let denied = || web.connect(Protocol::Tcp, to) == Err(ConnectError::Denied);
    assert!(!denied());
    running.api.put(POLICIES, "p", json!({ "spec": { "podSelector": {} } }));
    until(denied).await;
    assert_eq!(by_service(), Err(ConnectError::Denied));
    assert_eq!(web.connect(Protocol::Tcp, SocketAddr::new(db.ip(), 81)), Err(ConnectError::Denied), "nobody listens");
    assert!(db.connect(Protocol::Tcp, to).is_ok() && db.connect(Protocol::Tcp, address("127.0.0.1:80")).is_ok());
    let peer = SocketAddr::new(web.ip(), 4000);
    assert!(!db.admits(Protocol::Tcp, 80, peer) && db.admits(Protocol::Tcp, 80, address("127.0.0.1:4000")));

    running.api.put(POLICIES, "q", about_db(json!([{ "podSelector": { "matchLabels": { "app": "web" } } }])));
    until(|| !denied()).await;
    assert!(by_service().is_ok() && db.admits(Protocol::Tcp, 80, peer));

    // The pod is labelled anew while it runs.
    let labelled = |app: &str| json!({ "metadata": { "labels": { "app": app } }, "status": { "podIP": web.ip() } });
    running.api.put(PODS, "web", labelled("other"));
    until(denied).await;
    running.api.put(PODS, "web", labelled("web"));
    until(|| !denied()).await;

    running.api.delete(POLICIES, "q");
    until(denied).await;
    running.api.delete(POLICIES, "p");
    until(|| !denied()).await;
}

#[tokio::test]
async fn a_client_outside_is_known_by_its_own_address() {
    let running = running(config(219)).await;
    let db = running.pod("db").await;
    let _port = db.serve(80, Arc::new(Welcome)).await.unwrap();
    let node_port = free_port();
    running.endpoints("db", 80, &[db.ip()]);
    running.service("db", "127.43.219.1", node_port);
    let ways =
        [SocketAddr::from(([127, 0, 0, 1], node_port)), address("127.43.219.1:8000"), SocketAddr::new(db.ip(), 80)];
    for to in ways {
        drop(connected(to).await);
    }
    let block = json!({ "cidr": "127.0.0.0/24", "except": ["127.0.0.78/32"] });
    running.api.put(POLICIES, "p", about_db(json!([{ "ipBlock": block }])));
    until(|| !db.admits(Protocol::Tcp, 80, address("127.0.0.78:1"))).await;
    for to in ways {
        assert!(is_taken("127.0.0.77", to).await, "{to}");
        assert!(!is_taken("127.0.0.78", to).await, "{to}");
    }
    running.api.put(POLICIES, "p", about_db(json!([{ "ipBlock": { "cidr": "192.0.2.0/24" } }])));
    until(|| !db.admits(Protocol::Tcp, 80, address("127.0.0.77:1"))).await;
    for to in ways {
        assert!(!is_taken("127.0.0.77", to).await, "{to}");
        assert!(is_taken("127.0.0.1", to).await, "the node itself: {to}");
    }
}

#[tokio::test]
async fn a_connection_that_is_carried_to_a_guest_is_judged_by_its_client() {
    let running = running(config(220)).await;
    let db = running.pod("db").await;
    let port = db.listen(Protocol::Tcp, any(7)).unwrap();
    let guest = bind_at(port.real()).unwrap().listen(8).unwrap();
    let mut guests = JoinSet::new();
    guests.spawn(async move {
        while let Ok((mut stream, _)) = guest.accept().await {
            stream.write_all(b"ok").await.unwrap();
        }
    });
    let port = db.listen(Protocol::Udp, any(7)).unwrap();
    let udp = UdpSocket::bind(port.real()).await.unwrap();
    let node_port = free_port();
    running.endpoints("db", 7, &[db.ip()]);
    running.service("db", "127.43.220.1", node_port);
    let to = SocketAddr::from(([127, 0, 0, 1], node_port));
    drop(connected(to).await);
    running.api.put(POLICIES, "p", about_db(json!([{ "ipBlock": { "cidr": "127.0.0.77/32" } }])));
    until(|| !db.admits(Protocol::Tcp, 7, address("127.0.0.78:1"))).await;
    assert!(is_taken("127.0.0.77", to).await);
    assert!(!is_taken("127.0.0.78", to).await);

    let sent = async |from: &str, text: &[u8]| {
        let client = UdpSocket::bind((from, 0)).await.unwrap();
        client.send_to(text, to).await.unwrap();
    };
    sent("127.0.0.78", b"no").await;
    sent("127.0.0.77", b"yes").await;
    let mut buffer = [0; 8];
    let (length, _) = udp.recv_from(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..length], b"yes");
}

#[tokio::test]
async fn no_pod_has_an_address_before_the_policies_are_known() {
    let api = FakeApi::new();
    api.put(POLICIES, "p", json!({ "spec": { "podSelector": {} } }));
    let network = Network::build(api.client(), config(221)).await.unwrap();
    let pods = network.pods();
    let mut early = pods.attach(slot("early"));
    assert!((&mut early).now_or_never().is_none());
    let mut tasks = JoinSet::new();
    tasks.spawn(network.run(CancellationToken::new()));
    let (early, late) = (early.await.unwrap(), pods.attach(slot("late")).await.unwrap());
    let to = SocketAddr::new(late.ip(), 80);
    assert_eq!(early.connect(Protocol::Tcp, to), Err(ConnectError::Denied));
}
