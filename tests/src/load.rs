//! Clients that ask without a pause, on connections that they keep: what a change of pods must not disturb.
//!
//! Invariant: a request without a whole right answer is counted as lost, whatever the reason; a client goes on with a
//! new connection after it. A connection that the server ends with an answer is no loss: that is how HTTP/1 says it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http;

/// A server on this machine that takes longer has lost the request.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many losses are told in full; the others are counted.
const TOLD_MAX: usize = 5;

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Tally>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that were answered.
    pub answered: usize,
    /// Connections that were opened for them.
    pub connections: usize,
    /// Requests that were not.
    pub lost: usize,
    /// Why not: the first few.
    pub reasons: Vec<String>,
}

impl Load {
    /// Asks each address for `path` on so many connections.
    pub fn start(addresses: &[SocketAddr], connections: usize, path: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |address: &SocketAddr| {
            let (stop, answered, address, path) = (stop.clone(), answered.clone(), *address, path.to_owned());
            std::thread::spawn(move || ask_on(address, &path, &stop, &answered))
        };
        let each = addresses.iter().flat_map(|address| std::iter::repeat_n(address, connections));
        let clients = each.map(client).collect();
        Self { stop, answered, clients }
    }

    /// Requests answered so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends it, each client after the answer that it waits for.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for client in self.clients {
            let one = client.join().expect("a client ends");
            all.answered += one.answered;
            all.connections += one.connections;
            all.lost += one.lost;
            all.reasons.extend(one.reasons);
        }
        all.reasons.truncate(TOLD_MAX);
        all
    }
}

fn ask_on(address: SocketAddr, path: &str, stop: &AtomicBool, answered: &AtomicUsize) -> Tally {
    let mut tally = Tally::default();
    let mut kept: Option<TcpStream> = None;
    while !stop.load(Ordering::Relaxed) {
        let asked = match kept.take() {
            Some(connection) => ask(connection, path),
            None => {
                tally.connections += 1;
                connect(address).and_then(|connection| ask(connection, path))
            }
        };
        match asked {
            Ok(connection) => {
                tally.answered += 1;
                answered.fetch_add(1, Ordering::Relaxed);
                kept = connection;
            }
            Err(reason) => {
                tally.lost += 1;
                if tally.reasons.len() < TOLD_MAX {
                    tally.reasons.push(format!("{address}: {reason}"));
                }
            }
        }
    }
    tally
}

fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let connection = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| format!("connect: {error}"))?;
    connection
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| connection.set_nodelay(true))
        .map_err(|e| e.to_string())?;
    Ok(connection)
}

/// Asks once; gives the connection back if it may be used again.
fn ask(mut connection: TcpStream, path: &str) -> Result<Option<TcpStream>, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: load\r\n\r\n");
    connection.write_all(request.as_bytes()).map_err(|error| format!("write: {error}"))?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = connection.read(&mut buffer).map_err(|error| format!("read: {error}"))?;
        if read == 0 {
            return Err(format!("the connection ended after {:?}", String::from_utf8_lossy(&answer)));
        }
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer);
        match http::parse(&text) {
            Some((200, _)) => {
                let is_last = text.to_ascii_lowercase().contains("\r\nconnection: close\r\n");
                return Ok((!is_last).then_some(connection));
            }
            Some(_) => return Err(format!("{text:?}")),
            None => {}
        }
    }
}
