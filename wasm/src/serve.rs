//! An HTTP program, served: connections come from the network, requests go to instances, instances come and go.
//!
//! Invariant: an instance answers one request at a time, and one that failed answers no more. There are never more
//! requests under way than the bounds allow: those beyond wait, and those beyond the queue are told 503.
//!
//! Reading order: admission and the pool of instances (here), one connection (`front`), one instance (`worker`),
//! and what a connection leaves of a body (`remains`).

mod front;
mod remains;
mod worker;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use coracle_api::meet::BoundPort;
use futures::channel::oneshot;
use http::Request;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::handler::ProxyPre;

use super::HttpBounds;
use super::host::Host;
use super::meter::{Cpu, Metered};
use super::outcome::Outcome;
use super::state::{State, Template};
use super::traffic::{Counters, Held};
pub(super) use front::Front;

/// What an instance answers.
type Response = http::Response<WasiBody>;

/// A request on its way to an instance.
struct Job {
    request: Request<Incoming>,
    reply: oneshot::Sender<wasmtime::Result<Response>>,
    /// The request is under way as long as this lives.
    admitted: Admitted,
}

/// A request that an instance may work on.
struct Admitted {
    _permit: OwnedSemaphorePermit,
    _in_flight: Held,
}

/// Why there is no answer of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// As many requests wait as may.
    Busy,
    /// The container is being stopped, or the node is full.
    Unavailable,
    /// The guest failed on this request.
    Failed,
}

/// One container's HTTP server.
pub(super) struct Server {
    host: Arc<Host>,
    program: Arc<ProxyPre<State>>,
    template: Arc<Template>,
    cpu: Arc<Cpu>,
    bounds: HttpBounds,
    threads: Handle,
    /// Instances that wait for a request; the last to come is the first to go, so that the others may expire.
    idle: Mutex<Vec<oneshot::Sender<Job>>>,
    admission: Arc<Semaphore>,
    waiting: AtomicUsize,
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
    pub(super) threads: Handle,
}

impl Server {
    /// A server without connections and instances.
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        let Parts { host, program, template, cpu, bounds, threads } = parts;
        Arc::new(Self {
            idle: Mutex::default(),
            admission: Arc::new(Semaphore::new(bounds.instances.max(1))),
            waiting: AtomicUsize::new(0),
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

    /// The guest's answer to a request.
    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response, Refusal> {
        let admitted = self.admit().await?;
        let (reply, answer) = oneshot::channel();
        let mut job = Job { request, reply, admitted };
        while let Some(instance) = self.pop_idle() {
            match instance.send(job) {
                Ok(()) => return self.received(answer.await),
                Err(returned) => job = returned,
            }
        }
        self.instantiate(job)?;
        self.received(answer.await)
    }

    fn received(&self, answer: Result<wasmtime::Result<Response>, oneshot::Canceled>) -> Result<Response, Refusal> {
        match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                self.template.complain(&format!("the program answered a request with an error: {error:#}"));
                Err(Refusal::Failed)
            }
            // The instance has failed, and said why.
            Err(oneshot::Canceled) => Err(Refusal::Failed),
        }
    }

    /// Where the container's traffic is counted.
    fn counters(&self) -> &Arc<Counters> {
        self.template.pod().counters()
    }

    /// Lets a request in, or has it wait, or turns it away.
    async fn admit(&self) -> Result<Admitted, Refusal> {
        let permit = match self.admission.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _place = Waiting::enter(&self.waiting, self.bounds.queue).ok_or(Refusal::Busy)?;
                let _waiting = self.counters().waiting();
                self.admission.clone().acquire_owned().await.map_err(|_| Refusal::Unavailable)?
            }
        };
        Ok(Admitted { _permit: permit, _in_flight: self.counters().in_flight() })
    }

    fn pop_idle(&self) -> Option<oneshot::Sender<Job>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// A new instance, whose first request is `job`.
    fn instantiate(self: &Arc<Self>, job: Job) -> Result<(), Refusal> {
        let room = self.host.room().ok_or(Refusal::Unavailable)?;
        let instance = worker::run(self.clone(), room, job);
        let metered = Metered::new(instance, self.cpu.clone(), self.host.clone());
        let ended = self.ended.clone();
        let task = async move { ended.run_until_cancelled_owned(metered).await.unwrap_or(()) };
        self.working.spawn_on(task, &self.threads);
        Ok(())
    }
}

/// One request that waits, counted as long as this lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let more = |count: usize| (count < max).then_some(count + 1);
        count.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_bound_may_wait() {
        let count = AtomicUsize::new(0);
        let first = Waiting::enter(&count, 1);
        assert!(first.is_some());
        assert!(Waiting::enter(&count, 1).is_none());
        drop(first);
        assert!(Waiting::enter(&count, 1).is_some());
    }
}
