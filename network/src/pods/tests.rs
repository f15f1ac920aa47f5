//! Pods' ports over real sockets of the loopback address.

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
    assert_eq!(other.shown(to), SocketAddr::new(pod.ip(), 8080));

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
    let port = pod.listen(7).unwrap();
    let listener = bind_at(port.real()).unwrap().listen(1).unwrap();
    let to = pod.connect(Protocol::Tcp, SocketAddr::new(pod.ip(), 7)).unwrap();
    let (client, accepted) = tokio::join!(tokio::net::TcpStream::connect(to), listener.accept());
    assert_eq!(client.unwrap().local_addr().unwrap(), accepted.unwrap().1);
    assert_eq!(pod.shown(port.real()), SocketAddr::new(pod.ip(), 7));
}

#[tokio::test]
async fn port_zero_is_any_free_port() {
    let pods = network(Mode::Mapped, "10.42.0.0/24");
    let pod = pods.attach(slot("a")).await.unwrap();
    let (one, other) = (pod.listen(0).unwrap(), pod.listen(0).unwrap());
    assert_ne!(pod.shown(one.real()), pod.shown(other.real()));
    assert_eq!(pod.shown(one.real()).ip(), pod.ip());
    assert_ne!(pod.shown(one.real()).port(), 0);
}

#[tokio::test]
async fn a_port_is_taken_until_it_is_dropped_and_then_free_at_once() {
    let pods = network(Mode::Real, "127.42.203.0/24");
    let pod = pods.attach(slot("a")).await.unwrap();
    let handler = || Arc::new(Greeter(sync_channel(1).0));
    let port = pod.serve(8080, handler()).await.unwrap();
    let error = pod.listen(8080).map(|_| ()).unwrap_err();
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

    let port = pod.listen(80).unwrap();
    let (ip, real) = (pod.ip(), port.real());
    drop(pod);
    assert_eq!(pods.0.table.shown(real), real, "the pod's ports ended with it");
    let next = pods.attach(slot("b")).await.unwrap();
    assert_eq!(next.ip(), ip);
    let theirs = next.listen(80).unwrap();
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
    let inner = pod.listen(81).unwrap();
    let outer = pod.serve(80, Arc::new(Holder(Mutex::new(Some(inner))))).await.unwrap();
    drop(outer);
    while pod.connect(Protocol::Tcp, SocketAddr::new(pod.ip(), 81)).is_ok() {
        tokio::task::yield_now().await;
    }
}
