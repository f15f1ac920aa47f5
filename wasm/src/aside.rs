//! Threads apart, on which guests compute for long: those that serve connections stay free, and come first.
//!
//! They stand back in the system's eyes, too, so that whoever answers on this machine (the API, a pod's connections, a
//! neighbour of ours) need not wait for a time slice of who computes. A thread that stands back may not come forward
//! again without privilege, so these threads do nothing else.
//!
//! A guest goes there for one turn and comes back. Invariant: who sent it waits for it before letting it go, so that
//! nothing of a guest is left when its container has ended.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::block_in_place;

/// How much the threads stand back: a tenth of the weight of the others, so that a busy machine still runs them.
const NICENESS: i32 = 10;

/// The threads. They come with use and go again.
pub(super) struct Aside(Option<Runtime>);

impl Aside {
    /// So many threads at most.
    ///
    /// # Errors
    /// An I/O error when the system has none.
    pub(super) fn new(threads: usize) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        let builder =
            builder.max_blocking_threads(threads.max(1)).thread_name("guest-long").on_thread_start(stand_back);
        Ok(Self(Some(builder.build()?)))
    }

    /// Has `guest` take its turn there, with the world of this runtime around it. `waker` is woken when it is back.
    pub(super) fn send<G, T>(
        &self,
        mut guest: G,
        waker: Waker,
        turn: impl FnOnce(&mut G, &mut Context<'_>) -> T + Send + 'static,
    ) -> Arc<Trip<G, T>>
    where
        G: Send + 'static,
        T: Send + 'static,
    {
        let trip =
            Arc::new(Trip { back: Mutex::new(Back { come: None, waker: waker.clone() }), has_come: Condvar::new() });
        let (there, world) = (trip.clone(), Handle::current());
        let job = move || {
            let _world = world.enter();
            let mut context = Context::from_waker(&waker);
            let result = catch_unwind(AssertUnwindSafe(|| turn(&mut guest, &mut context)));
            there.come_back(guest, result);
        };
        if let Some(threads) = &self.0 {
            threads.spawn_blocking(job);
        }
        trip
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // A runtime that is dropped would wait for its threads, which may not be done where it is dropped.
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

#[cfg(target_os = "linux")]
fn stand_back() {
    // A kernel that does not let it stand back runs it as any other.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
}

/// Other systems have one priority for all threads of a process.
#[cfg(not(target_os = "linux"))]
fn stand_back() {}

/// What came of a turn, or the panic that ended it.
type Outcome<T> = Result<T, Box<dyn Any + Send>>;

/// A guest on its way there and back.
pub(super) struct Trip<G, T> {
    back: Mutex<Back<G, T>>,
    has_come: Condvar,
}

struct Back<G, T> {
    come: Option<(G, Outcome<T>)>,
    waker: Waker,
}

impl<G, T> Trip<G, T> {
    /// The guest when it is back, and what came of its turn.
    pub(super) fn poll_back(&self, context: &mut Context<'_>) -> Poll<(G, Outcome<T>)> {
        let mut back = self.lock();
        match back.come.take() {
            Some(come) => Poll::Ready(come),
            None => {
                back.waker.clone_from(context.waker());
                Poll::Pending
            }
        }
    }

    /// The same, waiting: for no longer than a turn takes.
    pub(super) fn wait(&self) -> Option<G> {
        block_in_place(|| {
            let mut back = self.has_come.wait_while(self.lock(), |back| back.come.is_none());
            let back = back.as_mut().unwrap_or_else(|poisoned| poisoned.get_mut());
            back.come.take().map(|(guest, _)| guest)
        })
    }

    fn come_back(&self, guest: G, result: Outcome<T>) {
        let waker = {
            let mut back = self.lock();
            back.come = Some((guest, result));
            back.waker.clone()
        };
        self.has_come.notify_all();
        waker.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Back<G, T>> {
        self.back.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
