//! Echo: a TCP server that sends every byte back to whoever sent it, to many at once on one thread.
//!
//! Invariant: it waits only in `poll`, on the listener and on the one thing that each connection needs
//! next. So it takes no CPU while nothing happens, and a slow peer holds up nobody but itself.

mod connection;
mod listener;

use std::env;
use std::process::ExitCode;

use wasip2::io::poll::poll;

use crate::connection::{Connection, Progress};
use crate::listener::Listener;

/// Where it listens unless `PORT` says otherwise. The protocol's own port, 7, is a privileged one.
const DEFAULT_PORT: u16 = 7777;

/// Connections served at a time; more wait in the backlog. Each may owe its peer one chunk, so this
/// many chunks is the most memory that peers can make us hold.
const MAX_CONNECTIONS: usize = 512;

fn main() -> ExitCode {
    match start() {
        Ok(listener) => serve(listener),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<Listener, String> {
    let port = port()?;
    Listener::bind(port).map_err(|error| format!("cannot listen on port {port}: {error}"))
}

fn port() -> Result<u16, String> {
    match env::var("PORT") {
        Err(_) => Ok(DEFAULT_PORT),
        Ok(text) => text.parse().map_err(|error| format!("PORT must be a port number, not {text:?}: {error}")),
    }
}

fn serve(mut listener: Listener) -> ! {
    println!("listening on {}", listener.address());
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let mut awaited: Vec<_> = connections.iter().map(Connection::awaits).collect();
        if connections.len() < MAX_CONNECTIONS {
            awaited.push(listener.awaits());
        }
        let mut ready = poll(&awaited);
        ready.sort_unstable();

        // The listener stands behind the connections, so that their places are their numbers.
        let listener_place = connections.len();
        let is_ready = |place: usize| u32::try_from(place).is_ok_and(|p| ready.binary_search(&p).is_ok());
        let mut place = 0..;
        connections.retain_mut(|connection| {
            let idle = !place.next().is_some_and(is_ready);
            idle || connection.advance() == Progress::Open
        });
        if is_ready(listener_place) {
            let room = MAX_CONNECTIONS - connections.len();
            connections.extend(listener.accept(room));
        }
    }
}
