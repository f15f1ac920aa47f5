//! Pods' ports over real sockets of the loopback address.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream as StdStream};
use std::sync::mpsc::{SyncSender, sync_channel};

use coracle_api::names::NamespacedName;

use super::*;
use crate::bind::bind_at;
use crate::policy::Rules;
use crate::table::Ranges;

/// Answers each connection with whom it is for and from, in short.
struct Greeter(SyncSender<Connection>);

impl ConnectionHandler for Greeter {
    fn take(&self, connection: Connection) -> Result<(), Connection> {
        self.0.send(connection).unwrap();
        Ok(())
    }
}

/// What a guest asks for that listens everywhere.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

fn network(mode: Mode, cidr: &str) -> Pods {
    let cidr: Cidr = cidr.parse().unwrap();
    let table = Arc::new(Table::new(Ranges { cluster: cidr, pods: cidr, services: "127.43.0.0/16".parse().unwrap() }));
    table.policies().enforce(Rules::default());
    Pods::new(table, cidr, mode)
}

fn slot(name: &str) -> PodSlot {
    let (pod, uid) = (NamespacedName::new("default", name), Uid::new(name).unwrap());
    PodSlot { pod, uid, labels: BTreeMap::new(), ports: Vec::new(), outside: None }
}

async fn served(mode: Mode, cidr: &str, real: impl FnOnce(IpAddr, SocketAddr)) {
    let pods = network(mode, cidr);
    let pod = pods.attach(slot("a")).await.unwrap();
    let (sender, connections) = sync_channel(1);
    let port = pod.serve(8080, Arc::new(Greeter(sender))).await.unwrap();
    real(pod.ip(), port.real());

    let other = pods.attach(slot("b")).await.unwrap();
    let to = other.connect(Protocol::Tcp, SocketAddr::new(pod.ip(), 8080)).unwrap();
    assert_eq!(to, port.real());
    assert_eq!(pod.connect(Protocol::Tcp, "127.0.0.1:8080".parse().unwrap()), Ok(port.real()));
    assert_eq!(other.shown(Protocol::Tcp, to), SocketAddr::new(pod.ip(), 8080));

    let client = tokio::task::spawn_blocking(move || {
        let mut client = StdStream::connect(to).unwrap();
        let connection = connections.recv().unwrap();
        assert_eq!(connection.peer, client.local_addr().unwrap());
        let mut stream = connection.stream;
        assert!(stream.nodelay().unwrap());
        stream.set_nonblocking(false).unwrap();
        stream.write_all(connection.local.to_string().as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(client.await.unwrap(), format!("{}:8080", pod.ip()));
}

#[tokio::test]
async fn a_served_port_hands_over_what_it_accepts() {
    served(Mode::Real, "127.42.201.0/24", |ip, real| assert_eq!(real, SocketAddr::new(ip, 8080))).await;
}

#[tokio::test]
async fn a_port_that_cannot_be_real_is_mapped_and_works_alike() {
    served(Mode::Real, "198.51.100.0/24", |_, real| assert!(real.ip().is_loopback())).await;
    served(Mode::Mapped, "127.42.202.0/24", |_, real| assert_eq!(real.ip().to_string(), "127.0.0.1")).await;
}

#[tokio::test]
async fn a_guest_binds_its_reserved_port_and_is_found() {
    let pods = network(Mode::Mapped, "10.42.0.0/24");
    let pod = pods.attach(slot("a")).await.unwrap();
    let port = pod.listen(Protocol::Tcp, any(7)).unwrap();
    let listener = bind_at(port.real()).unwrap().listen(1).unwrap();
    let to = pod.connect(Protocol::Tcp, SocketAddr::new(pod.ip(), 7)).unwrap();
    let (client, accepted) = tokio::join!(tokio::net::TcpStream::connect(to), listener.accept());
    assert_eq!(client.unwrap().local_addr().unwrap(), accepted.unwrap().1);
    assert_eq!(pod.shown(Protocol::Tcp, port.real()), SocketAddr::new(pod.ip(), 7));
}

#[tokio::test]
async fn port_zero_is_any_free_port() {
    let pods = network(Mode::Mapped, "10.42.0.0/24");
    let pod = pods.attach(slot("a")).await.unwrap();
    let (one, other) = (pod.listen(Protocol::Tcp, any(0)).unwrap(), pod.listen(Protocol::Tcp, any(0)).unwrap());
    assert_ne!(pod.shown(Protocol::Tcp, one.real()), pod.shown(Protocol::Tcp, other.real()));
    assert_eq!(pod.shown(Protocol::Tcp, one.real()).ip(), pod.ip());
    assert_ne!(pod.shown(Protocol::Tcp, one.real()).port(), 0);
}

#[tokio::test]
async fn a_port_is_taken_until_it_is_dropped_and_then_free_at_once() {
    let pods = network(Mode::Real, "127.42.203.0/24");
    let pod = pods.attach(slot("a")).await.unwrap();
    let handler = || Arc::new(Greeter(sync_channel(1).0));
    let port = pod.serve(8080, handler()).await.unwrap();
    let error = pod.listen(Protocol::Tcp, any(8080)).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(error.to_string(), "port 8080 of pod default/a is already in use by another of its containers");
    drop(port);
    assert_eq!(pod.connect(Protocol::Tcp, SocketAddr::new(pod.ip(), 8080)), Err(ConnectError::Refused));
    for _ in 0..20 {
        let again = pod.serve(8080, handler()).await.unwrap();
        assert_eq!(again.real(), SocketAddr::new(pod.ip(), 8080), "bound for real again, not mapped");
    }
}

#[tokio::test]
async fn the_same_pod_keeps_its_address_and_gives_it_back_in_the_end() {
    let pods = network(Mode::Mapped, "10.42.0.0/30");
    let pod = pods.attach(slot("a")).await.unwrap();
    assert_eq!(pods.attach(slot("a")).await.unwrap().ip(), pod.ip());
    let error = pods.attach(slot("b")).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().starts_with("the 1 pod addresses of 10.42.0.0/30 are used up"), "{error}");

    let port = pod.listen(Protocol::Tcp, any(80)).unwrap();
    let (ip, real) = (pod.ip(), port.real());
    drop(pod);
    assert_eq!(pods.0.table.shown(Protocol::Tcp, real), real, "the pod's ports ended with it");
    let next = pods.attach(slot("b")).await.unwrap();
    assert_eq!(next.ip(), ip);
    let theirs = next.listen(Protocol::Tcp, any(80)).unwrap();
    drop(port);
    assert_eq!(
        next.connect(Protocol::Tcp, SocketAddr::new(ip, 80)),
        Ok(theirs.real()),
        "an old port closes nothing of the new pod"
    );
}

/// A handler that holds a port of its own pod, as a server that also reserves one for its guest may.
struct Holder(Mutex<Option<Box<dyn BoundPort>>>);

impl ConnectionHandler for Holder {
    fn take(&self, connection: Connection) -> Result<(), Connection> {
        drop((self.0.lock().unwrap().take(), connection));
        Ok(())
    }
}

#[tokio::test]
async fn a_port_that_ends_may_end_another_with_it() {
    let pods = network(Mode::Mapped, "10.42.0.0/24");
    let pod = pods.attach(slot("a")).await.unwrap();
    let inner = pod.listen(Protocol::Tcp, any(81)).unwrap();
    let outer = pod.serve(80, Arc::new(Holder(Mutex::new(Some(inner))))).await.unwrap();
    drop(outer);
    while pod.connect(Protocol::Tcp, SocketAddr::new(pod.ip(), 81)).is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn both_protocols_and_both_families_have_the_same_number() {
    let pods = network(Mode::Real, "127.42.204.0/24");
    let (pod, other) = (pods.attach(slot("a")).await.unwrap(), pods.attach(slot("b")).await.unwrap());
    let listen = |protocol, at: &str| pod.listen(protocol, at.parse().unwrap()).unwrap();
    let at = SocketAddr::new(pod.ip(), 53);
    let (tcp, udp) = (listen(Protocol::Tcp, "0.0.0.0:53"), listen(Protocol::Udp, "0.0.0.0:53"));
    assert_eq!((tcp.real(), udp.real()), (at, at));
    let six = listen(Protocol::Tcp, "[::]:53");
    assert!(six.real().ip().is_loopback(), "one of the two can be real");
    assert_eq!(other.connect(Protocol::Tcp, at), Ok(tcp.real()));
    assert_eq!(pod.connect(Protocol::Tcp, "[::1]:53".parse().unwrap()), Ok(six.real()));
    drop(tcp);
    assert_eq!(other.connect(Protocol::Tcp, at), Ok(six.real()), "it is found by both families");
    assert_eq!(other.connect(Protocol::Udp, at), Ok(udp.real()));
    for foreign in ["192.0.2.1:80", "127.43.0.1:80", "127.42.204.99:80"] {
        let error = pod.listen(Protocol::Tcp, foreign.parse().unwrap()).map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable, "{foreign}");
    }
}

#[tokio::test]
async fn what_listens_at_localhost_is_found_by_its_own_pod_alone() {
    let pods = network(Mode::Real, "127.42.205.0/24");
    let (pod, other) = (pods.attach(slot("a")).await.unwrap(), pods.attach(slot("b")).await.unwrap());
    let port = pod.listen(Protocol::Tcp, "127.0.0.1:8080".parse().unwrap()).unwrap();
    let at = SocketAddr::new(pod.ip(), 8080);
    assert_eq!(pod.connect(Protocol::Tcp, "127.0.0.1:8080".parse().unwrap()), Ok(port.real()));
    assert_eq!(pod.connect(Protocol::Tcp, at), Err(ConnectError::Refused));
    assert_eq!(other.connect(Protocol::Tcp, at), Err(ConnectError::Refused));
    assert_eq!(other.connect(Protocol::Tcp, "127.0.0.1:8080".parse().unwrap()), Err(ConnectError::Refused));
}

#[tokio::test]
async fn who_only_asks_by_datagram_is_bound_to_no_address_and_known_by_its_own() {
    let pods = network(Mode::Real, "127.42.206.0/24");
    let (pod, other) = (pods.attach(slot("a")).await.unwrap(), pods.attach(slot("b")).await.unwrap());
    let port = pod.listen(Protocol::Udp, any(0)).unwrap();
    let (socket, real) = (std::net::UdpSocket::bind(port.real()).unwrap(), port.real());
    assert!(real.ip().is_unspecified());
    let server = std::net::UdpSocket::bind((other.ip(), 0)).unwrap();
    socket.send_to(b"x", server.local_addr().unwrap()).unwrap();
    let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
    assert_eq!(other.shown(Protocol::Udp, from), SocketAddr::new(pod.ip(), real.port()));
    assert_eq!(other.connect(Protocol::Udp, SocketAddr::new(pod.ip(), real.port())), Ok(from));
}

#[tokio::test]
async fn a_guise_lasts_as_long_as_it_is_held() {
    let pods = network(Mode::Mapped, "10.42.0.0/24");
    let pod = pods.attach(slot("a")).await.unwrap();
    let (real, as_if) = ("127.0.0.1:50000".parse().unwrap(), SocketAddr::new(pod.ip(), 50_000));
    let guise = pod.guise(Protocol::Tcp, real, "127.43.0.1:80".parse().unwrap());
    assert_eq!(pod.shown(Protocol::Tcp, real), as_if);
    drop(guise);
    assert_eq!(pod.shown(Protocol::Tcp, real), real);
    let own = SocketAddr::new(pod.ip(), 1);
    let localhost = pod.guise(Protocol::Tcp, own, "[::1]:80".parse().unwrap());
    assert_eq!(pod.shown(Protocol::Tcp, own), "127.0.0.1:1".parse().unwrap());
    drop(localhost);
    assert!(pod.guise(Protocol::Tcp, own, "192.0.2.1:80".parse().unwrap()).is_none());
}
