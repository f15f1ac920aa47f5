//! How fast is a cold start?
//!
//! Goal: an HTTP pod that nobody has asked for a while, and that therefore has no instance, answers within a
//! millisecond, from connecting to its NodePort to the first byte of the answer.
//! Method: sixteen pods of one image (`hello`), each behind a NodePort of its own; in each of twenty rounds every pod is
//! asked twice, each time over a new connection: the first time cold, its instance having been given up after a second
//! without requests, the second time warm. Between two rounds everybody rests for longer than that. Beside it, in the
//! same rounds, a Service of a pod that is not HTTP (`echo`): what connecting and being routed costs without a guest's
//! instance.
//! The split: a warm answer is the connection, the routing and the guest's work; what a cold one takes beyond it is
//! making the instance and, the process having been idle, waking its threads.
//! Back of the envelope: connect and accept 60 µs, a thread that wakes 50 µs, an instance 30 µs, the guest 30 µs.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that cannot measure ends with a message")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use coracle_benches::{Spread, Table};
use coracle_tests::{Cluster, eventually, http};
use serde_json::json;

const PODS: u16 = 16;
const ROUNDS: usize = 20;
const FIRST_PORT: u16 = 31_100;
const ECHO_PORT: u16 = 31_099;
/// Longer than an instance waits for its next request.
const REST: Duration = Duration::from_millis(1500);

fn main() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.push("echo");
    for number in 0..PODS {
        serve(&cluster, &format!("hello-{number}"), "hello:1", 80, FIRST_PORT + number);
    }
    serve(&cluster, "echo", "echo:1", 7777, ECHO_PORT);
    let addrs: Vec<SocketAddr> = (0..PODS).map(|number| cluster.node_port(FIRST_PORT + number)).collect();
    let echo = cluster.node_port(ECHO_PORT);
    for addr in &addrs {
        eventually("an answer", || http::get(*addr, "/healthz"));
    }
    eventually("an echo", || TcpStream::connect(echo).map_err(|error| error.to_string()));

    let (mut cold, mut warm, mut carried) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        rest();
        cold.extend(addrs.iter().map(|addr| ask(*addr, "HTTP/1.1 200")));
        warm.extend(addrs.iter().map(|addr| ask(*addr, "HTTP/1.1 200")));
        carried.extend(addrs.iter().map(|_| ask(echo, "GET /healthz")));
    }
    let mut table = Table::new(&["first byte of", "n", "p50 µs", "p99 µs", "max µs"]);
    let rows = [("a cold HTTP pod", cold), ("a warm HTTP pod", warm), ("a TCP echo, carried", carried)];
    for (name, times) in rows {
        let times = Spread::of(times);
        let figures = [times.median(), times.percentile(99), times.percentile(100)].map(|us| format!("{us:.0}"));
        let [p50, p99, max] = figures;
        table.row(&[name.to_owned(), times.count().to_string(), p50, p99, max]);
    }
    table.print("How fast is a cold start? (connecting included)");
}

fn serve(cluster: &Cluster, name: &str, image: &str, port: u16, node_port: u16) {
    let spec = json!({"containers": [{"name": "main", "image": image}]});
    let pod = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
    cluster.api().create("/api/v1/namespaces/default/pods", &pod);
    let spec = json!({"type": "NodePort", "selector": {"app": name}, "ports": [{"port": port, "nodePort": node_port}]});
    let service = json!({"metadata": {"name": name}, "spec": spec});
    cluster.api().create("/api/v1/namespaces/default/services", &service);
    cluster.ready_pods(&format!("app={name}"), 1);
}

/// Microseconds from connecting to the first bytes of the answer, which must begin so.
fn ask(addr: SocketAddr, begins: &str) -> f64 {
    let begin = Instant::now();
    let mut connection = TcpStream::connect(addr).expect("the NodePort listens");
    connection.set_nodelay(true).expect("a socket takes options");
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("the connection holds");
    let mut answer = [0; 4096];
    let read = connection.read(&mut answer).expect("the connection holds");
    let time = begin.elapsed().as_secs_f64() * 1e6;
    assert!(answer[..read].starts_with(begins.as_bytes()), "{:?}", String::from_utf8_lossy(&answer[..read]));
    time
}

/// Lets every instance go.
fn rest() {
    let end = Instant::now() + REST;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}
