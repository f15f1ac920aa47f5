//! How many requests does a pod answer?
//!
//! Goal: through a NodePort at least 0.9 of what the same component answers under a bare wasmtime host, so that nothing
//! is paid for being in a cluster.
//! Method: three servers side by side, all of one component (`hello`): Coracle with one pod behind a NodePort; a bare
//! host that reuses instances within Coracle's bounds (1,000 requests each, one at a time); a bare host with a fresh
//! instance per request. 16 connections with keep-alive, one request after the other on each, from a load generator of
//! one thread. Seven rounds of two seconds, the servers in turn, so that a slow moment of the machine hits all alike.
//! Where there are several processors, the load has the last to itself and each server the rest; servers that are not
//! asked are idle.
//! Back of the envelope: a wasm call with its host functions 20–40 µs, HTTP parsing and the socket 15 µs: some 20,000 a
//! second and processor. Beyond the bare host, Coracle accepts, routes and meters: a few microseconds a request.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that cannot measure ends with a message")]

mod host;
mod load;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use coracle_benches::{Process, Spread, Table};
use coracle_tests::server::BeforeServer;
use coracle_tests::stream::Stream;
use coracle_tests::{Cluster, eventually, http, paths};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 16;

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
    cluster.ready_pods("app=hello", 1);

    let mut bare: Vec<(Stream, SocketAddr)> = host::Mode::ALL.map(|mode| bare_host(mode, &before)).into();
    let mut targets = vec![target("coracle, NodePort", cluster.node_port(30080), cluster.server().pid())];
    for ((stream, addr), name) in bare.iter_mut().zip(["bare host, reused", "bare host, fresh"]) {
        targets.push(target(name, *addr, stream.pid()));
    }
    processors.take_the_last();
    for target in &targets {
        eventually("an answer", || http::get(target.addr, "/"));
        load::run(target.addr, CONNECTIONS, ROUND);
    }
    for _ in 0..ROUNDS {
        for target in &mut targets {
            measure(target);
        }
    }
    report(&targets);
}

fn measure(target: &mut Target) {
    let cpu = target.process.cpu_seconds();
    let answered = load::run(target.addr, CONNECTIONS, ROUND);
    let cpu = target.process.cpu_seconds() - cpu;
    let count = f64::from(u32::try_from(answered.len()).expect("few"));
    target.rates.push(count / ROUND.as_secs_f64());
    target.cpu_per_request.push(cpu * 1e6 / count);
    target.latencies.extend(answered);
}

fn report(targets: &[Target]) {
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
    table.print(&format!("How many requests does a pod answer? ({CONNECTIONS} connections, keep-alive)"));
}

fn target(name: &'static str, addr: SocketAddr, pid: u32) -> Target {
    let process = Process(pid);
    Target { name, addr, process, rates: Vec::new(), latencies: Vec::new(), cpu_per_request: Vec::new() }
}

/// This program again, as a server of its own process.
fn bare_host(mode: host::Mode, before: &BeforeServer) -> (Stream, SocketAddr) {
    let own = std::env::current_exe().expect("a process knows its file");
    let mut command: Command = before.command(&own);
    command.args(["--host", mode.name()]).arg(paths::sample("hello")).stdin(Stdio::null());
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
