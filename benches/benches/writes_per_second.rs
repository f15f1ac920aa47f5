//! How many writes does the API take in a second?
//!
//! Goal: 8 times what kube-apiserver and etcd take on two such cores (1,089 Pods/s and 2,026 ConfigMaps/s of 64 clients,
//! p99 148 and 79 ms; 257 Pods/s of one): 8,712 Pods/s, 16,208 ConfigMaps/s, 2,056 Pods/s; an eighth of the latency.
//! Method: an API server alone (no controllers, no node), redb with fsync as it comes. Clients on TLS connections of
//! their own, HTTP/1.1, each creates its next object when the last was acknowledged; all clients on one thread, which is
//! the second core's. At the end the server is killed with -9 and started again: every acknowledged object must be there.
//! Back of the envelope: a pod of 1 KB costs JSON in, defaults, rules, managed fields and JSON out, some 80 µs; TLS and
//! HTTP 30 µs on each side; the disk takes a batch of all that waits in one fsync, 1 to 3 ms. So 64 clients are bound by
//! the processor, and one client by the disk.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench that cannot measure ends with a message; its tasks end with its runtime"
)]

use std::collections::HashSet;

use coracle_benches::load::{Outcome, on_one_thread};
use coracle_benches::{API_ALONE, Ask, Process, Table, Target, load, objects};
use coracle_tests::Cluster;

const CLIENTS: usize = 64;
const PODS: usize = 20_000;
const CONFIG_MAPS: usize = 20_000;
const PODS_OF_ONE: usize = 1_000;

fn main() {
    let mut cluster = Cluster::builder().flags(API_ALONE).start();
    let mut table = Table::new(&["writes", "n", "per second", "p50 ms", "p99 ms", "server CPU µs each"]);
    let pods = |of: usize, begin: usize| (of, move |n| Ask::post(objects_path("pods"), objects::pod(begin + n)));
    let (count, ask) = pods(PODS, 0);
    table.row(&measured(&cluster, "Pods, 64 clients", CLIENTS, count, ask));
    let maps = |n| Ask::post(objects_path("configmaps"), objects::config_map(n));
    table.row(&measured(&cluster, "ConfigMaps, 64 clients", CLIENTS, CONFIG_MAPS, maps));
    let (count, ask) = pods(PODS_OF_ONE, PODS);
    table.row(&measured(&cluster, "Pods, 1 client", 1, count, ask));
    cluster.kill_hard();
    cluster.restart();
    let lost = lost(&cluster, "pods", (0..PODS + PODS_OF_ONE).map(objects::pod_name));
    table.print(&format!("How many writes a second? (acknowledged and lost by kill -9: {lost})"));
    assert_eq!(lost, 0, "what was acknowledged must be there");
}

fn objects_path(plural: &str) -> String {
    format!("/api/v1/namespaces/default/{plural}")
}

fn measured<F>(cluster: &Cluster, what: &str, clients: usize, count: usize, ask: F) -> [String; 6]
where
    F: Fn(usize) -> Ask + Clone + Send + 'static,
{
    let process = Process(cluster.server().pid());
    let cpu = process.cpu_seconds();
    let Outcome { latencies, rate } = on_one_thread(async {
        let target = Target::of(&cluster.server().kubeconfig, cluster.server().api).await;
        load(&target, clients, count, ask).await
    });
    let cpu = (process.cpu_seconds() - cpu) * 1e6 / u32::try_from(count).map_or(f64::NAN, f64::from);
    [
        what.to_owned(),
        latencies.count().to_string(),
        format!("{rate:.0}"),
        format!("{:.2}", latencies.median()),
        format!("{:.2}", latencies.percentile(99)),
        format!("{cpu:.0}"),
    ]
}

/// How many of these are not there.
fn lost(cluster: &Cluster, plural: &str, names: impl Iterator<Item = String>) -> usize {
    let list = cluster.get(&objects_path(plural));
    let items = list["items"].as_array().expect("a list");
    let there: HashSet<&str> = items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
    names.filter(|name| !there.contains(name.as_str())).count()
}
