//! How fast is a server's start?
//!
//! Goal: well under a second, so that a throw-away cluster costs nothing.
//! Method: the time from starting the process to its line `export KUBECONFIG=…`, after which `/readyz` must be green at
//! the first try; 20 starts with an empty data directory (keys and certificates are made, the database is created), and
//! 20 starts again on one with 500 ConfigMaps. CPU time is that of the threads alive at that moment.
//! Back of the envelope: three P-256 keys and signatures under 1 ms, a new redb file with its fsyncs 5–20 ms, setting up
//! wasmtime's engine and linker 5 ms, 500 objects read and parsed 5 ms: some tens of milliseconds.
//! Included: an exec of `setpriv`, under a millisecond, which the harness puts before the server.
#![allow(clippy::expect_used, reason = "a bench that cannot measure ends with a message")]

use std::time::Instant;

use coracle_benches::{Process, Spread, Table};
use coracle_tests::Cluster;
use serde_json::json;

const STARTS: usize = 20;
const OBJECTS: usize = 500;

fn main() {
    let mut table = Table::new(&["start", "n", "p50 ms", "p99 ms", "CPU p50 ms"]);
    let mut row = |name: &str, starts: Vec<(f64, f64)>| {
        let (wall, cpu): (Vec<f64>, Vec<f64>) = starts.into_iter().unzip();
        let (wall, cpu) = (Spread::of(wall), Spread::of(cpu));
        let figures = [wall.median(), wall.percentile(99), cpu.median()].map(|ms| format!("{ms:.1}"));
        let [p50, p99, cpu] = figures;
        table.row(&[name.to_owned(), wall.count().to_string(), p50, p99, cpu]);
    };
    row("cold", (0..STARTS).map(|_| start(&mut Cluster::builder().stopped())).collect());

    let mut cluster = Cluster::start();
    for number in 0..OBJECTS {
        let map = json!({"metadata": {"name": format!("map-{number}")}, "data": {"text": "x".repeat(500)}});
        cluster.api().create("/api/v1/namespaces/default/configmaps", &map);
    }
    row("warm, 500 objects", (0..STARTS).map(|_| start(&mut cluster)).collect());
    table.print("How fast is a server's start?");
}

/// Milliseconds of wall time and of CPU time until it is ready.
fn start(cluster: &mut Cluster) -> (f64, f64) {
    cluster.stop();
    let begin = Instant::now();
    cluster.restart();
    let wall = begin.elapsed().as_secs_f64() * 1e3;
    let cpu = Process(cluster.server().pid()).cpu_seconds_of_threads() * 1e3;
    assert_eq!(cluster.get("/readyz"), "ok", "it said that it is ready");
    (wall, cpu)
}
