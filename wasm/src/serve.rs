//! An HTTP program, served: connections come from the network, requests go to instances, instances come and go.
//!
//! Invariant: an instance that failed answers no more. There are never more instances, nor more requests that wait,
//! than the bounds allow: requests beyond are told 503.
//!
//! Reading order: one connection (`front`), what its clients are told (`refusal`), a request and its answer
//! (`exchange`), who gets which request (`dispatch`), and one instance (`worker`), which answers one request at a
//! time (`worker/single`) or several (`worker/shared`).

mod dispatch;
mod exchange;
mod front;
mod refusal;
mod slow;
mod worker;

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use coracle_api::meet::BoundPort;
use futures::channel::oneshot;
use http::Request;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::handler::{ExpirationError, ProxyPre};

use self::dispatch::{Bounds, Dispatch, Id, Step, Waits};
use self::exchange::{Exchange, Patience};
use self::refusal::Refusal;
use super::HttpBounds;
use super::host::Host;
use super::meter::{Cpu, Metered};
use super::outcome::Outcome;
use super::state::{State, Template};
use super::traffic::{Counters, Held};
pub(super) use front::{Front, Unserved};

/// The part of a container's memory that is left for the growth of its instances: a quarter.
const GROWTH_PART: u64 = 4;

/// Instances that are made at once before it is known how much memory one takes.
const UNKNOWN_MAX: usize = 4;

/// What an instance answers.
type Response = http::Response<WasiBody>;

/// A request on its way to an instance.
struct Job {
    request: Request<WasiBody>,
    reply: oneshot::Sender<wasmtime::Result<Response>>,
    exchange: Arc<Exchange>,
    /// As what it is counted: first as waiting, then as in flight.
    held: Held,
}

impl Job {
    /// An instance works on it from now on.
    fn in_flight(mut self, server: &Server) -> Self {
        self.held = server.counters().in_flight();
        self
    }
}

impl Waits for Job {
    fn is_over(&self) -> bool {
        self.reply.is_canceled()
    }
}

/// One container's HTTP server.
pub(super) struct Server {
    host: Arc<Host>,
    program: Arc<ProxyPre<State>>,
    template: Arc<Template>,
    cpu: Arc<Cpu>,
    bounds: HttpBounds,
    patience: Patience,
    threads: Handle,
    dispatch: Mutex<Dispatch<Job>>,
    /// The memory of an instance that has just been made; nothing while none has.
    fresh_bytes: AtomicU64,
    /// Instances that have been made.
    made: AtomicUsize,
    connections: Arc<Semaphore>,
    draining: CancellationToken,
    ended: CancellationToken,
    /// Connections and instances: all that must be gone before the container has ended.
    serving: TaskTracker,
    working: TaskTracker,
}

/// What a server is made of.
pub(super) struct Parts {
    pub(super) host: Arc<Host>,
    pub(super) program: Arc<ProxyPre<State>>,
    pub(super) template: Arc<Template>,
    pub(super) cpu: Arc<Cpu>,
    pub(super) bounds: HttpBounds,
    /// How long the guest may take for a step of its answer, if that is not as usual.
    pub(super) request_timeout: Option<Duration>,
    pub(super) threads: Handle,
}

