//! How fast is a port-forward?
//!
//! Goal: as fast as kubectl is: 200 MB/s and a quarter of a millisecond there and back, whichever protocol it speaks.
//! Method: `samples/echo`, and 1 and 16 connections to it: straight to the pod's address, through `kubectl port-forward`
//! over a WebSocket, and through it over SPDY. Each connection sends and reads at once until as many bytes as stand below
//! came back; what is counted went there and back. Then each says a word and waits for it, again and again.
//! Back of the envelope: kubectl copies in pieces of 32 KiB, and each goes through TLS (1 GB/s a core), twice through a
//! queue here, twice through loopback; 16 connections share one TLS connection and one writer. So about a fifth of what
//! the pod does by itself; and two more hops for a word, 30 µs each.
#![allow(clippy::expect_used, reason = "a bench that cannot measure ends with a message")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use coracle_benches::{Spread, Table};
use coracle_tests::stream::Stream;
use coracle_tests::{Cluster, eventually};

/// How much all connections of a row carry together, in bytes.
const BYTES: usize = 128 << 20;

/// How much is written and read at once.
const PIECE: usize = 64 << 10;

/// How many words all connections of a row say together.
const WORDS: usize = 3200;

fn main() {
    let cluster = Cluster::start();
    cluster.push("echo");
    cluster.coracle("apply -f samples/echo/echo.yaml").ok();
    let pod = cluster.ready_pods("app=echo", 1).remove(0);
    let ip = cluster.get(&format!("/api/v1/namespaces/default/pods/{pod}"));
    let ip = ip.pointer("/status/podIP").and_then(|ip| ip.as_str()).expect("an address").parse().expect("an address");
    let direct = SocketAddr::new(ip, 7777);
    eventually("an echo", || TcpStream::connect(direct).map(drop).map_err(|error| error.to_string()));
    let (_websocket, by_websocket) = forward(&cluster, &pod, "true");
    let (_spdy, by_spdy) = forward(&cluster, &pod, "false");

    let mut table = Table::new(&["way", "connections", "MB/s", "word p50 µs", "word p99 µs"]);
    for (way, address) in [("direct", direct), ("WebSocket", by_websocket), ("SPDY", by_spdy)] {
        for connections in [1, 16] {
            let speed = throughput(address, connections);
            let words = latency(address, connections);
            let figures = [speed, words.median(), words.percentile(99)].map(|figure| format!("{figure:.0}"));
            let cells = [way.to_owned(), connections.to_string()].into_iter().chain(figures);
            table.row(&cells.collect::<Vec<_>>());
        }
    }
    table.print("How fast is a port-forward?");
}

fn forward(cluster: &Cluster, pod: &str, websockets: &str) -> (Stream, SocketAddr) {
    let line = format!("port-forward pod/{pod} :7777");
    let mut forwarder = cluster.kubectl_stream_with(&line, &[("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)]);
    let told = forwarder.until("where it listens", |line| line.starts_with("Forwarding from 127.0.0.1:"));
    let address = told.split_whitespace().nth(2).expect("an address").parse().expect("an address");
    (forwarder, address)
}

/// Megabytes a second, there and back.
fn throughput(address: SocketAddr, connections: usize) -> f64 {
    let pieces = BYTES / connections / PIECE;
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..connections {
            let mut reader = TcpStream::connect(address).expect("a connection");
            let mut writer = reader.try_clone().expect("a clone");
            scope.spawn(move || {
                let piece = vec![7; PIECE];
                for _ in 0..pieces {
                    writer.write_all(&piece).expect("written");
                }
                writer.shutdown(Shutdown::Write).expect("shut down");
            });
            scope.spawn(move || {
                let (mut buffer, mut count) = (vec![0; PIECE], 0);
                loop {
                    match reader.read(&mut buffer).expect("read") {
                        0 => break,
                        read => count += read,
                    }
                }
                assert_eq!(count, pieces * PIECE, "all came back");
            });
        }
    });
    let megabytes = u32::try_from(BYTES / 1_000_000).expect("few");
    f64::from(megabytes) / begun.elapsed().as_secs_f64()
}

/// Microseconds from a word to its echo.
fn latency(address: SocketAddr, connections: usize) -> Spread {
    let talk = || {
        let mut connection = TcpStream::connect(address).expect("a connection");
        connection.set_nodelay(true).expect("no delay");
        let mut word = *b"coracle!";
        (0..WORDS / connections)
            .map(|_| {
                let begun = Instant::now();
                connection.write_all(&word).expect("written");
                connection.read_exact(&mut word).expect("read");
                begun.elapsed().as_secs_f64() * 1e6
            })
            .collect::<Vec<f64>>()
    };
    let took = thread::scope(|scope| {
        let talks: Vec<_> = (0..connections).map(|_| scope.spawn(talk)).collect();
        talks.into_iter().flat_map(|talk| talk.join().expect("it ends")).collect()
    });
    Spread::of(took)
}
