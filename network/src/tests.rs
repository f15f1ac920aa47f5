//! The network's face: Services over a fake API server, pods and clients over real sockets of the loopback address.

mod policies;
mod sleep;

use std::net::SocketAddr;
use std::sync::Arc;

use coracle_api::meet::{Attachment, Connection, ConnectionHandler, PodSlot, Protocol};
use coracle_api::names::{NamespacedName, Uid};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::DropGuard;

use super::*;
use crate::bind::bind_at;
use crate::fake_api::{FakeApi, SERVICES, SLICES};

/// A network that runs.
struct Running {
    api: FakeApi,
    pods: Arc<dyn PodNetwork>,
    tasks: JoinSet<()>,
    shutdown: DropGuard,
}

fn config(subnet: u8) -> Config {
    Config {
        node_name: "here".to_owned(),
        cluster_cidr: Some("127.42.0.0/16".to_owned()),
        pod_cidr: format!("127.42.{subnet}.0/24"),
        ..Config::default()
    }
}

async fn running(config: Config) -> Running {
    let api = FakeApi::new();
    let network = Network::build(api.client(), config).await.unwrap();
    let (pods, shutdown) = (network.pods(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(network.run(shutdown.clone()));
    Running { api, pods, tasks, shutdown: shutdown.drop_guard() }
}

impl Running {
    async fn pod(&self, name: &str) -> Arc<dyn Attachment> {
        self.pods.attach(slot(name)).await.unwrap()
    }

    /// A Service with one port of each protocol, at `node_port` of the node.
    fn service(&self, name: &str, cluster_ip: &str, node_port: u16) {
        let port = |protocol: &str| json!({ "name": protocol.to_lowercase(), "protocol": protocol, "port": 8000, "nodePort": node_port });
        let spec = json!({ "type": "NodePort", "clusterIP": cluster_ip, "ports": [port("TCP"), port("UDP")] });
        self.api.put(SERVICES, name, json!({ "spec": spec }));
    }

    /// Its endpoints.
    fn endpoints(&self, name: &str, port: u16, ips: &[std::net::IpAddr]) {
        let endpoints: Vec<Value> = ips.iter().map(|ip| json!({ "addresses": [ip] })).collect();
        let ports = json!([
            { "name": "tcp", "protocol": "TCP", "port": port }, { "name": "udp", "protocol": "UDP", "port": port },
        ]);
        let metadata = json!({ "labels": { "kubernetes.io/service-name": name } });
        let slice = json!({ "metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": endpoints });
        self.api.put(SLICES, name, slice);
    }
}

/// A pod whose label `app` is its name.
fn slot(name: &str) -> PodSlot {
    let labels = [("app".to_owned(), name.to_owned())].into();
    let (pod, uid) = (NamespacedName::new("default", name), Uid::new(name).unwrap());
    PodSlot { pod, uid, labels, ports: Vec::new(), outside: None }
}

struct Sink(mpsc::Sender<Connection>);

impl ConnectionHandler for Sink {
    fn take(&self, connection: Connection) -> Result<(), Connection> {
        self.0.try_send(connection).unwrap();
        Ok(())
    }
}

/// A server that is stopping.
struct Stopping;

impl ConnectionHandler for Stopping {
    fn take(&self, connection: Connection) -> Result<(), Connection> {
        Err(connection)
    }
}

/// What a guest asks for that listens everywhere.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A port of the node that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Connects as soon as somebody listens there.
async fn connected(to: SocketAddr) -> TcpStream {
    loop {
        if let Ok(stream) = TcpStream::connect(to).await {
            return stream;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_connection_to_a_node_port_is_handed_to_the_pods_handler() {
    let running = running(config(210)).await;
    let pod = running.pod("web").await;
    let (sender, mut taken) = mpsc::channel(8);
    let _port = pod.serve(8080, Arc::new(Sink(sender))).await.unwrap();
    let node_port = free_port();
    running.endpoints("web", 8080, &[pod.ip()]);
    running.service("web", "127.43.210.1", node_port);

    for to in [SocketAddr::from(([127, 0, 0, 1], node_port)), address("127.43.210.1:8000")] {
        let client = connected(to).await;
        let connection = taken.recv().await.unwrap();
        assert_eq!(connection.peer, client.local_addr().unwrap());
        assert_eq!(connection.stream.local_addr().unwrap(), to, "no second hop");
        assert_eq!(connection.local, SocketAddr::new(pod.ip(), 8080));
    }
}

#[tokio::test]
async fn a_connection_to_a_guest_is_carried_with_its_half_close_and_the_clients_address() {
    let running = running(config(211)).await;
    let pod = running.pod("echo").await;
    let port = pod.listen(Protocol::Tcp, any(7)).unwrap();
    let guest: TcpListener = bind_at(port.real()).unwrap().listen(8).unwrap();
    let node_port = free_port();
    running.endpoints("echo", 7, &[pod.ip()]);
    running.service("echo", "127.43.211.1", node_port);

    let mut client = connected(SocketAddr::from(([127, 0, 0, 1], node_port))).await;
    let (mut accepted, peer) = guest.accept().await.unwrap();
    assert_eq!(pod.shown(Protocol::Tcp, peer), client.local_addr().unwrap());
    client.write_all(b"to the end").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = String::new();
    accepted.read_to_string(&mut heard).await.unwrap();
    accepted.write_all(b"and back").await.unwrap();
    drop(accepted);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!((heard.as_str(), answer.as_str()), ("to the end", "and back"));
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over() {
    let running = running(config(212)).await;
    let (dead, alive) = (running.pod("dead").await, running.pod("alive").await);
    let _reserved = dead.listen(Protocol::Tcp, any(7)).unwrap();
    let port = alive.listen(Protocol::Tcp, any(7)).unwrap();
    let guest = bind_at(port.real()).unwrap().listen(8).unwrap();
    running.endpoints("echo", 7, &[dead.ip(), alive.ip()]);
    running.service("echo", "127.43.212.1", free_port());
    for _ in 0..4 {
        let (_client, accepted) = tokio::join!(connected(address("127.43.212.1:8000")), guest.accept());
        accepted.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_a_stopping_server_does_not_take_goes_to_the_next() {
    let running = running(config(230)).await;
    let (stopping, alive) = (running.pod("stopping").await, running.pod("alive").await);
    let _refusing = stopping.serve(80, Arc::new(Stopping)).await.unwrap();
    let (sender, mut taken) = mpsc::channel(8);
    let _taking = alive.serve(80, Arc::new(Sink(sender))).await.unwrap();
    running.endpoints("web", 80, &[stopping.ip(), alive.ip()]);
    running.service("web", "127.43.230.1", free_port());
    for _ in 0..4 {
        let client = connected(address("127.43.230.1:8000")).await;
        let connection = taken.recv().await.unwrap();
        assert_eq!(connection.peer, client.local_addr().unwrap());
        assert_eq!(connection.local, SocketAddr::new(alive.ip(), 80));
    }
    running.endpoints("web", 80, &[stopping.ip()]);
    loop {
        let (mut client, mut byte) = (connected(address("127.43.230.1:8000")).await, [0]);
        let silent = tokio::select! {
            biased;
            read = client.read(&mut byte) => read.is_err(),
            _ = taken.recv() => false,
        };
        if silent {
            return;
        }
    }
}

#[tokio::test]
async fn a_pod_is_withdrawn_when_no_service_leads_to_it() {
    let running = running(config(231)).await;
    let (old, new) = (running.pod("old").await, running.pod("new").await);
    old.withdrawn().await;
    running.endpoints("web", 80, &[old.ip()]);
    running.service("web", "127.43.231.1", free_port());
    drop(connected(address("127.43.231.1:8000")).await);
    let mut withdrawn = old.withdrawn();
    assert!(futures::poll!(&mut withdrawn).is_pending());
    running.endpoints("web", 80, &[old.ip(), new.ip()]);
    running.endpoints("web", 80, &[new.ip()]);
    withdrawn.await;
    let mut led_to = new.withdrawn();
    assert!(futures::poll!(&mut led_to).is_pending());
    running.api.delete(SERVICES, "web");
    led_to.await;
}

#[tokio::test]
async fn who_is_not_in_the_ranges_of_a_balancer_is_reset() {
    let running = running(config(232)).await;
    let pod = running.pod("web").await;
    let (sender, mut taken) = mpsc::channel(8);
    let _port = pod.serve(80, Arc::new(Sink(sender))).await.unwrap();
    running.endpoints("web", 80, &[pod.ip()]);
    let port = free_port();
    let balanced = |ranges: Value| {
        let ports = json!([{ "name": "tcp", "protocol": "TCP", "port": port }]);
        json!({ "spec": { "type": "LoadBalancer", "clusterIP": "127.43.232.1", "ports": ports,
            "loadBalancerSourceRanges": ranges } })
    };
    running.api.put(SERVICES, "web", balanced(json!(["192.0.2.0/24"])));
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let error = connected(at).await.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    running.api.put(SERVICES, "web", balanced(json!(["192.0.2.0/24", "127.0.0.0/8"])));
    loop {
        let (mut client, mut byte) = (connected(at).await, [0]);
        tokio::select! {
            _ = client.read(&mut byte) => {}
            connection = taken.recv() => return assert_eq!(connection.unwrap().local, SocketAddr::new(pod.ip(), 80)),
        }
    }
}

#[tokio::test]
async fn a_service_without_endpoints_resets() {
    let running = running(config(213)).await;
    running.service("nobody", "127.43.213.1", free_port());
    let mut client = connected(address("127.43.213.1:8000")).await;
    let error = client.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let pod = running.pod("a").await;
    assert_eq!(pod.connect(Protocol::Tcp, address("127.43.213.1:8000")), Err(coracle_api::meet::ConnectError::Refused));
}

#[tokio::test]
async fn a_pod_reaches_what_is_outside_by_a_service() {
    let running = running(config(214)).await;
    let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = outside.local_addr().unwrap();
    running.endpoints("kubernetes", at.port(), &[at.ip()]);
    running.service("kubernetes", "127.43.214.1", free_port());
    let (_client, accepted) = tokio::join!(connected(address("127.43.214.1:8000")), outside.accept());
    accepted.unwrap();
    let pod = running.pod("a").await;
    assert_eq!(pod.connect(Protocol::Tcp, address("127.43.214.1:8000")), Ok(at));
}

#[tokio::test]
async fn datagrams_go_there_and_back() {
    let running = running(config(215)).await;
    let pod = running.pod("echo").await;
    let port = pod.listen(Protocol::Udp, any(7)).unwrap();
    let guest = UdpSocket::bind(port.real()).await.unwrap();
    running.endpoints("echo", 7, &[pod.ip()]);
    running.service("echo", "127.43.215.1", free_port());
    drop(connected(address("127.43.215.1:8000")).await);

    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect("127.43.215.1:8000").await.unwrap();
    let mut buffer = [0; 16];
    for text in [b"one", b"two"] {
        client.send(text).await.unwrap();
        let (length, from) = guest.recv_from(&mut buffer).await.unwrap();
        guest.send_to(&buffer[..length], from).await.unwrap();
        let length = client.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_port_in_use_is_said_and_opened_when_it_is_free() {
    let running = running(config(216)).await;
    let squatter = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let node_port = squatter.local_addr().unwrap().port();
    running.service("web", "127.43.216.1", node_port);
    let event = running.api.created(|object| object["reason"] == "FailedToBind").await;
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["involvedObject"]["name"], "web");
    assert_eq!(
        event["message"].as_str().unwrap(),
        format!(
            "nodePort {node_port}/TCP cannot be opened on 127.0.0.1:{node_port}; another process or an Ingress \
             listens there: free the port, or give the Service another nodePort; it is tried again every few seconds"
        )
    );
    drop(squatter);
    let mut client = loop {
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        if let Ok(client) = TcpStream::connect(("127.0.0.1", node_port)).await {
            break client;
        }
    };
    assert!(client.read(&mut [0]).await.is_err(), "ours: it resets for want of endpoints");
}

#[tokio::test]
async fn a_deleted_service_closes_its_ports_and_shutdown_the_rest() {
    let mut running = running(config(217)).await;
    let ports = [free_port(), free_port()];
    running.service("a", "127.43.217.1", ports[0]);
    running.service("b", "127.43.217.2", ports[1]);
    for port in ports {
        drop(connected(SocketAddr::from(([127, 0, 0, 1], port))).await);
    }
    running.api.delete(SERVICES, "a");
    while TcpStream::connect(("127.0.0.1", ports[0])).await.is_ok() {
        tokio::task::yield_now().await;
    }
    drop(connected(SocketAddr::from(([127, 0, 0, 1], ports[1]))).await);
    drop(running.shutdown);
    running.tasks.join_next().await.unwrap().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", ports[1])).await.is_err());
}

#[tokio::test]
async fn ranges_that_cannot_work_are_refused_with_the_fix() {
    let check = async |change: fn(&mut Config), message: &str| {
        let mut config = config(0);
        change(&mut config);
        let refused = Network::build(FakeApi::new().client(), config).await.map(|_| ());
        assert_eq!(refused.unwrap_err().to_string(), message);
    };
    check(
        |c| c.pod_cidr = "127.42.0.0/31".to_owned(),
        "the range of pod addresses 127.42.0.0/31 has no room for a pod: it needs at least 4 addresses, as in 127.42.0.0/16",
    )
    .await;
    check(
        |c| c.pod_cidr = "10.0.0.0/24".to_owned(),
        "the node's range of pod addresses 10.0.0.0/24 is not within the cluster's range 127.42.0.0/16: make it a part of it",
    )
    .await;
    check(
        |c| c.service_cidr = "127.42.9.0/24".to_owned(),
        "the range of Services 127.42.9.0/24 and the range of pods 127.42.0.0/16 overlap: choose two that do not",
    )
    .await;
    check(
        |c| c.pod_cidr = "10.0.0.0".to_owned(),
        "\"10.0.0.0\" is not a CIDR: write an address, '/' and the number of fixed bits, as in 127.42.0.0/16",
    )
    .await;
    check(|c| c.node_name = "No".to_owned(), "the network needs the name of its node").await;
}
