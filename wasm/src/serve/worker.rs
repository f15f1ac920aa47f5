//! One instance, from its first request to its end: it has failed, answered its share, or waited too long.

mod shared;
mod single;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::handler::Proxy;

use super::{Job, Seat, Server};
use crate::state::State;

/// An instance that may be served with requests.
struct Instance {
    store: Store<State>,
    proxy: Proxy,
    seat: Place,
}

/// The seat, and whether it was left already.
struct Place {
    seat: Seat,
    is_made: bool,
    left: AtomicBool,
}

impl Place {
    /// Its instance is there, and has so much memory.
    fn made(&mut self, server: &Server, bytes: u64) {
        server.fresh_bytes.fetch_max(bytes, Relaxed);
        server.made.fetch_add(1, Relaxed);
        self.is_made = true;
        let step = server.dispatch().made();
        self.seat.hand_on(step);
    }

    /// Without work it may end, unless a request has just come.
    fn leave(&self) -> Option<Job> {
        let job = self.seat.leave();
        self.left.store(job.is_none(), Relaxed);
        job
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_made {
            self.seat.server.made.fetch_sub(1, Relaxed);
        }
        if !self.left.load(Relaxed) {
            let step = self.seat.server.dispatch().ended(self.seat.id);
            self.seat.hand_on(step);
        }
    }
}

/// Runs an instance from its first request to its end.
pub(super) async fn run(seat: Seat, room: OwnedSemaphorePermit, first: Job) {
    let server = seat.server.clone();
    let place = Place { seat, is_made: false, left: AtomicBool::new(false) };
    let first = first.in_flight(&server);
    let mut instance = match instantiate(&server, place, room).await {
        Ok(instance) => instance,
        Err(error) => return complain(&server, &error),
    };
    instance.seat.made(&server, instance.store.data().memory_held());
    let ended = match &instance.proxy {
        Proxy::P2(_) => single::run(&server, &mut instance, first).await,
        Proxy::P3(_) => shared::run(&server, &mut instance, first).await,
    };
    if let Err(error) = ended {
        // The store lives until the failure is told: with it goes the client's hope of an answer.
        complain(&server, &error);
    }
}

async fn instantiate(server: &Server, seat: Place, room: OwnedSemaphorePermit) -> wasmtime::Result<Instance> {
    let mut store = server.template.store(&server.host, room)?;
    let proxy = server.program.instantiate_async(&mut store).await?;
    Ok(Instance { store, proxy, seat })
}

fn complain(server: &Server, error: &wasmtime::Error) {
    if error.is::<SlowClient>() {
        return;
    }
    server.template.complain(&match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(code)) => format!("the program called exit({code}) on a request"),
        None => format!("the program failed on a request: {error:?}"),
    });
}

/// The client does not take its answer: no fault of the program, and nothing for its log.
#[derive(Debug, thiserror::Error)]
#[error("the client does not take its answer")]
struct SlowClient;

/// The program has had its turn for too long.
#[derive(Debug, thiserror::Error)]
#[error("it took longer than {0:?} for a step of its answer")]
struct Late(std::time::Duration);
