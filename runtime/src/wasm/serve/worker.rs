//! One instance: answers a request, then waits for the next, until it has failed, answered its share, or waited too long.

use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{Prepared, Proxy};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

use super::{Job, Server};
use crate::wasm::state::State;

/// Runs an instance from its first request to its end.
pub(super) async fn run(server: Arc<Server>, room: OwnedSemaphorePermit, first: Job) {
    if let Err(error) = work(&server, room, first).await
        && error.downcast_ref::<I32Exit>().is_none()
    {
        server.template.complain(&format!("the program failed on a request: {error:?}"));
    }
}

async fn work(server: &Server, room: OwnedSemaphorePermit, first: Job) -> wasmtime::Result<()> {
    let mut store = server.template.store(&server.host, room)?;
    let proxy = server.program.instantiate_async(&mut store).await?;
    let mut job = first;
    for _ in 1..server.bounds.requests_per_instance {
        let admitted = answer(&mut store, &proxy, job).await?;
        match next(server, admitted).await {
            Some(next) => job = next,
            None => return Ok(()),
        }
    }
    answer(&mut store, &proxy, job).await.map(drop)
}

/// Answers one request, its body included. What comes back is the request's admission.
async fn answer(store: &mut Store<State>, proxy: &Proxy, job: Job) -> wasmtime::Result<OwnedSemaphorePermit> {
    let Job { request, reply, admitted } = job;
    match proxy {
        Proxy::P2(guest) => {
            let mut http = store.data_mut().http();
            let request = http.new_incoming_request(Scheme::Http, request)?;
            let reply = Mutex::new(Some(reply));
            let out = http.new_response_outparam_from_callback(move |response| {
                if let Some(reply) = reply.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    // Nobody listens when the client has gone; the guest need not know.
                    let _ = reply.send(response.map_err(Into::into));
                }
            })?;
            guest.wasi_http_incoming_handler().call_handle(&mut *store, request, out).await?;
        }
        Proxy::P3(_) => {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            let run = store.run_concurrent(async |store| {
                let prepared = store
                    .with(|mut access| Prepared::new(access.as_context_mut(), proxy, request, State::http, reply))?;
                prepared.run(store, pending()).await?;
                // The body is written by tasks that go on after the head was given.
                poll_fn(|context| store.poll_no_interesting_tasks(context)).await;
                wasmtime::error::Ok(())
            });
            run.await??;
        }
    }
    Ok(admitted)
}

/// Waits for the next request among the idle, unless none comes in time.
async fn next(server: &Server, admitted: OwnedSemaphorePermit) -> Option<Job> {
    let (offer, mut taken) = oneshot::channel();
    server.idle.lock().unwrap_or_else(PoisonError::into_inner).push(offer);
    // Only now may the next request come in: it finds this instance.
    drop(admitted);
    if let Ok(job) = timeout(server.bounds.idle, &mut taken).await {
        return job.ok();
    }
    // A request may have been handed over at this very moment; after `close` none can be.
    taken.close();
    server.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|offer| !offer.is_canceled());
    taken.try_recv().ok().flatten()
}
