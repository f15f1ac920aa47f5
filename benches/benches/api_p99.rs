//! How long does a request wait when the API is busy with others?
//!
//! Goal: an eighth of what kube-apiserver lets a create wait under 64 clients (p99 148 ms): 18 ms, for every kind of
//! request in the mix.
//! Method: an API server alone with 5,000 Pods; 32 clients, each on its own TLS connection, ask a fixed mix over and
//! over: 60 % gets, 10 % lists of a page of 100, 10 % creates, 10 % updates of status, 10 % patches; while 20 watchers
//! watch all Pods. Latencies by kind of request.
//! Back of the envelope: reads wait for a core only, creates and changes for one or two fsyncs besides: a few ms.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench that cannot measure ends with a message; its tasks end with its runtime"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use coracle_benches::load::{Connection, on_one_thread};
use coracle_benches::{API_ALONE, Ask, Process, Spread, Table, Target, load, objects};
use coracle_tests::Cluster;
use http_body_util::BodyExt;

const PODS: usize = 5_000;
const CLIENTS: usize = 32;
const WATCHERS: usize = 20;
const REQUESTS: usize = 40_000;

const PATH: &str = "/api/v1/namespaces/default/pods";

/// The mix, by the last digit of a request's number.
const KINDS: [&str; 5] = ["get", "list, a page of 100", "create", "update of status", "patch"];

fn main() {
    let cluster = Cluster::builder().flags(API_ALONE).start();
    let process = Process(cluster.server().pid());
    let (seen, seconds, cpu) = on_one_thread(async {
        let target = Target::of(&cluster.server().kubeconfig, cluster.server().api).await;
        load(&target, CLIENTS, PODS, |n| Ask::post(PATH, objects::pod(n))).await;
        for _ in 0..WATCHERS {
            watch(&target).await;
        }
        let cpu = process.cpu_seconds();
        let begin = Instant::now();
        let seen = mixed(&target).await;
        (seen, begin.elapsed().as_secs_f64(), process.cpu_seconds() - cpu)
    });
    let mut table = Table::new(&["request", "n", "p50 ms", "p99 ms", "max ms"]);
    for (kind, taken) in KINDS.iter().zip(seen) {
        let spread = Spread::of(taken);
        let figures = [spread.median(), spread.percentile(99), spread.percentile(100)].map(|ms| format!("{ms:.2}"));
        let cells = [(*kind).to_owned(), spread.count().to_string()].into_iter().chain(figures);
        table.row(&cells.collect::<Vec<_>>());
    }
    let rate = f64::from(u32::try_from(REQUESTS).expect("few")) / seconds;
    let busy = cpu / seconds * 100.0;
    table.print(&format!(
        "How long does a request wait? ({rate:.0} requests a second, server at {busy:.0} % of a core)"
    ));
}

async fn watch(target: &Target) {
    let mut connection = target.connect().await;
    let body = connection.open(Ask::get(format!("{PATH}?watch=true"))).await.0.into_body();
    tokio::spawn(async move {
        let (mut body, _connection) = (body, connection);
        while let Some(Ok(_)) = body.frame().await {}
    });
}

async fn mixed(target: &Target) -> [Vec<f64>; 5] {
    let next = Arc::new(AtomicUsize::new(0));
    let mut working = Vec::new();
    for _ in 0..CLIENTS {
        let (mut connection, next) = (target.connect().await, Arc::clone(&next));
        working.push(tokio::spawn(async move {
            let mut seen: [Vec<f64>; 5] = Default::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= REQUESTS {
                    return seen;
                }
                let kind = [0, 0, 0, 0, 0, 0, 1, 2, 3, 4][number % 10];
                seen[kind].push(once(&mut connection, kind, number).await);
            }
        }));
    }
    let mut all: [Vec<f64>; 5] = Default::default();
    for client in working {
        for (all, seen) in all.iter_mut().zip(client.await.expect("a client works to its end")) {
            all.extend(seen);
        }
    }
    all
}

async fn once(connection: &mut Connection, kind: usize, number: usize) -> f64 {
    let name = objects::pod_name(number * 7919 % PODS);
    let ask = match KINDS[kind] {
        "get" => Ask::get(format!("{PATH}/{name}")),
        "list, a page of 100" => Ask::get(format!("{PATH}?limit=100")),
        "create" => Ask::post(PATH, objects::pod(PODS + number)),
        "update of status" => {
            let condition = format!(r#"[{{"type":"Ready","status":"True","message":"{number}"}}]"#);
            let status = format!(r#"{{"phase":"Running","conditions":{condition}}}"#);
            let meta = format!(r#"{{"name":"{name}","namespace":"default"}}"#);
            let pod = format!(
                r#"{{"apiVersion":"v1","kind":"Pod","metadata":{meta},"spec":{{"containers":[{{"name":"web","image":"web"}}]}},"status":{status}}}"#
            );
            Ask::put(format!("{PATH}/{name}/status"), pod)
        }
        _ => Ask::patch(
            format!("{PATH}/{name}"),
            Bytes::from(format!(r#"{{"metadata":{{"annotations":{{"n":"{number}"}}}}}}"#)),
        ),
    };
    let asked = Instant::now();
    connection.ask(ask).await;
    asked.elapsed().as_secs_f64() * 1e3
}
