//! How long does the first client of a sleeping Service wait?
//!
//! Goal: 5 ms from its connection to the first byte of the answer.
//! Method: the sample hello with one replica behind a Service that may sleep. Each round scales it to zero and waits until
//! no pod is left, then connects to the NodePort, asks, and reads one byte. Beside it, the same while the pod is awake.
//! Back of the envelope: five writes that the next one waits for (scale, ReplicaSet, pod, binding, status, slice: some
//! hundred microseconds each, most of it the disk), as many watch events, and 1 ms for the instance.
#![allow(clippy::expect_used, reason = "a bench that cannot measure ends with a message")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use coracle_benches::{Spread, Table};
use coracle_tests::{Cluster, eventually};
use serde_json::json;

/// Times that it is woken (`--rounds N`).
const ROUNDS: usize = 100;
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/hello";
const SERVICE: &str = "/api/v1/namespaces/default/services/hello";

fn main() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    let annotations =
        json!({"coracle.dev/scale-to-zero": "true", "coracle.dev/idle-after": "1h", "coracle.dev/replicas": "1"});
    cluster.api().patch(SERVICE, &json!({"metadata": {"annotations": annotations}}));
    cluster.ready_pods("app=hello", 3);
    let at = cluster.node_port(30080);
    let asleep = |_| {
        cluster.api().patch(DEPLOYMENT, &json!({"spec": {"replicas": 0}}));
        eventually("no pod", || match cluster.pods("app=hello").len() {
            0 => Ok(()),
            count => Err(count.to_string()),
        });
        first_byte(at)
    };
    let asleep = Spread::of((0..rounds()).map(asleep).collect());
    let awake = Spread::of((0..rounds()).map(|_| first_byte(at)).collect());
    let mut table = Table::new(&["Service", "p50 ms", "p99 ms", "times"]);
    for (name, spread) in [("asleep", asleep), ("awake", awake)] {
        let figures = [spread.median(), spread.percentile(99)].map(|figure| format!("{figure:.2}"));
        let cells = [name.to_owned()].into_iter().chain(figures).chain([spread.count().to_string()]);
        table.row(&cells.collect::<Vec<_>>());
    }
    table.print("How long does the first client of a sleeping Service wait?");
}

/// What the command line asks for.
fn rounds() -> usize {
    let after = std::env::args().skip_while(|word| word != "--rounds").nth(1);
    after.map_or(ROUNDS, |count| count.parse().expect("--rounds takes a number"))
}

/// Milliseconds from a connection to the first byte of its answer.
fn first_byte(at: SocketAddr) -> f64 {
    let began = Instant::now();
    let mut connection = TcpStream::connect(at).expect("the port is open");
    connection.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    connection.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a request is sent");
    connection.read_exact(&mut [0]).expect("an answer");
    began.elapsed().as_secs_f64() * 1e3
}
