//! How many questions does DNS answer, and how soon?
//!
//! Goal: twice CoreDNS, which answered 43,688 questions a second of dnsperf with 8 clients at 44 MB on a machine with
//! two cores, at a fifth of its memory; a million look-ups a second in process; with 10,000 Services, of which 100
//! endpoints change each second, 99 of 100 answers within a millisecond.
//! Method: the DNS server in this process, on an API server that has Services, each with a slice of 10 endpoints, and
//! changes them. dnsperf (Debian's) asks for ten seconds, eight clients at a time, names of Services that exist; its own
//! processor time is part of the machine's. Then one client asks a thousand questions a second, with and without changes.
//! Look-ups are calls, of one thread and of two.
//! Back of the envelope: a datagram in and out 6 µs of kernel, a message read and written 1.5 µs, the zone 0.3 µs: one core
//! answers 120,000 while another asks. A look-up of `name` alone: a name made, two maps: 0.5 µs.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that cannot measure ends with a message")]

use std::convert::Infallible;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coracle_api::meet::{PodNames, Resolver};
use coracle_benches::{Process, Spread, Table};
use coracle_dns::{Config, Dns};
use futures::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const FEW: usize = 10;
const MANY: usize = 10_000;
const ENDPOINTS: usize = 10;
const CHANGES_EACH_SECOND: u64 = 100;
const LOOKUPS: usize = 500_000;
const PACED: usize = 5_000;
const PACE: Duration = Duration::from_millis(1);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let process = Process(std::process::id());
    let mut rates = Table::new(&["Services", "asked by", "a second", "CPU µs each", "RssAnon MB"]);
    let mut delays = Table::new(&["Services", "changes a second", "p50 µs", "p99 µs", "max µs"]);
    for count in [FEW, MANY] {
        let cluster = Running::start(&runtime, count);
        let mut row = |by: &str, work: &dyn Fn() -> f64| {
            let before = process.cpu_seconds();
            let began = Instant::now();
            let answered = work();
            let (took, cpu) = (began.elapsed().as_secs_f64(), process.cpu_seconds() - before);
            let figures = [answered / took, cpu / answered * 1e6, process.megabytes("RssAnon")];
            let cells = [count.to_string(), by.to_owned()].into_iter();
            rates.row(&cells.chain(figures.map(|figure| format!("{figure:.1}"))).collect::<Vec<_>>());
        };
        row("dnsperf, 8 clients", &|| dnsperf(cluster.at, count));
        row("look-ups, 1 thread", &|| cluster.look_up(&runtime, 1));
        row("look-ups, 2 threads", &|| cluster.look_up(&runtime, 2));
        for changes in [0, CHANGES_EACH_SECOND] {
            let stop = CancellationToken::new();
            let changing = runtime.spawn(cluster.api.clone().change(count, changes, stop.clone()));
            let delay = paced(cluster.at, count);
            stop.cancel();
            runtime.block_on(changing).expect("changes end");
            let figures = [delay.median(), delay.percentile(99), delay.percentile(100)];
            let cells = [count.to_string(), changes.to_string()].into_iter();
            delays.row(&cells.chain(figures.map(|figure| format!("{figure:.0}"))).collect::<Vec<_>>());
        }
    }
    rates.print("How many questions does DNS answer?");
    delays.print("How soon, at a thousand a second?");
}

/// A DNS server at work.
struct Running {
    api: Api,
    at: SocketAddr,
    resolver: Arc<dyn Resolver>,
    count: usize,
    _stop: tokio_util::sync::DropGuard,
}

impl Running {
    fn start(runtime: &tokio::runtime::Runtime, count: usize) -> Self {
        let api = Api { count, changes: Arc::new(watch::Sender::new(String::new())) };
        let _entered = runtime.enter();
        let config = Config { port: 0, ..Config::default() };
        let dns = runtime.block_on(Dns::build(api.client(), config)).expect("DNS starts");
        let (at, resolver, stop) = (dns.addr(), dns.resolver(), CancellationToken::new());
        runtime.spawn(dns.run(stop.clone()));
        let names = PodNames::of_namespace("default", "cluster.local");
        while runtime.block_on(resolver.lookup("s-1", &names)).is_empty() {}
        Self { api, at, resolver, count, _stop: stop.drop_guard() }
    }

    /// Looks names up as pods do.
    fn look_up(&self, runtime: &tokio::runtime::Runtime, threads: usize) -> f64 {
        let one = |first: usize| {
            let names = PodNames::of_namespace("default", "cluster.local");
            let asked: Vec<String> = (0..1000).map(|n| format!("s-{}", (first + n * 7) % self.count)).collect();
            for n in 0..LOOKUPS {
                let found = runtime.block_on(self.resolver.lookup(&asked[n % asked.len()], &names));
                assert_eq!(found.len(), 1, "{}", asked[n % asked.len()]);
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || one(thread * 31));
            }
        });
        f64::from(u32::try_from(LOOKUPS * threads).expect("few"))
    }
}

