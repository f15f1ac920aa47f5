//! How many requests does a pod answer?
//!
//! Goal: through a NodePort at least 0.95 of what the same component answers under a bare wasmtime host, so that nothing
//! is paid for being in a cluster.
//! Method: servers side by side, all of one component, of WASI 0.2 (`hello`) and of WASI 0.3 (`web3`): Coracle with one
//! pod behind a NodePort; a bare host that reuses instances within Coracle's bounds (1,000 requests each; one at a time,
//! of WASI 0.3 16); a bare host with a fresh instance per request; and hyper that answers by itself, for the part that
//! no guest has in it. 16 and 64 connections with keep-alive, one request after the other on each, from a load generator
//! of one thread. Five rounds of two seconds, the servers in turn, so that a slow moment of the machine hits all alike.
//! Where there are several processors, the load has the last to itself and each server the rest; servers that are not
//! asked are idle.
//! Back of the envelope: a wasm call with its host functions 20–40 µs, HTTP parsing and the socket 15 µs: some 20,000 a
//! second and processor. Beyond the bare host, Coracle accepts, routes and meters: a few microseconds a request.
//! Others, as they were measured on a machine of two processors: runwasi 3,700 requests a second; `wasmtime serve` 48
//! with 64 connections 45,628 of WASI 0.3 and 7,595 of WASI 0.2.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that cannot measure ends with a message")]

mod host;
mod load;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use coracle_benches::{Process, Spread, Table};
use coracle_tests::server::BeforeServer;
use coracle_tests::stream::Stream;
use coracle_tests::{Cluster, eventually, http, paths};
use serde_json::json;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const CONNECTIONS: [usize; 2] = [16, 64];
const WEB3_PORT: u16 = 31_083;

/// A server under load.
struct Target {
    name: &'static str,
    addr: SocketAddr,
    process: Process,
    rates: Vec<f64>,
    latencies: Vec<f64>,
    cpu_per_request: Vec<f64>,
}

fn main() {
    if let Some(mode) = host::Mode::of(std::env::args()) {
        return host::serve(mode);
    }
    let processors = Processors::split();
    let before = processors.for_servers();
    let cluster = Cluster::builder().before_server(before.clone()).start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.coracle("scale deploy/hello --replicas=1").ok();
    serve_web3(&cluster);
    cluster.ready_pods("app=hello", 1);
    cluster.ready_pods("app=web3", 1);
    processors.take_the_last();

    for (wasi, component, port) in [("0.2", paths::sample("hello"), 30080), ("0.3", paths::guest("web3"), WEB3_PORT)] {
        let ours = Target::new("coracle, NodePort", cluster.node_port(port), cluster.server().pid());
        compare(wasi, ours, &component, &before);
    }
}

fn serve_web3(cluster: &Cluster) {
    cluster.coracle(&format!("image push {} web3:1", paths::guest("web3").display())).ok();
    let spec = json!({"containers": [{"name": "web3", "image": "web3:1"}]});
    let pod = json!({"metadata": {"name": "web3", "labels": {"app": "web3"}}, "spec": spec});
    cluster.api().create("/api/v1/namespaces/default/pods", &pod);
    let ports = json!([{"port": 80, "nodePort": WEB3_PORT}]);
    let spec = json!({"type": "NodePort", "selector": {"app": "web3"}, "ports": ports});
    let service = json!({"metadata": {"name": "web3"}, "spec": spec});
    cluster.api().create("/api/v1/namespaces/default/services", &service);
}

/// Measures Coracle beside the bare hosts, all of the same component.
fn compare(wasi: &str, ours: Target, component: &Path, before: &BeforeServer) {
    let mut bare: Vec<(Stream, SocketAddr)> =
        host::Mode::ALL.map(|mode| bare_host(mode, component.to_owned(), before)).into();
    let names = ["bare host, reused", "bare host, fresh", "hyper alone"];
    let others = bare.iter_mut().zip(names).map(|((stream, addr), name)| Target::new(name, *addr, stream.pid()));
    let mut targets: Vec<Target> = std::iter::once(ours).chain(others).collect();
    for connections in CONNECTIONS {
        for target in &mut targets {
            eventually("an answer", || http::get(target.addr, "/healthz"));
            load::run(target.addr, connections, ROUND);
            target.forget();
        }
        for _ in 0..ROUNDS {
            targets.iter_mut().for_each(|target| target.measure(connections));
        }
        report(&format!("How many requests does a pod of WASI {wasi} answer? ({connections} connections)"), &targets);
    }
}

impl Target {
    fn new(name: &'static str, addr: SocketAddr, pid: u32) -> Self {
        let process = Process(pid);
        Self { name, addr, process, rates: Vec::new(), latencies: Vec::new(), cpu_per_request: Vec::new() }
    }

    fn forget(&mut self) {
        self.rates.clear();
        self.latencies.clear();
        self.cpu_per_request.clear();
    }

    fn measure(&mut self, connections: usize) {
        let cpu = self.process.cpu_seconds();
        let answered = load::run(self.addr, connections, ROUND);
        let cpu = self.process.cpu_seconds() - cpu;
        let count = f64::from(u32::try_from(answered.len()).expect("few"));
        self.rates.push(count / ROUND.as_secs_f64());
        self.cpu_per_request.push(cpu * 1e6 / count);
        self.latencies.extend(answered);
    }
}

fn report(title: &str, targets: &[Target]) {
    let headings = ["server", "requests/s", "of bare host", "p50 µs", "p99 µs", "CPU µs/request"];
    let mut table = Table::new(&headings);
    // Ratios are taken round by round: what the machine did in that round cancels out.
    let against = &targets[1].rates;
    for target in targets {
        let ratios = target.rates.iter().zip(against).map(|(ours, bare)| ours / bare).collect();
        let latency = Spread::of(target.latencies.clone());
        table.row(&[
            target.name.to_owned(),
            format!("{:.0}", Spread::of(target.rates.clone()).median()),
            format!("{:.2}", Spread::of(ratios).median()),
            format!("{:.0}", latency.median()),
            format!("{:.0}", latency.percentile(99)),
            format!("{:.1}", Spread::of(target.cpu_per_request.clone()).median()),
        ]);
    }
    table.print(title);
}

/// This program again, as a server of its own process.
fn bare_host(mode: host::Mode, component: PathBuf, before: &BeforeServer) -> (Stream, SocketAddr) {
    let own = std::env::current_exe().expect("a process knows its file");
    let mut command: Command = before.command(&own);
    command.args(["--host", mode.name()]).arg(component).stdin(Stdio::null());
    let mut stream = Stream::start(&mut command);
    let line = stream.until("where it listens", |line| line.starts_with("listening on "));
    let addr = line.trim_start_matches("listening on ").parse().expect("an address");
    (stream, addr)
}

/// Which processors the load has, and which the servers.
struct Processors {
    count: usize,
}

impl Processors {
    fn split() -> Self {
        Self { count: std::thread::available_parallelism().map_or(1, usize::from) }
    }

    fn for_servers(&self) -> BeforeServer {
        if self.count == 1 {
            BeforeServer::default()
        } else {
            BeforeServer::on_processors(&format!("0-{}", self.count - 2))
        }
    }

    fn take_the_last(&self) {
        if self.count > 1 {
            let mut set = rustix::thread::CpuSet::new();
            set.set(self.count - 1);
            rustix::thread::sched_setaffinity(None, &set).expect("a thread may choose its processor");
        }
    }
}
