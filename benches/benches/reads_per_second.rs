//! How many reads does the API answer in a second?
//!
//! Goal: 8 times what kube-apiserver answers on two such cores (3,253 gets/s; 7.3 lists/s of 12,247 Pods, 45 MB and
//! 257 ms of CPU each): 26,000 gets/s; a list of 10,000 Pods at an eighth of 210 ms of CPU, 26 ms.
//! Method: an API server alone with 10,000 Pods; gets by 64 clients of HTTP/1.1 over TLS, all on one thread; lists by
//! one client: of all Pods at once, and of the same in pages of 500; CPU is the server's.
//! Back of the envelope: a get is HTTP and TLS, 20 µs on each side, and a copy of stored bytes. A list of all is a copy
//! of 10,000 × 1.7 KB into TLS records: 17 MB at 1 GB/s for AES and as much for copies, 30 ms.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench that cannot measure ends with a message; its tasks end with its runtime"
)]

use coracle_benches::load::{Outcome, on_one_thread};
use coracle_benches::{API_ALONE, Ask, Process, Table, Target, load, objects};
use coracle_tests::Cluster;
use serde_json::Value;

const PODS: usize = 10_000;
const CLIENTS: usize = 64;
const GETS: usize = 60_000;
const LISTS: usize = 30;
const PAGES_OF: usize = 500;

const PATH: &str = "/api/v1/namespaces/default/pods";

fn main() {
    let cluster = Cluster::builder().flags(API_ALONE).start();
    let process = Process(cluster.server().pid());
    let target = || Target::of(&cluster.server().kubeconfig, cluster.server().api);
    on_one_thread(async { load(&target().await, CLIENTS, PODS, |n| Ask::post(PATH, objects::pod(n))).await });
    let mut table = Table::new(&["reads", "n", "per second", "p50 ms", "p99 ms", "server CPU µs each", "MB each"]);

    let cpu = process.cpu_seconds();
    let get = |n| Ask::get(format!("{PATH}/{}", objects::pod_name(n * 7919 % PODS)));
    let outcome = on_one_thread(async { load(&target().await, CLIENTS, GETS, get).await });
    let one = on_one_thread(async { target().await.connect().await.ask(get(0)).await.len() });
    table.row(&row("get, 64 clients", &outcome, process.cpu_seconds() - cpu, one));

    let cpu = process.cpu_seconds();
    let all = on_one_thread(async { load(&target().await, 1, LISTS, |_| Ask::get(PATH)).await });
    let spent = process.cpu_seconds() - cpu;
    let whole = on_one_thread(async { target().await.connect().await.ask(Ask::get(PATH)).await });
    table.row(&row("list of 10,000 Pods", &all, spent, whole.len()));

    let cpu = process.cpu_seconds();
    let (pages, bytes) = on_one_thread(async { in_pages(&target().await).await });
    let spent = process.cpu_seconds() - cpu;
    table.row(&row("the same, a page of 500", &pages, spent, bytes / pages.latencies.count()));
    table.print("How many reads a second?");
}

/// Lists all some times, page by page.
async fn in_pages(target: &Target) -> (Outcome, usize) {
    let mut connection = target.connect().await;
    let (mut latencies, mut bytes) = (Vec::new(), 0);
    let begin = std::time::Instant::now();
    for _ in 0..LISTS / 3 {
        let mut from = String::new();
        loop {
            let asked = std::time::Instant::now();
            let page = connection.ask(Ask::get(format!("{PATH}?limit={PAGES_OF}&continue={from}"))).await;
            latencies.push(asked.elapsed().as_secs_f64() * 1e3);
            bytes += page.len();
            let page: Value = serde_json::from_slice(&page).expect("a list is JSON");
            match page["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => from = next.to_owned(),
                _ => break,
            }
        }
    }
    let rate = u32::try_from(latencies.len()).map_or(f64::NAN, f64::from) / begin.elapsed().as_secs_f64();
    (Outcome { latencies: coracle_benches::Spread::of(latencies), rate }, bytes)
}

fn row(what: &str, outcome: &Outcome, cpu: f64, bytes: usize) -> [String; 7] {
    let count = u32::try_from(outcome.latencies.count()).expect("few");
    [
        what.to_owned(),
        count.to_string(),
        format!("{:.0}", outcome.rate),
        format!("{:.2}", outcome.latencies.median()),
        format!("{:.2}", outcome.latencies.percentile(99)),
        format!("{:.0}", cpu * 1e6 / f64::from(count)),
        format!("{:.3}", u32::try_from(bytes).map_or(f64::NAN, f64::from) / 1e6),
    ]
}
