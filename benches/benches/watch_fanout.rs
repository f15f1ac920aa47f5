//! How soon do a thousand watchers hear of a change?
//!
//! Goal: 1 ms, for nearly all of them.
//! Method: 1,000 watches of one namespace's ConfigMaps, once as streams of ten HTTP/2 connections (as a fleet's agents
//! and informers hold them), once as 1,000 connections of HTTP/1.1, all over TLS. A writer changes one ConfigMap, 200
//! times with a pause between; each watcher notes when the event has come. The clock starts before the PUT is sent, so a
//! delivery holds the write's own fsync; the table's last column is that write alone, as its writer saw it.
//! Back of the envelope: an event is encoded once; on ten connections it is a hundred frames in a few TLS records each,
//! 1 to 2 ms of CPU for all. A thousand connections are a thousand records and system calls on each side, 10 to 20 ms of
//! two cores: there the median is half of that and cannot be 1 ms, whoever serves.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench that cannot measure ends with a message; its tasks end with its runtime"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use coracle_benches::load::{Connection, on_one_thread};
use coracle_benches::{API_ALONE, Ask, Process, Spread, Table, Target, objects};
use coracle_tests::Cluster;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

const WATCHERS: usize = 1_000;
const CONNECTIONS: usize = 10;
const CHANGES: usize = 200;
/// Long enough for a change to have reached everybody.
const PAUSE: Duration = Duration::from_millis(50);

const PATH: &str = "/api/v1/namespaces/default/configmaps";

#[derive(Clone, Copy)]
enum Over {
    Http1,
    Http2,
}

fn main() {
    let headings =
        ["1,000 watchers", "deliveries", "p50 ms", "p99 ms", "last p50 ms", "server CPU ms/change", "write p50 ms"];
    let mut table = Table::new(&headings);
    for (what, over) in [("HTTP/2, 10 connections", Over::Http2), ("HTTP/1.1, 1,000 connections", Over::Http1)] {
        let cluster = Cluster::builder().flags(API_ALONE).start();
        let process = Process(cluster.server().pid());
        let measured = on_one_thread(async {
            let target = Target::of(&cluster.server().kubeconfig, cluster.server().api).await;
            measure(&target, process, over).await
        });
        let figures = [
            measured.all.count().to_string(),
            format!("{:.2}", measured.all.median()),
            format!("{:.2}", measured.all.percentile(99)),
            format!("{:.2}", measured.last.median()),
            format!("{:.1}", measured.cpu * 1e3 / f64::from(u32::try_from(CHANGES).expect("few"))),
            format!("{:.2}", measured.writes.median()),
        ];
        table.row(&[what.to_owned()].into_iter().chain(figures).collect::<Vec<_>>());
    }
    table.print("How soon do a thousand watchers hear of a change? (milliseconds after the write was sent)");
}

struct Measured {
    /// Each delivery.
    all: Spread,
    /// The last delivery of each change.
    last: Spread,
    /// The writes.
    writes: Spread,
    /// The server's CPU time, in seconds.
    cpu: f64,
}

async fn measure(target: &Target, process: Process, over: Over) -> Measured {
    let mut writer = target.connect().await;
    writer.ask(Ask::post(PATH, objects::config_map(0))).await;
    let (heard, mut hearing) = mpsc::channel(WATCHERS * 2);
    let heard = Arc::new(heard);
    for body in watches(target, over).await {
        let heard = Arc::clone(&heard);
        tokio::spawn(async move {
            let mut body = body;
            while let Some(frame) = body.frame().await {
                let data = frame.expect("the watch goes on").into_data().expect("data");
                // One line an event; an event of this size comes in one frame.
                for _ in 0..data.iter().filter(|byte| **byte == b'\n').count() {
                    heard.send(Instant::now()).await.expect("somebody listens");
                }
            }
        });
    }
    // The object as it is, to each of them.
    for _ in 0..WATCHERS {
        hearing.recv().await.expect("watchers hear");
    }
    let cpu = process.cpu_seconds();
    let (mut all, mut last, mut writes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..CHANGES {
        let began = Instant::now();
        writes.push(change(&mut writer, all.len()).await);
        let mut latest: f64 = 0.0;
        for _ in 0..WATCHERS {
            let took = (hearing.recv().await.expect("watchers hear") - began).as_secs_f64() * 1e3;
            latest = latest.max(took);
            all.push(took);
        }
        last.push(latest);
        tokio::time::sleep(PAUSE).await;
    }
    let cpu = process.cpu_seconds() - cpu;
    Measured { all: Spread::of(all), last: Spread::of(last), writes: Spread::of(writes), cpu }
}

async fn watches(target: &Target, over: Over) -> Vec<Incoming> {
    let ask = || Ask::get(format!("{PATH}?watch=true&resourceVersion=0"));
    let mut bodies = Vec::with_capacity(WATCHERS);
    match over {
        Over::Http1 => {
            for _ in 0..WATCHERS {
                let mut connection = target.connect().await;
                bodies.push(connection.open(ask()).await.0.into_body());
            }
        }
        Over::Http2 => {
            for _ in 0..CONNECTIONS {
                let mut connection = target.connect_many().await;
                for _ in 0..WATCHERS / CONNECTIONS {
                    bodies.push(connection.open(ask()).await.into_body());
                }
            }
        }
    }
    bodies
}

/// Changes the ConfigMap; how long that took, in milliseconds.
async fn change(writer: &mut Connection, number: usize) -> f64 {
    let object = objects::config_map(0).replace("1000", &number.to_string());
    let began = Instant::now();
    writer.ask(Ask::put(format!("{PATH}/settings-000000"), object)).await;
    began.elapsed().as_secs_f64() * 1e3
}
