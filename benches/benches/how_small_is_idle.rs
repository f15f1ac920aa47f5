//! How small is an idle cluster?
//!
//! Goal: 40 MB of memory with 10 idle pods; no CPU time and no bytes written while nothing happens.
//! Method: the server's resident memory fresh, with 10 pods of `hello` that have each answered once (then no instance is
//! left), with 10 pods of `echo` beside them (each an instance that waits in `poll`), and with all of them after a
//! restart, when nothing had to be compiled. After each step the machine settles for a while, then a quiet time is
//! watched: CPU time, bytes written to storage, and how often a thread woke.
//! `--seconds N` sets the quiet time (60).
//! Back of the envelope: the binary and its libraries' touched pages 20 MB; compiled code of a sample under 1 MB, mapped
//! from its file; a waiting instance 0.2–1.2 MB of its own memory.
//! A heartbeat every 10 s renews the node's Lease; it is kept in memory, so it may cost microseconds and no write.
#![allow(clippy::expect_used, reason = "a bench that cannot measure ends with a message")]

use std::time::{Duration, Instant};

use coracle_benches::{Process, Table};
use coracle_tests::{Cluster, eventually, http};

/// What was begun has been finished after this long: idle instances are given up after a second.
const SETTLING: Duration = Duration::from_secs(5);

fn main() {
    let quiet = quiet_time();
    let headings = ["state", "RSS MB", "of it anonymous", "threads", "CPU ms", "written KB", "wake-ups/s"];
    let mut table = Table::new(&headings);
    let mut cluster = Cluster::start();
    table.row(&watched(&cluster, "fresh", quiet));

    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.coracle("scale deploy/hello --replicas=10").ok();
    cluster.ready_pods("app=hello", 10);
    for _ in 0..100 {
        eventually("an answer", || http::get(cluster.node_port(30080), "/"));
    }
    table.row(&watched(&cluster, "10 × hello", quiet));

    cluster.push("echo");
    cluster.coracle("apply -f samples/echo/echo.yaml").ok();
    cluster.coracle("scale deploy/echo --replicas=10").ok();
    cluster.ready_pods("app=echo", 10);
    table.row(&watched(&cluster, "10 × hello, 10 × echo", quiet));

    // What compiling took stays with the process; one that found everything compiled never had it.
    cluster.restart();
    cluster.ready_pods("app=hello", 10);
    cluster.ready_pods("app=echo", 10);
    table.row(&watched(&cluster, "the same, started again", quiet));
    table.print(&format!("How small is an idle cluster? ({} quiet seconds each)", quiet.as_secs()));
}

fn watched(cluster: &Cluster, state: &str, quiet: Duration) -> [String; 7] {
    let process = Process(cluster.server().pid());
    pass(SETTLING);
    let before = (process.cpu_seconds(), process.bytes_written(), process.switches());
    pass(quiet);
    let cpu = (process.cpu_seconds() - before.0) * 1e3;
    let written = (process.bytes_written() - before.1) / 1024.0;
    let woken = process.switches().since(&before.2) / quiet.as_secs_f64();
    let (rss, anonymous) = (process.megabytes("VmRSS"), process.megabytes("RssAnon"));
    [
        state.to_owned(),
        format!("{rss:.1}"),
        format!("{anonymous:.1}"),
        format!("{:.0}", process.status("Threads")),
        format!("{cpu:.0}"),
        format!("{written:.0}"),
        format!("{woken:.1}"),
    ]
}

/// Lets time pass without touching the machine.
fn pass(time: Duration) {
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

fn quiet_time() -> Duration {
    let arguments: Vec<String> = std::env::args().collect();
    let after = arguments.iter().skip_while(|word| *word != "--seconds").nth(1);
    Duration::from_secs(after.map_or(60, |seconds| seconds.parse().expect("--seconds wants a number")))
}
