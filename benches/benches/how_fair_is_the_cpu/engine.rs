//! Limits and requests, held by the host of guests alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use coracle_api::meet::{
    Attachment, BoundPort, ConnectError, ConnectionHandler, Guise, PodNames, Protocol, Reached, Resolver,
};
use coracle_api::names::Digest;
use coracle_benches::{Process, Spread, Table};
use coracle_tests::paths;
use coracle_wasm::{Config, Launch, Program, Running, Sink, Stdin, Tty, Wasm};
use sha2::{Digest as _, Sha256};

/// Seconds measured one by one.
const SECONDS: usize = 8;

/// How long guests run before they are measured: until burst and start are over.
const WARM_UP: Duration = Duration::from_millis(500);

/// Measures how well limits are held.
pub(crate) fn limits() {
    let mut table =
        Table::new(&["limit", "guests", "what it does", "median", "worst second", "error", "by the kernel"]);
    for (limit, guests, does) in [
        (100, 1, "cpu"),
        (100, 1, "turns"),
        (100, 1, "calls"),
        (250, 1, "cpu"),
        (500, 1, "cpu"),
        (500, 1, "turns"),
        (500, 1, "calls"),
        (100, 8, "cpu"),
    ] {
        let node = Node::new(0);
        let running: Vec<Running> = (0..guests).map(|_| node.start(does, Some(limit), None)).collect();
        sleep(WARM_UP);
        let process = Process(std::process::id());
        let (begin, before) = (Instant::now(), process.cpu_seconds_of_threads());
        let rates: Vec<Vec<f64>> = (0..SECONDS).map(|_| second(&running)).collect();
        let kernel = (process.cpu_seconds_of_threads() - before) / begin.elapsed().as_secs_f64() * 1e3;
        let all: Vec<f64> = rates.into_iter().flatten().collect();
        let far = |rate: &f64| (rate - f64::from(limit)).abs();
        let worst = all.iter().copied().max_by(|a, b| far(a).total_cmp(&far(b))).expect("seconds were measured");
        table.row(&[
            format!("{limit}m"),
            guests.to_string(),
            does.to_owned(),
            format!("{:.1}m", Spread::of(all).median()),
            format!("{worst:.1}m"),
            format!("{:.1} %", (worst / f64::from(limit) - 1.0) * 100.0),
            format!("{kernel:.0}m"),
        ]);
    }
    table.print("How well is a limit held? (each second by itself; the kernel's figure is the whole process's)");
}

/// Measures how CPU divides by requests.
pub(crate) fn requests() {
    let mut table = Table::new(&["slots", "requests", "expected", "got"]);
    let cores = available_parallelism().map_or(1, usize::from);
    for (slots, requests) in [
        (1, vec![Some(1000), Some(500), Some(250), Some(250)]),
        (1, vec![Some(100), Some(100), None]),
        (cores, vec![Some(100); 4 * cores]),
    ] {
        let node = Node::new(slots);
        let running: Vec<Running> = requests.iter().map(|request| node.start("cpu", None, *request)).collect();
        sleep(WARM_UP);
        let before: Vec<f64> = running.iter().map(used).collect();
        sleep(Duration::from_secs(5));
        let taken: Vec<f64> = running.iter().zip(before).map(|(running, before)| used(running) - before).collect();
        let weights: Vec<f64> = requests.iter().map(|request| f64::from(request.unwrap_or(2))).collect();
        let parts = |of: &[f64]| {
            let sum: f64 = of.iter().sum();
            of.iter().map(|part| format!("{:.1}", part / sum * 100.0)).collect::<Vec<_>>().join(" ")
        };
        let names: Vec<String> = requests.iter().map(|r| r.map_or("none".into(), |m| format!("{m}m"))).collect();
        table.row(&[slots.to_string(), names.join(" "), parts(&weights), parts(&taken)]);
    }
    table.print("How does CPU divide among spinning guests? (per cent)");
}

fn used(running: &Running) -> f64 {
    running.usage().cpu.as_secs_f64()
}

/// The millicores that each took over a second.
fn second(running: &[Running]) -> Vec<f64> {
    let begin: Vec<(Instant, f64)> = running.iter().map(|running| (Instant::now(), used(running))).collect();
    sleep(Duration::from_secs(1));
    let rate = |(running, (begin, before)): (&Running, (Instant, f64))| {
        (used(running) - before) / begin.elapsed().as_secs_f64() * 1e3
    };
    running.iter().zip(begin).map(rate).collect()
}

/// A host of guests with `burn` loaded.
struct Node {
    wasm: Wasm,
    program: Arc<Program>,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    fn new(slots: usize) -> Self {
        let cache = paths::root().join("target/bench-guests");
        let mut config = Config::new(cache);
        config.workers = slots;
        let wasm = Wasm::new(config).expect("the host of guests starts");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
        let bytes = std::fs::read(paths::sample("burn")).expect("the sample is there");
        let digest = Digest::new(format!("sha256:{:x}", Sha256::digest(&bytes))).expect("a digest");
        let program = runtime.block_on(wasm.load(&digest, move || Ok(bytes))).expect("the sample compiles");
        Self { wasm, program, runtime }
    }

    fn start(&self, does: &str, cpu_limit: Option<u32>, cpu_request: Option<u32>) -> Running {
        let launch = Launch {
            args: vec!["burn".into()],
            env: vec![("BURN".into(), does.into())],
            directories: Vec::new(),
            working_dir: None,
            stdin: Stdin::none(),
            tty: Tty::No,
            stdout: Arc::new(Nowhere),
            stderr: Arc::new(Nowhere),
            memory_limit: None,
            cpu_limit,
            cpu_request,
            attachment: Arc::new(Nowhere),
            resolver: Arc::new(Nowhere),
            authority: None,
            names: Arc::new(PodNames::of_namespace("default", "cluster.local")),
            http_port: 80,
            request_timeout: None,
        };
        self.runtime.block_on(self.wasm.start(self.program.clone(), launch)).expect("it starts")
    }
}

/// Takes output, and connects to nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn write(&self, _: &[u8]) {}
}

#[async_trait]
impl Resolver for Nowhere {
    async fn lookup(&self, _: &str, _: &PodNames) -> Vec<IpAddr> {
        Vec::new()
    }
}

#[async_trait]
impl Attachment for Nowhere {
    fn ip(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    async fn serve(&self, _: u16, _: Arc<dyn ConnectionHandler>) -> io::Result<Box<dyn BoundPort>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn listen(&self, _: Protocol, _: SocketAddr) -> io::Result<Box<dyn BoundPort>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn reach(&self, _: Protocol, _: SocketAddr) -> Result<Reached, ConnectError> {
        Err(ConnectError::Refused)
    }

    fn admits(&self, _: Protocol, _: u16, _: SocketAddr) -> bool {
        true
    }

    fn still_leads(&self, _: Protocol, _: SocketAddr, _: SocketAddr) -> bool {
        false
    }

    fn guise(&self, _: Protocol, _: SocketAddr, _: SocketAddr) -> Option<Box<dyn Guise>> {
        None
    }

    fn shown(&self, _: Protocol, real: SocketAddr) -> SocketAddr {
        real
    }
}
