//! The load: connections that ask again as soon as they are answered, on one thread.
//!
//! Invariant: an answer that is not the expected one ends the bench; nothing wrong is ever counted as fast.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than any answer of the sample.
const ANSWER_BYTES_MAX: usize = 4096;

/// Asks for so long on so many connections; the latencies of all requests in microseconds.
pub(crate) fn run(addr: SocketAddr, connections: usize, time: Duration) -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let all = (0..connections).map(|_| ask(addr, Instant::now() + time));
    runtime.block_on(join_all(all)).into_iter().flatten().collect()
}

async fn ask(addr: SocketAddr, end: Instant) -> Vec<f64> {
    let mut connection = TcpStream::connect(addr).await.expect("the server listens");
    connection.set_nodelay(true).expect("a socket takes options");
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    let mut latencies = Vec::new();
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    loop {
        let begin = Instant::now();
        if begin >= end {
            return latencies;
        }
        connection.write_all(request.as_bytes()).await.expect("the connection holds");
        let mut filled = 0;
        while !is_whole(&buffer[..filled]) {
            let read = connection.read(&mut buffer[filled..]).await.expect("the connection holds");
            assert!(read > 0, "the server closed a connection: {:?}", String::from_utf8_lossy(&buffer[..filled]));
            filled += read;
        }
        latencies.push(begin.elapsed().as_secs_f64() * 1e6);
    }
}

/// Whether all of the one right answer has come.
fn is_whole(answer: &[u8]) -> bool {
    let head = b"HTTP/1.1 200 OK\r\n";
    let seen = answer.len().min(head.len());
    assert_eq!(answer[..seen], head[..seen], "{:?}", String::from_utf8_lossy(answer));
    answer.ends_with(b"ok\n")
}
