//! How fast do endpoints follow?
//!
//! Goal: one millisecond from a pod's readiness to the first connection that is led to it.
//! Method: a Service without selector and two servers of this machine behind addresses of their own. Its EndpointSlice
//! is written to name the one or the other, again and again; connections to its ClusterIP are made without a pause, and
//! it is counted how long after the answer to the write the first one reaches the new server. Then the same with a pod:
//! `samples/hello` scaled from nought to one, from the time at which a list shows it ready to the first answer at the
//! NodePort.
//! At last, the first again among 10,000 more Services (`--services N`) with 10 endpoints each: what they take of memory,
//! what a change and what a connection then cost.
//! Back of the envelope: a watch event 30 µs, the routes of one Service 5 µs, a swap 5 µs; where endpoints come from a
//! pod, one write of a slice (some hundred microseconds, most of it the disk) and two more events before that. A Service
//! with its slice: twice 2 KB as the API server keeps them, twice that in the caches of the controllers, 1 KB of routes.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that cannot measure ends with a message")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use coracle_benches::{Process, Spread, Table};
use coracle_tests::{Cluster, eventually, http};
use serde_json::{Value, json};

const CHANGES: usize = 200;
const CONNECTIONS: usize = 1000;
const PODS: usize = 20;
/// Services of the last part.
const MANY: usize = 10_000;
/// Room for them, where no cluster of a test is.
const RANGE: &str = "127.44.0.0/17";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

fn main() {
    let cluster = Cluster::builder().services_from(RANGE).start();
    let mut table = Table::new(&["from", "to", "p50 ms", "p99 ms", "times"]);
    let mut row = |from: &str, to: &str, spread: &Spread| {
        let figures = [spread.median(), spread.percentile(99)].map(|figure| format!("{figure:.2}"));
        let cells = [from.to_owned(), to.to_owned()].into_iter().chain(figures);
        table.row(&cells.chain([spread.count().to_string()]).collect::<Vec<_>>());
    };
    let servers = Servers::start(&cluster);
    row("a slice is written", "a connection is led there", &servers.follow(&cluster));
    row("a connection is made", "its answer", &servers.connect());
    row("a pod is seen to be ready", "its first answer", &of_pods(&cluster));
    let (process, count) = (Process(cluster.server().pid()), services());
    let before = process.megabytes("VmRSS");
    fill(&cluster, count);
    let taken = process.megabytes("VmRSS") - before;
    let many = format!("among {count} Services");
    row(&format!("a slice is written {many}"), "a connection is led there", &servers.follow(&cluster));
    row(&format!("a connection is made {many}"), "its answer", &servers.connect());
    table.print("How fast do endpoints follow?");
    let mut table = Table::new(&["Services with 10 endpoints each", "MB", "KB each"]);
    let each = taken * 1024.0 / f64::from(u32::try_from(count).expect("few"));
    table.row(&[count.to_string(), format!("{taken:.0}"), format!("{each:.1}")]);
    table.print("How much do they take?");
}

/// Makes many Services, each with a slice.
fn fill(cluster: &Cluster, count: usize) {
    for number in 0..count {
        let name = format!("many-{number}");
        let endpoints: Vec<Value> =
            (1..=10).map(|n| json!({"addresses": [format!("10.{n}.{}.{}", number / 250, number % 250)]})).collect();
        let service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
        cluster.api().create(SERVICES, &service);
        let labels = json!({"kubernetes.io/service-name": name});
        let slice = json!({"metadata": {"name": name, "labels": labels}, "addressType": "IPv4",
            "ports": [{"port": 80}], "endpoints": endpoints});
        cluster.api().create(SLICES, &slice);
    }
}

/// What the command line asks for.
fn services() -> usize {
    let after = std::env::args().skip_while(|word| word != "--services").nth(1);
    after.map_or(MANY, |count| count.parse().expect("--services takes a number"))
}

/// Two servers behind one Service.
struct Servers {
    ports: [u16; 2],
    at: SocketAddr,
}

impl Servers {
    fn start(cluster: &Cluster) -> Self {
        let [_, second, _, fourth] = cluster.address().octets();
        let host = Ipv4Addr::new(127, 60, second, fourth);
        let ports = [serve(b'a', host), serve(b'b', host)];
        let slice = json!({"metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4", "ports": [{"port": ports[0]}], "endpoints": [{"addresses": [host]}]});
        cluster.api().create(SERVICES, &json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}));
        cluster.api().create(SLICES, &slice);
        let service = cluster.get(&format!("{SERVICES}/s"));
        let ip = service.pointer("/spec/clusterIP").and_then(Value::as_str).expect("an address");
        let at = SocketAddr::new(ip.parse().expect("an address"), 80);
        eventually("a connection", || said_at(at).ok_or_else(|| "nothing".to_owned()));
        Self { ports, at }
    }

    /// Milliseconds from a change of the slice to the first connection that follows it.
    fn follow(&self, cluster: &Cluster) -> Spread {
        let change = |number: usize| {
            let next = 1 - number % 2;
            cluster.api().patch(&format!("{SLICES}/s-1"), &json!({"ports": [{"port": self.ports[next]}]}));
            let written = Instant::now();
            while said_at(self.at) != Some(b"ab"[next]) {}
            written.elapsed().as_secs_f64() * 1e3
        };
        Spread::of((0..CHANGES).map(change).collect())
    }

    /// Milliseconds that a connection takes to its first byte.
    fn connect(&self) -> Spread {
        let once = |_| {
            let began = Instant::now();
            said_at(self.at).expect("an answer");
            began.elapsed().as_secs_f64() * 1e3
        };
        Spread::of((0..CONNECTIONS).map(once).collect())
    }
}

fn of_pods(cluster: &Cluster) -> Spread {
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.ready_pods("app=hello", 3);
    let at = cluster.node_port(30080);
    let one = |_| {
        cluster.coracle("scale deploy/hello --replicas=0").ok();
        eventually("no pod", || match cluster.pods("app=hello").len() {
            0 => Ok(()),
            count => Err(count.to_string()),
        });
        eventually("nobody", || http::get(at, "/healthz").map_or(Ok(()), |_| Err("an answer".to_owned())));
        cluster.api().patch("/apis/apps/v1/namespaces/default/deployments/hello", &json!({"spec": {"replicas": 1}}));
        while !cluster.pods("app=hello").iter().any(is_ready) {}
        let ready = Instant::now();
        while http::get(at, "/healthz").is_err() {}
        ready.elapsed().as_secs_f64() * 1e3
    };
    Spread::of((0..PODS).map(one).collect())
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// A server that says its letter to everybody.
fn serve(letter: u8, host: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind((host, 0)).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        while let Ok((mut connection, _)) = listener.accept() {
            // Who has left in the meantime misses nothing.
            let _ = connection.write_all(&[letter]);
        }
    });
    port
}

fn said_at(at: SocketAddr) -> Option<u8> {
    let mut said = [0];
    TcpStream::connect(at).and_then(|mut connection| connection.read_exact(&mut said)).ok()?;
    said.first().copied()
}
