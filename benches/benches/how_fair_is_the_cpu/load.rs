//! The load: connections to a pod and one to the API, that ask again a moment after they were answered, on one thread.
//!
//! Invariant: an answer that is not the expected one ends the bench; nothing wrong is ever counted as fast.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use coracle_benches::load::on_one_thread;
use coracle_benches::{Ask, Spread, Target};
use futures::future::{join, join_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 4;

/// Between an answer and the next request: light load, as a person's, so that what is measured is waiting.
const PAUSE: Duration = Duration::from_millis(5);

/// More than any answer of the sample.
const ANSWER_BYTES_MAX: usize = 4096;

/// What a pod and the API took to answer, in milliseconds.
pub(crate) struct Seen {
    pub(crate) pod: Spread,
    pub(crate) api: Spread,
}

/// Asks both for so long. `path` is what the API is asked for.
pub(crate) fn ask_both(
    pod: SocketAddr,
    target: impl AsyncFnOnce() -> Target + Send + 'static,
    path: &str,
    time: Duration,
) -> Seen {
    let path = path.to_owned();
    on_one_thread(async move {
        let target = target().await;
        let end = Instant::now() + time;
        let pods = join_all((0..CONNECTIONS).map(|_| ask_pod(pod, end)));
        let api = async {
            let mut connection = target.connect().await;
            let mut taken = Vec::new();
            while Instant::now() < end {
                let begin = Instant::now();
                connection.ask(Ask::get(path.clone())).await;
                taken.push(begin.elapsed().as_secs_f64() * 1e3);
                tokio::time::sleep(PAUSE).await;
            }
            taken
        };
        let (pods, api) = join(pods, api).await;
        Seen { pod: Spread::of(pods.into_iter().flatten().collect()), api: Spread::of(api) }
    })
}

async fn ask_pod(addr: SocketAddr, end: Instant) -> Vec<f64> {
    let mut connection = TcpStream::connect(addr).await.expect("the server listens");
    connection.set_nodelay(true).expect("a socket takes options");
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {addr}\r\n\r\n");
    let (mut taken, mut buffer) = (Vec::new(), vec![0; ANSWER_BYTES_MAX]);
    while Instant::now() < end {
        let begin = Instant::now();
        connection.write_all(request.as_bytes()).await.expect("the connection holds");
        let mut filled = 0;
        while !is_whole(&buffer[..filled]) {
            let read = connection.read(&mut buffer[filled..]).await.expect("the connection holds");
            assert!(read > 0, "the server closed a connection: {:?}", String::from_utf8_lossy(&buffer[..filled]));
            filled += read;
        }
        taken.push(begin.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(PAUSE).await;
    }
    taken
}

/// Whether all of the one right answer has come.
fn is_whole(answer: &[u8]) -> bool {
    let head = b"HTTP/1.1 200 OK\r\n";
    let seen = answer.len().min(head.len());
    assert_eq!(answer[..seen], head[..seen], "{:?}", String::from_utf8_lossy(answer));
    answer.ends_with(b"ok\n")
}
