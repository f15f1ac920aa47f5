//! An instance of WASI 0.3: answers several requests at once, since its world is asynchronous.
//!
//! Invariant: it takes another request only while the guest waits for something, so that one that computes keeps no
//! other request from an instance that could begin with it. A request that is late costs the instance its place, but
//! not the other requests it works on, unless the guest does not let go of the thread.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, Sleep, sleep};
use wasmtime::AsContextMut;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{Prepared, Proxy};

use super::{Instance, Late};
use crate::serve::exchange::{Exchange, Turn, Unfinished};
use crate::serve::{Job, Seat, Server};
use crate::state::State;
use crate::turns;

/// How much longer than allowed a request may take before its whole instance is thrown away: by then the request
/// would have been told, if the guest had let anything else happen in its instance.
const STUCK_GRACE: Duration = Duration::from_millis(500);

/// What the inside of the instance's event loop and its outside both see.
#[derive(Default)]
struct Desk {
    /// The instance could begin with one more request, if its guest waits.
    could: AtomicBool,
    /// The request that it is to begin with.
    next: Mutex<Option<Job>>,
    /// The requests it works on, for the look at the clock from outside.
    open: Mutex<Vec<Arc<Exchange>>>,
}

impl Desk {
    fn open(&self) -> MutexGuard<'_, Vec<Arc<Exchange>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, exchange: &Arc<Exchange>) {
        self.open().retain(|open| !Arc::ptr_eq(open, exchange));
    }

    /// Puts a request there. Says whether there was one.
    fn put(&self, job: Option<Job>) -> bool {
        let is_some = job.is_some();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = job;
        is_some
    }

    fn take(&self) -> Option<Job> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// When the first of the open requests will have been late for so long that the guest must be stuck.
    fn stuck_at(&self) -> Option<Instant> {
        let deadlines = self.open().iter().map(|exchange| exchange.deadline().0).min();
        deadlines.map(|deadline| deadline + STUCK_GRACE)
    }
}

/// Whether the instance may go on after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    GoesOn,
    Closes,
}

/// Answers requests until the instance has done its share or none comes.
pub(super) async fn run(server: &Server, instance: &mut Instance, first: Job) -> wasmtime::Result<()> {
    let Instance { store, proxy, seat } = instance;
    let Proxy::P3(guest) = &*proxy else { return Ok(()) };
    let handler = *guest.wasi_http_handler().func_handle().func();
    let desk = Desk::default();
    desk.put(Some(first));
    let (desk, proxy, bounds, seat) = (&desk, &*proxy, &server.bounds, &*seat);
    let inside = async |store: &Accessor<State>| {
        let mut requests = FuturesUnordered::new();
        let (mut taken, mut closes, mut resting) = (0, false, false);
        let mut idle = pin!(sleep(bounds.idle));
        poll_fn(|context| {
            loop {
                if let Some(job) = desk.take() {
                    (taken, resting) = (taken + 1, false);
                    desk.open().push(job.exchange.clone());
                    requests.push(answer(server, desk, store, proxy, job));
                }
                while let Poll::Ready(Some(ended)) = requests.poll_next_unpin(context) {
                    closes |= ended? == After::Closes;
                }
                closes |= taken >= bounds.requests_per_instance;
                let could = !closes
                    && requests.len() < bounds.requests_at_once
                    && store.poll_ready_for_concurrent_call(handler, context).is_ready();
                desk.could.store(could, Relaxed);
                if !requests.is_empty() || store.poll_no_interesting_tasks(context).is_pending() {
                    return Poll::Pending;
                }
                if !could {
                    return Poll::Ready(wasmtime::error::Ok(()));
                }
                if !resting {
                    idle.as_mut().reset(Instant::now() + bounds.idle);
                    resting = true;
                }
                if idle.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                if !desk.put(seat.leave()) {
                    return Poll::Ready(Ok(()));
                }
            }
        })
        .await
    };
    let work = pin!(store.run_concurrent(inside));
    drive(server, desk, &seat.seat, work).await
}

/// Turns the instance's event loop, and looks at it from outside: when it stands still, the guest waits, and may begin
/// with one more request.
async fn drive(
    server: &Server,
    desk: &Desk,
    seat: &Seat,
    mut work: Pin<&mut impl Future<Output = wasmtime::Result<wasmtime::Result<()>>>>,
) -> wasmtime::Result<()> {
    let mut watch = pin!(sleep(server.patience.guest.min(server.bounds.idle)));
    poll_fn(|context| {
        // What it goes on with may take long: nobody is to wait for it who could be served elsewhere.
        match desk.could.swap(false, Relaxed) {
            true => _ = desk.put(seat.take()),
            false => seat.withdraw(),
        }
        loop {
            if let Poll::Ready(ended) = work.as_mut().poll(context) {
                return Poll::Ready(ended.flatten());
            }
            // One that was interrupted goes on where it was, and looks at no desk before it has come to its end.
            if !desk.could.swap(false, Relaxed) || turns::is_cut() {
                seat.decline();
                break;
            }
            if !desk.put(seat.fetch(context.waker())) {
                desk.could.store(true, Relaxed);
                break;
            }
        }
        watch_over(desk, watch.as_mut(), server.patience.guest, context)
    })
    .await
}

/// Ready when the guest is stuck: a request is late, and the event loop inside does not come to tell it.
fn watch_over(
    desk: &Desk,
    mut watch: Pin<&mut Sleep>,
    limit: Duration,
    context: &mut Context<'_>,
) -> Poll<wasmtime::Result<()>> {
    while let Some(stuck_at) = desk.stuck_at() {
        if stuck_at <= Instant::now() {
            return Poll::Ready(Err(Late(limit).into()));
        }
        // Deadlines mostly move away: the clock is set again when it has rung, or would ring too late.
        if watch.deadline() > stuck_at || watch.is_elapsed() {
            watch.as_mut().reset(stuck_at);
        }
        if watch.as_mut().poll(context).is_pending() {
            break;
        }
    }
    Poll::Pending
}

/// Answers one request, its body included.
async fn answer(
    server: &Server,
    desk: &Desk,
    store: &Accessor<State>,
    proxy: &Proxy,
    job: Job,
) -> wasmtime::Result<After> {
    let Job { request, reply, exchange, held } = job;
    let work = Unfinished::new(exchange.clone());
    let prepared =
        store.with(|mut access| Prepared::new(access.as_context_mut(), proxy, request, State::http, reply))?;
    let late = async { _ = exchange.overdue().await };
    let was_answered = prepared.run(store, late).await?;
    let after = if !was_answered {
        server.template.complain(&format!("the program failed on a request: {}", Late(server.patience.guest)));
        After::Closes
    } else {
        rest(&exchange).await
    };
    work.finished();
    desk.close(&exchange);
    drop(held);
    Ok(after)
}

/// Reads what the connection does not need, until the body is over or somebody is late.
async fn rest(exchange: &Exchange) -> After {
    let over = poll_fn(|context| exchange.poll_rest(context));
    tokio::select! {
        biased;
        () = over => After::GoesOn,
        turn = exchange.overdue() => {
            exchange.abort();
            match turn {
                Turn::Taking => After::GoesOn,
                Turn::Guest | Turn::Sending => After::Closes,
            }
        }
    }
}
