//! One instance: answers a request, then waits for the next, until it has failed, answered its share, or waited too long.

use std::future::{pending, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::channel::oneshot;
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use wasmtime::{AsContextMut, Store, bail};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{Prepared, Proxy};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

use super::remains::Remains;
use super::{Admitted, Job, Response, Server};
use crate::state::State;

/// How long a program may work on a request whose client has gone before the answer began: long enough to finish
/// what it has begun, short enough that programs which never answer do not fill the server.
const ABANDONED_GRACE: Duration = Duration::from_secs(30);

/// Where the head of an answer goes, once.
type Reply = Arc<Mutex<Option<oneshot::Sender<wasmtime::Result<Response>>>>>;

/// Runs an instance from its first request to its end.
pub(super) async fn run(server: Arc<Server>, room: OwnedSemaphorePermit, first: Job) {
    // The store lives until the failure is told: with it goes the client's hope of an answer.
    let (mut store, proxy) = match instantiate(&server, room).await {
        Ok(instance) => instance,
        Err(error) => return complain(&server, &error),
    };
    let mut job = first;
    for _ in 1..server.bounds.requests_per_instance {
        job = match answer(&mut store, &proxy, job).await {
            Ok(admitted) => match next(&server, admitted).await {
                Some(next) => next,
                None => return,
            },
            Err(error) => return complain(&server, &error),
        };
    }
    if let Err(error) = answer(&mut store, &proxy, job).await {
        complain(&server, &error);
    }
}

async fn instantiate(server: &Server, room: OwnedSemaphorePermit) -> wasmtime::Result<(Store<State>, Proxy)> {
    let mut store = server.template.store(&server.host, room)?;
    let proxy = server.program.instantiate_async(&mut store).await?;
    Ok((store, proxy))
}

fn complain(server: &Server, error: &wasmtime::Error) {
    server.template.complain(&match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(code)) => format!("the program called exit({code}) on a request"),
        None => format!("the program failed on a request: {error:?}"),
    });
}

/// Answers one request, its body included. What comes back is the request's admission.
async fn answer(store: &mut Store<State>, proxy: &Proxy, job: Job) -> wasmtime::Result<Admitted> {
    let Job { request, reply, admitted } = job;
    match proxy {
        Proxy::P2(guest) => {
            let reply: Reply = Arc::new(Mutex::new(Some(reply)));
            let (remains, method) = (Arc::new(Remains::default()), request.method().clone());
            let mut http = store.data_mut().http();
            let request = http.new_incoming_request(Scheme::Http, request)?;
            let (theirs, kept) = (reply.clone(), remains.clone());
            let out = http.new_response_outparam_from_callback(move |response| {
                if let Some(reply) = take(&theirs) {
                    // Nobody listens when the client has gone; the guest need not know.
                    let _ = reply.send(response.map(|response| kept.keep(&method, response)).map_err(Into::into));
                }
            })?;
            let call = guest.wasi_http_incoming_handler().call_handle(&mut *store, request, out);
            tokio::select! {
                biased;
                result = call => result?,
                never = poll_fn(|context| remains.poll_read(context)) => match never {},
                () = abandoned(&reply) => bail!("the client has gone, and the program did not answer"),
            }
            // A program that returned without an answer has failed, though it did not trap.
            drop(take(&reply));
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

fn take(reply: &Reply) -> Option<oneshot::Sender<wasmtime::Result<Response>>> {
    reply.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Waits until the client has gone before the answer began, and some time has passed since.
async fn abandoned(reply: &Reply) {
    poll_fn(|context| match reply.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        Some(reply) => reply.poll_canceled(context),
        None => Poll::Pending,
    })
    .await;
    sleep(ABANDONED_GRACE).await;
}

/// Waits for the next request among the idle, unless none comes in time.
async fn next(server: &Server, admitted: Admitted) -> Option<Job> {
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
