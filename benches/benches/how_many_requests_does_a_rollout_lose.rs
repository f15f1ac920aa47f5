//! How many requests does a rollout lose?
//!
//! Goal: none, however often it is done.
//! Method: 50 replicas of `samples/hello` (`--replicas N`) and 64 connections with keep-alive, half of them to the NodePort
//! and half to the ClusterIP, each of which asks again as soon as it is answered; `kubectl rollout restart` and
//! `rollout status` again and again (`--rollouts N`, by default 3). A request is lost if its connection cannot be made,
//! ends or is reset before the whole answer, or if the answer is not 200. A connection that an answer closes is opened
//! again. A client that has no processor for half a second is not told from one that asks no more: the machine must not
//! have more to do than it can.
//! Back of the envelope: some 7,000 requests a second; a rollout changes 50 pods in some seconds, so each of them stops
//! with a connection or two that is about to ask. A server that closed those when it was told to would lose about 50
//! requests in each rollout.
#![allow(clippy::expect_used, reason = "a bench that cannot measure ends with a message")]

use std::net::SocketAddr;
use std::time::Instant;

use coracle_benches::{Spread, Table};
use coracle_tests::load::Load;
use coracle_tests::{Cluster, eventually, http};

const REPLICAS: usize = 50;
const CONNECTIONS: usize = 64;
const ROLLOUTS: usize = 3;

fn main() {
    let (rollouts, replicas) = (stated("--rollouts", ROLLOUTS), stated("--replicas", REPLICAS));
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.coracle(&format!("scale deploy/hello --replicas={replicas}")).ok();
    cluster.ready_pods("app=hello", replicas);
    let service = cluster.get("/api/v1/namespaces/default/services/hello");
    let ip = service.pointer("/spec/clusterIP").and_then(|ip| ip.as_str()).expect("an address");
    let addresses = [cluster.node_port(30080), SocketAddr::new(ip.parse().expect("an address"), 80)];
    for address in addresses {
        eventually("an answer", || http::get(address, "/healthz"));
    }
    let load = Load::start(&addresses, CONNECTIONS / addresses.len(), "/healthz");
    let began = Instant::now();
    let took: Vec<f64> = (0..rollouts).map(|_| roll_out(&cluster, replicas)).collect();
    let seconds = began.elapsed().as_secs_f64();
    let tally = load.stop();
    let mut table =
        Table::new(&["rollouts", "replicas", "requests", "lost", "connections", "requests/s", "a rollout, s"]);
    let answered = f64::from(u32::try_from(tally.answered).expect("few"));
    table.row(&[
        rollouts.to_string(),
        replicas.to_string(),
        tally.answered.to_string(),
        tally.lost.to_string(),
        tally.connections.to_string(),
        format!("{:.0}", answered / seconds),
        format!("{:.1}", Spread::of(took).median()),
    ]);
    table.print("How many requests does a rollout lose?");
    assert!(tally.lost == 0, "{:#?}", tally.reasons);
}

/// Replaces every pod; returns how many seconds that took.
fn roll_out(cluster: &Cluster, replicas: usize) -> f64 {
    let began = Instant::now();
    cluster.kubectl("rollout restart deploy/hello").ok();
    cluster.kubectl("rollout status deploy/hello --timeout=300s").ok();
    eventually("none of the old pods", || {
        let count = cluster.pods("app=hello").len();
        if count == replicas { Ok(()) } else { Err(format!("{count} pods")) }
    });
    began.elapsed().as_secs_f64()
}

/// What the command line says after `flag`, if it does.
fn stated(flag: &str, otherwise: usize) -> usize {
    let after = std::env::args().skip_while(|word| word != flag).nth(1);
    after.map_or(otherwise, |count| count.parse().expect("a number"))
}
