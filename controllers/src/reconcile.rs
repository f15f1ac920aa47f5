//! The shape that all controllers share: keys come out of a queue, each is reconciled, failures come back later.
//!
//! A controller holds its queue; handlers of the informers feed it. Workers are owned and end with the token.
//! The first change of a burst is looked at at once, the rest together: a key rests for a few times as long as its
//! last look kept a processor, so that ten thousand pods that start are not counted ten thousand times.
//! A look that panics is a failure of its key alone: it comes back later, and the others are not held up. Whatever
//! else panics ends all controllers.

use std::fmt::Display;
use std::future::Future;
use std::future::poll_fn;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info_span, warn};

use crate::events::Recorder;
use crate::informers::Informers;
use crate::queue::Queue;
use crate::refusal::{Refusal, refusal, words};

/// How many times as long as a look the rest after it is: at most a tenth of a processor goes into one key.
const REST_PER_LOOK: u32 = 9;

/// The longest rest: a look that wrote hundreds of objects was busy with them, and the next hundreds wait.
const REST_MAX: Duration = Duration::from_millis(200);

/// What every controller works with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) informers: Arc<Informers>,
    pub(crate) events: Recorder,
}

/// A write or read that failed, and what it was for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    /// The API server refused or could not be reached.
    #[error("{doing}: {}", words(source))]
    Api {
        /// What we were doing, for example `create pod`.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: kube::Error,
    },
    /// The object's own selector makes no sense.
    #[error("read selector: {0}")]
    Selector(#[from] coracle_api::selector::InvalidSelector),
    /// A revision's data makes no sense.
    #[error(transparent)]
    Revision(#[from] crate::statefulset::InvalidRevision),
    /// A claim is on its way out; another of its name comes when it is gone.
    #[error("pvc {0} is being deleted")]
    ClaimGoes(String),
}

impl ReconcileError {
    /// For `map_err`: names what we were doing.
    pub(crate) fn api(doing: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { doing, source }
    }

    /// Whether it only says that somebody else was faster or not done yet, so that the next look will do.
    fn is_race(&self) -> bool {
        match self {
            Self::Api { source, .. } => {
                matches!(refusal(source), Refusal::NotFound | Refusal::Conflict | Refusal::AlreadyExists)
            }
            Self::ClaimGoes(_) => true,
            Self::Selector(_) | Self::Revision(_) => false,
        }
    }

    /// The failure without what we were doing, as events quote it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Api { source, .. } => words(source),
            Self::Selector(_) | Self::Revision(_) | Self::ClaimGoes(_) => self.to_string(),
        }
    }
}

/// What follows a reconciliation that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, until something changes.
    Done,
    /// Another look when so much time has passed.
    After(Duration),
    /// Another look after the key's back-off: what we wait for gives no sign.
    Retry,
}

/// A controller: a name, a queue, and what to do about a key.
pub(crate) trait Controller: Send + Sync + 'static {
    /// What names the unit of work.
    type Key: Clone + Eq + Hash + Display + Send + Sync + 'static;
    /// As it is called in logs.
    const NAME: &'static str;
    /// How many keys are worked on at once (kube-controller-manager's `--concurrent-…-syncs`).
    const WORKERS: usize;

    /// Where its keys wait.
    fn queue(&self) -> &Queue<Self::Key>;

    /// Brings the world of one key a step nearer to what it should be.
    fn reconcile(&self, key: &Self::Key) -> impl Future<Output = Result<Next, ReconcileError>> + Send;
}

/// Starts the workers of a controller.
pub(crate) fn start<C: Controller>(controller: &Arc<C>, tasks: &mut JoinSet<()>, token: &CancellationToken) {
    for _ in 0..C::WORKERS {
        let controller = Arc::clone(controller);
        let token = token.clone();
        tasks.spawn(async move {
            while let Some(key) = token.run_until_cancelled(controller.queue().next()).await {
                let span = info_span!("reconcile", controller = C::NAME, %key);
                let busy = busy(work(controller.as_ref(), &key).instrument(span)).await;
                controller.queue().done(&key, (busy * REST_PER_LOOK).min(REST_MAX));
            }
        });
    }
}

/// How long `work` keeps its thread, from its beginning to its end: what it waits for is not counted.
async fn busy(work: impl Future<Output = ()>) -> Duration {
    let mut work = pin!(work);
    let mut busy = Duration::ZERO;
    poll_fn(|context| {
        let began = Instant::now();
        let poll = work.as_mut().poll(context);
        busy += began.elapsed();
        poll
    })
    .await;
    busy
}

async fn work<C: Controller>(controller: &C, key: &C::Key) {
    let queue = controller.queue();
    // What a look leaves half done is in the API, where the next one sees it; locks of a queue heal themselves.
    let Ok(looked) = AssertUnwindSafe(controller.reconcile(key)).catch_unwind().await else {
        error!("reconciliation panicked, will try again; this is a bug of Coracle's");
        return queue.add_failed(key.clone());
    };
    match looked {
        Ok(Next::Done) => queue.forget(key),
        Ok(Next::After(delay)) => {
            queue.forget(key);
            queue.add_after(key.clone(), delay);
        }
        Ok(Next::Retry) => queue.add_failed(key.clone()),
        Err(error) => {
            if error.is_race() {
                debug!(%error, "lost a race, will look again");
            } else {
                warn!(%error, "reconciliation failed, will try again");
            }
            queue.add_failed(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Panics at the first look at `a`.
    #[derive(Default)]
    struct Stumbles {
        queue: Queue<&'static str>,
        looked: Mutex<Vec<&'static str>>,
        token: CancellationToken,
    }

    impl Controller for Stumbles {
        type Key = &'static str;
        const NAME: &'static str = "stumbles";
        const WORKERS: usize = 1;

        fn queue(&self) -> &Queue<Self::Key> {
            &self.queue
        }

        async fn reconcile(&self, key: &Self::Key) -> Result<Next, ReconcileError> {
            let first = {
                let mut looked = self.looked.lock().unwrap();
                looked.push(key);
                looked.len() == 1
            };
            assert!(!first, "a bug");
            if *key == "a" {
                self.token.cancel();
            }
            Ok(Next::Done)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_panics_is_had_again_and_holds_up_nobody() {
        let (controller, mut tasks) = (Arc::<Stumbles>::default(), JoinSet::new());
        controller.queue.add("a");
        controller.queue.add("b");
        start(&controller, &mut tasks, &controller.token);
        coracle_api::tasks::join(&mut tasks).await;
        assert_eq!(*controller.looked.lock().unwrap(), ["a", "b", "a"]);
    }
}
