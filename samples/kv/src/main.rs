//! kv: a key-value store over HTTP that has on its disk what it acknowledged.
//!
//! Invariant: one thread, one store. What all clients asked in one turn is written and synced together, and
//! only then answered; so a write costs a sync, and a hundred writes at once cost one sync too. It is a
//! command with a socket and not an HTTP component, because of those a node runs several instances, and a
//! log has one writer.

mod answer;
mod connection;
mod listener;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use kv::frame::Change;
use kv::request::{Ask, Parsed, Refusal};
use kv::store::{LIVE_MAX, Refused, Store};
use wasip2::io::poll::poll;

use crate::answer::Answer;
use crate::connection::{Connection, Progress};
use crate::listener::Listener;

/// Where it listens unless `PORT` says otherwise.
const DEFAULT_PORT: u16 = 8080;

/// Where it keeps its log unless `DATA_DIR` says otherwise.
const DEFAULT_DIR: &str = "/data";

/// Connections served at a time; for one more the longest idle one is closed. Each may hold one value, so
/// this many values is the most memory that peers can make us hold.
const MAX_CONNECTIONS: usize = 32;

fn main() -> ExitCode {
    match start() {
        Ok((store, listener)) => Server { store, listener, connections: Vec::new(), name: name() }.run(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(Store, Listener), String> {
    let port = match env::var("PORT") {
        Err(_) => DEFAULT_PORT,
        Ok(text) => text.parse().map_err(|error| format!("PORT must be a port number, not {text:?}: {error}"))?,
    };
    let dir = env::var("DATA_DIR").unwrap_or_else(|_| DEFAULT_DIR.to_owned());
    let (store, opened) = Store::open(Path::new(&dir)).map_err(|error| format!("cannot open {dir}: {error}"))?;
    println!("{}: {} keys from {} commits, {} torn bytes dropped", name(), store.len(), opened.frames, opened.torn);
    let listener = Listener::bind(port).map_err(|error| format!("cannot listen on port {port}: {error}"))?;
    println!("listening on {}", listener.address());
    Ok((store, listener))
}

/// The pod's name.
fn name() -> String {
    env::var("HOSTNAME").unwrap_or_default()
}

struct Server {
    store: Store,
    listener: Listener,
    /// Longest idle first.
    connections: Vec<Connection>,
    name: String,
}

/// What becomes of a request.
enum Decided {
    /// The answer is known.
    Now(Answer),
    /// It is, once the change is on the disk.
    AfterCommit(Change),
}

impl Server {
    fn run(mut self) -> ! {
        loop {
            let mut awaited: Vec<_> = self.connections.iter().map(Connection::awaits).collect();
            // The listener stands behind the connections, so that their places are their numbers.
            awaited.push(self.listener.awaits());
            let ready: Vec<usize> = poll(&awaited).into_iter().map(|place| place as usize).collect();
            let accepts = ready.contains(&self.connections.len());
            let mut turn = Vec::new();
            for (place, connection) in std::mem::take(&mut self.connections).into_iter().enumerate() {
                let list = if ready.contains(&place) { &mut turn } else { &mut self.connections };
                list.push(connection);
            }
            self.serve(turn);
            if accepts {
                self.accept();
            }
        }
    }

    fn accept(&mut self) {
        for connection in self.listener.accept(MAX_CONNECTIONS) {
            if self.connections.len() >= MAX_CONNECTIONS {
                let Some(idle) = self.connections.iter().position(Connection::is_idle) else { continue };
                self.connections.remove(idle);
            }
            self.connections.push(connection);
        }
    }

    /// Gives connections a turn, and another as long as they have a whole request at hand.
    fn serve(&mut self, turn: Vec<Connection>) {
        let mut asked = Vec::new();
        for mut connection in turn {
            let progress = connection.advance();
            self.sort(connection, progress, &mut asked);
        }
        while !asked.is_empty() {
            let (mut changes, mut writers, mut next) = (Vec::new(), Vec::new(), Vec::new());
            for (mut connection, parsed) in asked {
                match self.decide(parsed) {
                    Decided::Now(answer) => {
                        let progress = connection.answer(&answer);
                        self.sort(connection, progress, &mut next);
                    }
                    Decided::AfterCommit(change) => {
                        changes.push(change);
                        writers.push(connection);
                    }
                }
            }
            if !writers.is_empty() {
                let outcome = self.store.commit(changes);
                for mut connection in writers {
                    let progress = connection.answer(&committed(&outcome));
                    self.sort(connection, progress, &mut next);
                }
            }
            asked = next;
        }
    }

    fn sort(&mut self, connection: Connection, progress: Progress, asked: &mut Vec<(Connection, Parsed)>) {
        match progress {
            Progress::Open => self.connections.push(connection),
            Progress::Asked(parsed) => asked.push((connection, parsed)),
            Progress::Closed => {}
        }
    }

    fn decide(&self, parsed: Parsed) -> Decided {
        let Parsed::Whole { ask, .. } = parsed else { return Decided::Now(Answer::text(400, "incomplete\n")) };
        Decided::Now(match ask {
            Ok(Ask::Put(key, value)) => return Decided::AfterCommit(Change::Put(key, value)),
            Ok(Ask::Delete(key)) if self.store.get(&key).is_some() => {
                return Decided::AfterCommit(Change::Delete(key));
            }
            Ok(Ask::Get(key)) => match self.store.get(&key) {
                Some(value) => Answer::value(value),
                None => missing(&key),
            },
            Ok(Ask::Delete(key)) => missing(&key),
            Ok(Ask::List(prefix)) => {
                Answer::text(200, self.store.keys(&prefix).flat_map(|key| [key, "\n"]).collect::<String>())
            }
            Ok(Ask::Whoami) => {
                let ordinal = self.name.rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse::<u32>().ok());
                let ordinal = ordinal.map_or("null".to_owned(), |ordinal| ordinal.to_string());
                let keys = self.store.len();
                Answer::json(format!("{{\"name\":{:?},\"ordinal\":{ordinal},\"keys\":{keys}}}\n", self.name))
            }
            Ok(Ask::Health) => Answer::text(200, "ok\n"),
            Err(Refusal(status, words)) => Answer::text(status, format!("{words}\n")),
        })
    }
}

fn missing(key: &str) -> Answer {
    Answer::text(404, format!("there is no key {key}\n"))
}

fn committed(outcome: &Result<(), Refused>) -> Answer {
    match outcome {
        Ok(()) => Answer::done(),
        Err(Refused::Full) => Answer::text(507, format!("the store holds at most {LIVE_MAX} bytes: delete some\n")),
        Err(Refused::Disk(error)) => Answer::text(507, format!("the disk took none of it: {error}\n")),
    }
}