/// How many questions of dnsperf are answered.
fn dnsperf(at: SocketAddr, count: usize) -> f64 {
    let path = std::env::temp_dir().join(format!("dns-qps-{}", std::process::id()));
    let mut file = std::fs::File::create(&path).expect("a file");
    for number in 0..count {
        writeln!(file, "s-{number}.default.svc.cluster.local A").expect("a line");
    }
    drop(file);
    let (ip, port) = (at.ip().to_string(), at.port().to_string());
    let mut command = Command::new("dnsperf");
    command.args(["-s", &ip, "-p", &port, "-c", "8", "-T", "1", "-q", "100", "-l", "10", "-d"]).arg(&path);
    let output = command.output().expect("dnsperf is installed (Debian's package dnsperf)");
    std::fs::remove_file(&path).expect("the file is ours");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let answered = said.lines().find_map(|line| line.trim().strip_prefix("Queries completed:"));
    let count = answered.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    count.expect("dnsperf tells how many were answered")
}

/// Microseconds from a question to its answer, asked one after the other at an even pace.
fn paced(at: SocketAddr, count: usize) -> Spread {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("an address");
    socket.connect(at).expect("an address");
    let mut buffer = [0; 1500];
    let began = Instant::now();
    let one = |number: usize| {
        let due = began + PACE * u32::try_from(number).expect("few");
        std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        socket.send(&question(&format!("s-{}", number % count))).expect("sent");
        socket.recv(&mut buffer).expect("an answer");
        asked.elapsed().as_secs_f64() * 1e6
    };
    Spread::of((0..PACED).map(one).collect())
}

/// A question for the address of a Service, by RFC 1035.
fn question(service: &str) -> Vec<u8> {
    let mut message = vec![0x5a, 0xa5, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [service, "default", "svc", "cluster", "local"] {
        message.push(u8::try_from(label.len()).expect("a short label"));
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// An API server of Services and slices, which makes them as it is asked for them, page by page, and keeps none: what the
/// process holds is the DNS server's.
#[derive(Clone)]
struct Api {
    count: usize,
    /// The last change, as a line of a watch of slices.
    changes: Arc<watch::Sender<String>>,
}

impl Api {
    fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(&request)) }
        });
        kube::Client::new(service, "default")
    }

    fn answer(
        &self,
        request: &Request<Body>,
    ) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        if query.contains("watch=") {
            let slices = path.ends_with("/endpointslices").then(|| self.changes.subscribe());
            let lines = futures::stream::unfold(slices, |slices| async {
                let Some(mut slices) = slices else { return std::future::pending().await };
                slices.changed().await.ok()?;
                let line = Bytes::from(slices.borrow_and_update().clone());
                Some((Ok(Frame::data(line)), Some(slices)))
            });
            return Response::new(StreamBody::new(lines.boxed()).boxed_unsync());
        }
        let of = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.parse::<usize>().ok());
        let (first, limit) = (of("continue=").unwrap_or(0), of("limit=").unwrap_or(usize::MAX));
        let page = first..self.count.min(first.saturating_add(limit));
        let rest = if page.end < self.count { page.end.to_string() } else { String::new() };
        let (items, rest): (Vec<Value>, _) = match path {
            "/api/v1/services" => (page.map(service).collect(), rest),
            "/api/v1/namespaces/kube-system/configmaps" => (Vec::new(), String::new()),
            "/api/v1/namespaces" => (vec![json!({"metadata": {"name": "default"}})], String::new()),
            _ => (page.map(|number| slice(number, 0)).collect(), rest),
        };
        let list = json!({"metadata": {"resourceVersion": "1", "continue": rest}, "items": items}).to_string();
        Response::new(Full::new(Bytes::from(list)).boxed_unsync())
    }

    /// Changes an endpoint of one Service after the other.
    async fn change(self, count: usize, each_second: u64, stop: CancellationToken) {
        if each_second == 0 {
            return;
        }
        let mut pace = tokio::time::interval(Duration::from_secs(1) / u32::try_from(each_second).expect("few"));
        for round in 1.. {
            if stop.run_until_cancelled(pace.tick()).await.is_none() {
                return;
            }
            let object = slice(round % count, round);
            self.changes.send_replace(format!("{}\n", json!({"type": "MODIFIED", "object": object})));
        }
    }
}

fn service(number: usize) -> Value {
    let ip = format!("127.43.{}.{}", number / 250, number % 250);
    let spec = json!({"clusterIP": ip, "clusterIPs": [ip], "ports": [{"name": "http", "port": 80}]});
    json!({"metadata": {"name": format!("s-{number}"), "namespace": "default"}, "spec": spec})
}

/// The slice of a Service; in each round another of its endpoints is not ready.
fn slice(number: usize, round: usize) -> Value {
    let endpoint = |n: usize| {
        let conditions = json!({"ready": round == 0 || n != round % ENDPOINTS});
        json!({"addresses": [format!("10.{n}.{}.{}", number / 250, number % 250)], "conditions": conditions})
    };
    let labels = json!({"kubernetes.io/service-name": format!("s-{number}")});
    let metadata = json!({"name": format!("s-{number}"), "namespace": "default", "labels": labels, "resourceVersion": (round + 1).to_string()});
    let endpoints: Vec<Value> = (0..ENDPOINTS).map(endpoint).collect();
    json!({"metadata": metadata, "addressType": "IPv4", "ports": [{"name": "http", "port": 80}], "endpoints": endpoints})
}
