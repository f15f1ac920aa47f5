//! How fast are logs, and what do they cost the guest?
//!
//! Goal: a guest prints 100,000 lines of 100 bytes a second, whether somebody follows or not, and a line is read by
//! `logs -f` within 50 ms of being printed, of which 15 ms are the time in which lines are gathered.
//! Method: a core module prints lines as fast as it can, without pausing; its first and last line bear their times, so
//! no clock of ours is between. Beside it the same loop that writes nothing (writes of no bytes: what the loop and WASI's
//! adapter take), and the same with a follower that reads all of it over TLS. The whole stays below what a container may
//! print at once, so that nobody is held back. For the latency another guest prints a line every ten milliseconds, and
//! a client that follows with times compares each with its own clock, which is the same machine's.
//! Back of the envelope: a line costs a host call, a lock and 140 bytes copied, 3 to 5 µs; a write to the file per 64 KiB.
#![allow(clippy::expect_used, reason = "a bench that cannot measure ends with a message")]

use coracle_api::clock;
use coracle_benches::{Spread, Table};
use coracle_tests::{Cluster, eventually};
use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde_json::json;

/// Below 32 MiB together, which a container may print at once.
const LINES: u32 = 200_000;
const LINE_BYTES: usize = 100;
const TICKS: u32 = 500;
/// Ten milliseconds, in the guest's nanoseconds.
const TICK: u32 = 10_000_000;

fn main() {
    let cluster = Cluster::start();
    push(&cluster, "nothing", &guest(LINES, 0, 0));
    push(&cluster, "lines", &guest(LINES, LINE_BYTES, 0));
    push(&cluster, "ticks", &guest(TICKS, LINE_BYTES, TICK));

    let mut table = Table::new(&["a guest that prints", "lines", "ms", "lines/s", "µs/line"]);
    for (name, image, followed) in
        [("nothing", "nothing", false), ("to its log", "lines", false), ("to its log, followed", "lines", true)]
    {
        let pod = format!("{image}-{followed}");
        start(&cluster, &pod, image);
        if followed {
            assert_eq!(follow(&cluster, &pod).len(), LINES as usize + 2, "a follower misses no line");
        }
        cluster.terminated(&pod);
        let seconds = took(&cluster, &pod);
        let lines = f64::from(LINES);
        let figures = [
            format!("{:.0}", seconds * 1e3),
            format!("{:.0}", lines / seconds),
            format!("{:.2}", seconds * 1e6 / lines),
        ];
        let [ms, rate, each] = figures;
        table.row(&[name.to_owned(), LINES.to_string(), ms, rate, each]);
    }
    table.print("What does a log cost the guest?");

    start(&cluster, "ticks", "ticks");
    let ages = Spread::of(follow(&cluster, "ticks"));
    let mut table = Table::new(&["from print to read", "n", "p50 ms", "p99 ms", "max ms"]);
    let [p50, p99, max] = [ages.median(), ages.percentile(99), ages.percentile(100)].map(|ms| format!("{ms:.1}"));
    table.row(&["logs -f".to_owned(), ages.count().to_string(), p50, p99, max]);
    table.print("How soon does a follower read a line?");
}

/// A module that writes a line, then `count` times `bytes` to its standard output with `pause` nanoseconds between,
/// then a line.
fn guest(count: u32, bytes: usize, pause: u32) -> String {
    let line = "x".repeat(LINE_BYTES - 1);
    // At 0 what every turn writes, at 16 a whole line; at 1024 a subscription to the monotonic clock.
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 64) "{line}\n")
            (func $line
                (i32.store (i32.const 16) (i32.const 64)) (i32.store (i32.const 20) (i32.const {LINE_BYTES}))
                (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8))))
            (func (export "_start") (local $turn i32)
                (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {bytes}))
                (i32.store (i32.const 1040) (i32.const 1)) (i64.store (i32.const 1048) (i64.const {pause}))
                (call $line)
                (loop $again
                    (if (i32.ne (i32.const {pause}) (i32.const 0)) (then
                        (drop (call $poll (i32.const 1024) (i32.const 1088) (i32.const 1) (i32.const 8)))))
                    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                    (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $turn) (i32.const {count}))))
                (call $line)))"#
    )
}

fn push(cluster: &Cluster, name: &str, guest: &str) {
    let file = cluster.file(&format!("{name}.wasm"), wat::parse_str(guest).expect("the text is a module"));
    cluster.coracle(&format!("image push {file} {name}:1")).ok();
}

fn start(cluster: &Cluster, pod: &str, image: &str) {
    let container = json!({"name": "main", "image": format!("{image}:1")});
    let spec = json!({"restartPolicy": "Never", "containers": [container]});
    cluster.api().create("/api/v1/namespaces/default/pods", &json!({"metadata": {"name": pod}, "spec": spec}));
}

/// How old each line of a pod was when it was read, in milliseconds, to the end of the log.
fn follow(cluster: &Cluster, pod: &str) -> Vec<f64> {
    let parameters = LogParams { follow: true, timestamps: true, ..LogParams::default() };
    let pods: Api<Pod> = Api::default_namespaced(cluster.api().client());
    let stream = eventually("a log to follow", || {
        cluster.api().wait_for(pods.log_stream(pod, &parameters)).map_err(|error| error.to_string())
    });
    let ages = stream.lines().map_ok(|line| {
        let time = line.split(' ').next().unwrap_or_default();
        clock::now().duration_since(time.parse().expect("a line bears its time")).as_secs_f64() * 1e3
    });
    cluster.api().wait_for(ages.try_collect()).expect("the log does not break off")
}

/// The seconds between a pod's first and last line.
fn took(cluster: &Cluster, pod: &str) -> f64 {
    let time = |options: &str| {
        let line = cluster.kubectl(&format!("logs {pod} --timestamps {options}")).ok();
        line.split(' ').next().unwrap_or_default().to_owned()
    };
    let (first, last) = (time("--limit-bytes=60"), time("--tail=1"));
    let mut end = clock::now();
    end.clone_from(&last.parse().expect("the last line bears its time"));
    end.duration_since(first.parse().expect("the first line bears its time")).as_secs_f64()
}
