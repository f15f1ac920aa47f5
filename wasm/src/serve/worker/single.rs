//! An instance of WASI 0.2: answers a request, then waits for the next.
//!
//! Invariant: it answers one request at a time, since its world is synchronous; and who must not see another's
//! request in its memory is told so by `requests_per_instance`.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::channel::oneshot;
use tokio::time::sleep;
use wasmtime::{Store, bail};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::Proxy;
use wasmtime_wasi_http::p2::bindings::Proxy as Proxy02;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;

use super::{Instance, Late, Place, SlowClient};
use crate::serve::exchange::{Exchange, Turn, Unfinished};
use crate::serve::{Job, Response, Server};
use crate::state::State;

/// How long a program may work on a request whose client has gone before the answer began: long enough to finish
/// what it has begun, short enough that programs which never answer do not fill the server.
const ABANDONED_GRACE: Duration = Duration::from_secs(30);

/// Where the head of an answer goes, once.
type Reply = Arc<Mutex<Option<oneshot::Sender<wasmtime::Result<Response>>>>>;

/// Answers requests until the instance has done its share or none comes.
pub(super) async fn run(server: &Server, instance: &mut Instance, first: Job) -> wasmtime::Result<()> {
    let Instance { store, proxy, seat } = instance;
    let Proxy::P2(guest) = proxy else { return Ok(()) };
    let mut job = first;
    for _ in 1..server.bounds.requests_per_instance {
        answer(server, store, guest, job).await?;
        job = match next(server, seat).await {
            Some(next) => next,
            None => return Ok(()),
        };
    }
    answer(server, store, guest, job).await
}

/// Answers one request, its body included.
async fn answer(server: &Server, store: &mut Store<State>, guest: &Proxy02, job: Job) -> wasmtime::Result<()> {
    let Job { request, reply, exchange, held } = job;
    let work = Unfinished::new(exchange.clone());
    let reply: Reply = Arc::new(Mutex::new(Some(reply)));
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request)?;
    let theirs = reply.clone();
    let out = http.new_response_outparam_from_callback(move |response| {
        if let Some(reply) = take(&theirs) {
            // Nobody listens when the client has gone; the guest need not know.
            let _ = reply.send(response.map_err(Into::into));
        }
    })?;
    let call = guest.wasi_http_incoming_handler().call_handle(&mut *store, request, out);
    tokio::select! {
        biased;
        result = call => result?,
        () = rest(&exchange) => {}
        turn = exchange.overdue() => match turn {
            Turn::Guest | Turn::Sending => bail!(Late(server.patience.guest)),
            Turn::Taking => bail!(SlowClient),
        },
        () = abandoned(&reply) => bail!("the client has gone, and the program did not answer"),
    }
    work.finished();
    drop(held);
    // A program that returned without an answer has failed, though it did not trap.
    if take(&reply).is_some() {
        bail!("it returned without an answer");
    }
    Ok(())
}

/// Reads what the connection does not need, for as long as it is polled.
async fn rest(exchange: &Exchange) {
    poll_fn(|context| exchange.poll_rest(context)).await;
    // The program is still at work; it may take its time to end.
    pending().await
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

/// Waits for the next request, unless none comes in time.
async fn next(server: &Server, place: &Place) -> Option<Job> {
    let mut idle = pin!(sleep(server.bounds.idle));
    poll_fn(|context| match place.seat.fetch(context.waker()) {
        Some(job) => Poll::Ready(Some(job)),
        None => idle.as_mut().poll(context).map(|()| place.leave()),
    })
    .await
}
