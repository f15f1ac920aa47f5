//! How many pods?
//!
//! Goal: 10,000 Ready pods on a laptop in 15 s, each under 120 KB of memory, all of them under 1 % of a core while idle.
//! Method: one Deployment behind a Service, its image compiled before; the clock starts with the request to scale from 0
//! and stops when the Deployment says that all are ready. Then what came is let settle, and a quiet time is watched. At
//! last the Deployment is deleted, and its pods waited for. A fresh server for each row; memory is what it has more than
//! before. `hello` is an HTTP component, of which nothing runs until it is asked; `echo` a command that waits in `poll`,
//! so that each pod is an instance with memory and stack of its own. `--seconds N` sets the quiet time (30),
//! `--pods N` asks for one size instead of 1,000 and 10,000.
//! Where the kernel's bound of memory maps is too low for that many instances, and we may not raise it, the rows that do
//! not fit are left out.
//! Back of the envelope: five writes a pod at 60 to 250 µs of CPU make 1 ms; 10,000 are 10 s on one core, 5 on two.
//! Memory: the object 6 KB in the store and 5 in each of four caches, the worker's task and channels 10, the listener's
//! task 2; an instance a page of stack and 64 KB to 1 MB of its own.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot measure ends with a message; of JSON what is not there is null"
)]

use std::time::{Duration, Instant};

use coracle_benches::{Process, Table};
use coracle_tests::{Cluster, wait};
use serde_json::{Value, json};

/// Addresses for more pods than the benches ask for; nothing else of this machine uses them.
const PODS: &str = "127.250.0.0/16";

/// Far longer than the goal: a bench that takes so long has failed.
const PATIENCE: Duration = Duration::from_secs(400);

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/many";

fn main() {
    let quiet = Duration::from_secs(number_after("--seconds").unwrap_or(30));
    let sizes = number_after("--pods").map_or(vec![1_000, 10_000], |size| vec![size]);
    let headings = ["pod", "n", "ready s", "CPU s", "CPU ms/pod", "RSS MB", "KB/pod", "idle % of a core", "gone s"];
    let mut table = Table::new(&headings);
    for sample in ["hello", "echo"] {
        for &size in &sizes {
            table.row(&many(sample, size, quiet));
        }
    }
    table.print(&format!("How many pods? ({} quiet seconds each)", quiet.as_secs()));
}

fn many(sample: &str, size: u64, quiet: Duration) -> [String; 9] {
    let why = "more is said of so many pods than anybody reads";
    let cluster = Cluster::builder().pods_from(PODS).expect_log("an event was dropped", why).start();
    cluster.push(sample);
    let api = cluster.api();
    api.create("/api/v1/namespaces/default/services", &service());
    api.create("/apis/apps/v1/namespaces/default/deployments", &deployment(sample));
    // The first compiles, and is not counted.
    ready(&cluster, 1);
    scale(&cluster, 0);
    ready(&cluster, 0);
    let process = Process(cluster.server().pid());
    settle();
    let (memory, cpu, start) = (process.megabytes("VmRSS"), process.cpu_seconds(), Instant::now());
    scale(&cluster, size);
    ready(&cluster, size);
    let (took, cpu) = (start.elapsed().as_secs_f64(), process.cpu_seconds() - cpu);
    settle();
    let before = process.cpu_seconds_of_threads();
    pass(quiet);
    let idle = (process.cpu_seconds_of_threads() - before) / quiet.as_secs_f64() * 100.0;
    let grown = process.megabytes("VmRSS") - memory;
    let start = Instant::now();
    api.delete(DEPLOYMENT);
    gone(&cluster);
    let gone = start.elapsed().as_secs_f64();
    let count = size as f64;
    [
        sample.to_owned(),
        size.to_string(),
        format!("{took:.1}"),
        format!("{cpu:.1}"),
        format!("{:.2}", cpu * 1e3 / count),
        format!("{grown:.0}"),
        format!("{:.1}", grown * 1024.0 / count),
        format!("{idle:.2}"),
        format!("{gone:.1}"),
    ]
}

fn service() -> Value {
    json!({"metadata": {"name": "many"}, "spec": {"selector": {"app": "many"}, "ports": [{"port": 80}]}})
}

fn deployment(sample: &str) -> Value {
    let container = json!({"name": "main", "image": format!("{sample}:1"), "ports": [{"containerPort": 80}]});
    let template = json!({"metadata": {"labels": {"app": "many"}}, "spec": {"containers": [container]}});
    let selector = json!({"matchLabels": {"app": "many"}});
    json!({"metadata": {"name": "many"}, "spec": {"replicas": 1, "selector": selector, "template": template}})
}

fn scale(cluster: &Cluster, size: u64) {
    cluster.api().patch(DEPLOYMENT, &json!({"spec": {"replicas": size}}));
}

fn ready(cluster: &Cluster, size: u64) {
    let seen = wait::within(PATIENCE, || {
        let status = &cluster.get(DEPLOYMENT)["status"];
        let count = |field: &str| status[field].as_u64().unwrap_or(0);
        let seen = (count("replicas"), count("readyReplicas"));
        if seen == (size, size) { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    seen.expect("all pods become ready");
}

fn gone(cluster: &Cluster) {
    let first = "/api/v1/namespaces/default/pods?limit=1";
    let seen = wait::within(PATIENCE, || match cluster.get(first)["items"].as_array() {
        Some(pods) if pods.is_empty() => Ok(()),
        _ => Err("there are pods".to_owned()),
    });
    seen.expect("all pods go");
}

/// Events are written after the pods, instances that are not needed are given up, and caches follow.
fn settle() {
    pass(Duration::from_secs(6));
}

/// Lets time pass without touching the machine.
fn pass(time: Duration) {
    let start = Instant::now();
    while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

fn number_after(option: &str) -> Option<u64> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = arguments.iter().skip_while(|word| *word != option).nth(1)?;
    Some(value.parse().expect("a number"))
}
