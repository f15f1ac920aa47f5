//! How fast is a chain of Services?
//!
//! Goal: a guest that asks another by its Service has its answer twice as fast as through a socket.
//! Method: the guest `caller` asks the sample `hello` (one pod of each) for `/healthz` by outgoing wasi:http, one request
//! after the other, and tells how long each took by its own clock, from the making of the request to the end of the
//! answer. By hello's Service the request is handed over in process; by another, whose endpoint is hello's NodePort, it
//! goes over a connection that is kept, into the same pod. Five rounds of 1,000, the ways in turn.
//! Back of the envelope: the two calls of wasm with their host functions 40–80 µs, whatever the way; a socket adds four
//! system calls, two wake-ups, and HTTP written and parsed twice: 40–60 µs.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that cannot measure ends with a message")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use coracle_benches::{Spread, Table};
use coracle_tests::{Cluster, eventually, paths};
use serde_json::json;

const ROUNDS: usize = 5;
const REQUESTS: usize = 1000;
/// Where the guest is told what to ask.
const PORT: u16 = 7000;
/// hello's.
const NODE_PORT: u16 = 30_080;
/// What takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(60);
const SERVICES: &str = "/api/v1/namespaces/default/services";

fn main() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.coracle("scale deploy/hello --replicas=1").ok();
    let guest = caller(&cluster);
    by_socket(&cluster);
    cluster.ready_pods("app=hello", 1);
    let mut ways = [("in process", "hello:80", Vec::new()), ("through a socket", "far:80", Vec::new())];
    for (_, to, _) in &ways {
        eventually(to, || asked(guest, to, 1));
    }
    for _ in 0..ROUNDS {
        for (way, to, took) in &mut ways {
            took.extend(asked(guest, to, REQUESTS).unwrap_or_else(|said| panic!("{way}: {said}")));
        }
    }
    let mut table = Table::new(&["way", "p50 µs", "p99 µs", "requests", "of in process"]);
    let spreads = ways.map(|(way, _, took)| (way, Spread::of(took)));
    let first = spreads[0].1.median();
    for (way, spread) in &spreads {
        let [median, slow] = [spread.median(), spread.percentile(99)].map(|figure| format!("{figure:.0}"));
        let ratio = format!("{:.2}", spread.median() / first);
        table.row(&[(*way).to_owned(), median, slow, spread.count().to_string(), ratio]);
    }
    table.print("How fast is a chain of Services?");
}

/// The guest that asks; returns where it is told to.
fn caller(cluster: &Cluster) -> SocketAddr {
    cluster.coracle(&format!("image push {} caller:1", paths::guest("caller").display())).ok();
    let spec = json!({"containers": [{"name": "main", "image": "caller:1"}]});
    let pod = json!({"metadata": {"name": "caller", "labels": {"app": "caller"}}, "spec": spec});
    cluster.api().create("/api/v1/namespaces/default/pods", &pod);
    cluster.ready_pods("app=caller", 1);
    let pod = cluster.get("/api/v1/namespaces/default/pods/caller");
    let ip = pod.pointer("/status/podIP").and_then(|ip| ip.as_str()).expect("an address");
    SocketAddr::new(ip.parse().expect("an address"), PORT)
}

/// A Service whose endpoint is no pod: the node, at hello's own port there.
fn by_socket(cluster: &Cluster) {
    cluster.api().create(SERVICES, &json!({"metadata": {"name": "far"}, "spec": {"ports": [{"port": 80}]}}));
    let at = cluster.node_port(NODE_PORT);
    let slice = json!({"metadata": {"name": "far-1", "labels": {"kubernetes.io/service-name": "far"}},
        "addressType": "IPv4", "ports": [{"port": at.port()}], "endpoints": [{"addresses": [at.ip()]}]});
    cluster.api().create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice);
}

/// Microseconds that each of so many requests took the guest.
fn asked(guest: SocketAddr, to: &str, count: usize) -> Result<Vec<f64>, String> {
    let ask = || {
        let mut connection = TcpStream::connect(guest)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        writeln!(connection, "chain {to} {count}")?;
        let mut answer = String::new();
        BufReader::new(connection).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer: String = ask().map_err(|error: std::io::Error| error.to_string())?;
    let took: Result<Vec<f64>, _> = answer.split_whitespace().map(str::parse).collect();
    took.ok().filter(|took| took.len() == count).ok_or(answer)
}