impl Server {
    /// A server without connections and instances.
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        let Parts { host, program, template, cpu, bounds, request_timeout, threads } = parts;
        let guest = request_timeout.unwrap_or(bounds.request_timeout);
        Arc::new(Self {
            dispatch: Mutex::new(Dispatch::new(Bounds { instances: bounds.instances, queue: bounds.queue })),
            patience: Patience { guest, client: bounds.body_idle },
            fresh_bytes: AtomicU64::new(0),
            made: AtomicUsize::new(0),
            connections: Arc::new(Semaphore::new(bounds.connections)),
            draining: CancellationToken::new(),
            ended: CancellationToken::new(),
            serving: TaskTracker::new(),
            working: TaskTracker::new(),
            host,
            program,
            template,
            cpu,
            bounds,
            threads,
        })
    }

    /// Serves until told to stop, then finishes what is in flight.
    pub(super) async fn run(self: Arc<Self>, port: Box<dyn BoundPort>, stop: CancellationToken) -> Outcome {
        stop.cancelled().await;
        self.draining.cancel();
        drop(port);
        self.serving.close();
        self.serving.wait().await;
        Outcome::Stopped
    }

    /// Ends all connections and instances, and waits until they are gone.
    pub(super) async fn end(&self) {
        self.draining.cancel();
        self.ended.cancel();
        for tracker in [&self.serving, &self.working] {
            tracker.close();
            tracker.wait().await;
        }
    }

    /// Runs a task of a connection until it is done or the container ends.
    fn serve(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        self.serving.spawn_on(async move { ended.run_until_cancelled_owned(task).await.unwrap_or(()) }, &self.threads);
    }

    /// Where the container's traffic is counted.
    fn counters(&self) -> &Arc<Counters> {
        self.template.pod().counters()
    }

    /// The answer to a request: the guest's, or what the host says in its place.
    async fn answer<B>(self: &Arc<Self>, request: Request<B>) -> Response
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: Into<wasmtime_wasi_http::Error>,
    {
        self.counters().asked();
        let answer = match Refusal::of(&request) {
            Some(refusal) => Err(refusal),
            None => self.ask(request).await,
        };
        let response = answer.unwrap_or_else(|refusal| {
            match refusal {
                Refusal::Busy | Refusal::Unavailable => self.counters().refused(),
                Refusal::Late => self.counters().timed_out(),
                Refusal::Failed | Refusal::BadHost | Refusal::Upgrade => {}
            }
            refusal.response()
        });
        self.counters().answered(response.status());
        response
    }

    /// The guest's answer.
    async fn ask<B>(self: &Arc<Self>, request: Request<B>) -> Result<Response, Refusal>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: Into<wasmtime_wasi_http::Error>,
    {
        let method = request.method().clone();
        let exchange = Exchange::new(self.patience);
        let unanswered = Unanswered(&exchange);
        let (reply, answer) = oneshot::channel();
        let request = request.map(|body| exchange.asking(body));
        let held = self.counters().waiting();
        self.submit(Job { request, reply, exchange: exchange.clone(), held })?;
        match answer.await {
            Ok(Ok(response)) => {
                std::mem::forget(unanswered);
                Ok(exchange.answering(&method, response))
            }
            Ok(Err(error)) if error.is::<ExpirationError>() => Err(Refusal::Late),
            Ok(Err(error)) => {
                self.template.complain(&format!("the program answered a request with an error: {error:#}"));
                Err(Refusal::Failed)
            }
            // The instance has ended, and said why.
            Err(oneshot::Canceled) if exchange.deadline().0 <= tokio::time::Instant::now() => Err(Refusal::Late),
            Err(oneshot::Canceled) => Err(Refusal::Failed),
        }
    }

    fn submit(self: &Arc<Self>, job: Job) -> Result<(), Refusal> {
        let step = self.dispatch().submit(job);
        self.perform(step)
    }

    /// Does what was decided for a request.
    fn perform(self: &Arc<Self>, step: Step<Job>) -> Result<(), Refusal> {
        match step {
            Step::Wake(waker) => waker.wake(),
            Step::Wait => {}
            Step::Refuse(_) => return Err(Refusal::Busy),
            Step::Instantiate(id, job) => match self.host.room() {
                Some(room) => self.instantiate(id, room, job),
                None => return self.dispatch().no_room(job).map_err(|_| Refusal::Unavailable),
            },
        }
        Ok(())
    }

    /// A new instance, whose first request is `job`.
    fn instantiate(self: &Arc<Self>, id: Id, room: tokio::sync::OwnedSemaphorePermit, job: Job) {
        let instance = worker::run(Seat { server: self.clone(), id }, room, job);
        let metered = Metered::new(instance, self.cpu.clone(), self.host.clone());
        let ended = self.ended.clone();
        let task = async move { ended.run_until_cancelled_owned(metered).await.unwrap_or(()) };
        self.working.spawn_on(task, &self.threads);
    }

    fn dispatch(&self) -> MutexGuard<'_, Dispatch<Job>> {
        let mut dispatch = self.dispatch.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = self.template.memory();
        let making = dispatch.instances().saturating_sub(self.made.load(Relaxed));
        dispatch.set_memory(has_memory(memory.used(), memory.limit(), self.fresh_bytes.load(Relaxed), making));
        dispatch
    }
}

/// Whether another instance has room in the container's memory, beside those that are being made. Some is left for
/// what instances grow by as they work: who makes as many as there is room for is killed at the first growth.
fn has_memory(used: u64, limit: u64, fresh: u64, making: usize) -> bool {
    if fresh == 0 {
        return making < UNKNOWN_MAX;
    }
    let making = u64::try_from(making).unwrap_or(u64::MAX);
    used.saturating_add(fresh.saturating_mul(making.saturating_add(1))) <= limit - limit / GROWTH_PART
}

/// An exchange that ends without an answer as long as this lives, so that no instance waits for one to be read.
struct Unanswered<'a>(&'a Exchange);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.unanswered();
    }
}

/// An instance's place among those of its server. Dropping it makes room for another.
struct Seat {
    server: Arc<Server>,
    id: Id,
}

impl Seat {
    /// The next request; `waker` is woken when there may be one.
    fn fetch(&self, waker: &Waker) -> Option<Job> {
        let job = self.server.dispatch().fetch(self.id, waker);
        self.in_flight(job)
    }

    /// A request that waits, for an instance that is about to go on with its work.
    fn take(&self) -> Option<Job> {
        let job = self.server.dispatch().take(self.id);
        self.in_flight(job)
    }

    /// It is about to go on with its work, and could take no more.
    fn withdraw(&self) {
        self.server.dispatch().withdraw(self.id);
    }

    /// A last request, where one has just come; else it may end.
    fn leave(&self) -> Option<Job> {
        let job = self.server.dispatch().leave(self.id);
        self.in_flight(job)
    }

    /// It can take no request now.
    fn decline(&self) {
        let step = self.server.dispatch().decline(self.id);
        self.hand_on(step);
    }

    fn in_flight(&self, job: Option<Job>) -> Option<Job> {
        job.map(|job| job.in_flight(&self.server))
    }

    fn hand_on(&self, step: Option<Step<Job>>) {
        if let Some(step) = step
            && !self.server.ended.is_cancelled()
        {
            // What cannot be done for it now is told to its client, whose reply goes with it.
            let _ = self.server.perform(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_leave_memory_for_their_growth() {
        let mb = |count: u64| count << 20;
        assert!(has_memory(0, mb(64), mb(1), 0));
        assert!(has_memory(mb(47), mb(64), mb(1), 0));
        assert!(!has_memory(mb(47), mb(64), mb(1), 1));
        assert!(!has_memory(mb(48), mb(64), mb(1), 0));
        assert!(has_memory(0, mb(64), 0, 3) && !has_memory(0, mb(64), 0, 4), "before the first is known");
    }
}
