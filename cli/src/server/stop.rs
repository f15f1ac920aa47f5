//! Running and stopping, in stages: each stage is told to stop when the one before it has stopped, or took too long.
//!
//! Order: who makes work (controllers, scheduler), then the pods (drained, so that their last status is written),
//! then network and DNS, at last the API server and its store.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::bail;
use coracle_api::limits::SHUTDOWN_GRACE;
use futures::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::signals::Signals;

/// A place in the order of stopping.
pub(crate) type Stage = u8;

/// Controllers and scheduler.
pub(crate) const WORK_MAKERS: Stage = 0;
/// The node agent with its pods.
pub(crate) const PODS: Stage = 1;
/// Service network and DNS.
pub(crate) const NETWORK: Stage = 2;
/// The API server and its store.
pub(crate) const API: Stage = 3;

/// A part's last word: its name, and why it failed if it did.
type Ended = (&'static str, Result<(), String>);

/// The running parts, by stage.
#[derive(Default)]
pub(crate) struct Stages {
    stages: BTreeMap<Stage, Parts>,
}

/// The parts of one stage.
#[derive(Default)]
struct Parts {
    stop: CancellationToken,
    tasks: JoinSet<Ended>,
    /// Those that have not ended.
    left: BTreeSet<&'static str>,
}

/// What a part's `run` may return: nothing, or a reason.
pub(crate) trait RunResult {
    /// The reason as text.
    fn reason(self) -> Result<(), String>;
}

impl RunResult for () {
    fn reason(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: std::error::Error> RunResult for Result<(), E> {
    fn reason(self) -> Result<(), String> {
        self.map_err(|e| e.to_string())
    }
}

impl Stages {
    /// Starts a part in its stage.
    pub(crate) fn spawn<F>(&mut self, stage: Stage, name: &'static str, run: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output: RunResult> + Send + 'static,
    {
        let parts = self.stages.entry(stage).or_default();
        let run = run(parts.stop.clone());
        parts.left.insert(name);
        // Nobody looks at a part again that has panicked.
        let run = AssertUnwindSafe(run).catch_unwind();
        parts
            .tasks
            .spawn(async move { (name, run.await.map_or_else(|panic| Err(in_words(&*panic)), RunResult::reason)) });
    }

    /// Runs until a signal, or until a part ends by itself; then stops the others in order.
    pub(crate) async fn run(mut self, mut signals: Signals) -> anyhow::Result<()> {
        let broken = tokio::select! {
            () = signals.next() => None,
            ended = self.first_to_end() => Some(ended),
        };
        match &broken {
            None => info!("stopping; once more ends at once"),
            Some((name, reason)) => error!(part = name, ?reason, "a part ended by itself; stopping the others"),
        }
        tokio::select! {
            () = self.stop_all() => {}
            () = signals.next() => warn!("stopped at once"),
        }
        match broken {
            None => Ok(()),
            Some((name, Err(reason))) => bail!("{name} failed: {reason}"),
            Some((name, Ok(()))) => bail!("{name} ended by itself"),
        }
    }

    async fn first_to_end(&mut self) -> Ended {
        let ends = self.stages.values_mut().map(|parts| Box::pin(parts.tasks.join_next()));
        let first = futures::future::select_all(ends).await.0;
        match first {
            Some(Ok(ended)) => {
                for parts in self.stages.values_mut() {
                    parts.left.remove(ended.0);
                }
                ended
            }
            Some(Err(panic)) => ("a part", Err(panic.to_string())),
            None => ("a stage", Ok(())),
        }
    }

    async fn stop_all(&mut self) {
        let share = SHUTDOWN_GRACE / u32::try_from(self.stages.len().max(1)).unwrap_or(1);
        for parts in self.stages.values_mut() {
            parts.stop.cancel();
            parts.end(share).await;
        }
    }
}

/// What a panic said.
fn in_words(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked, which is a bug of Coracle's: {}", said.unwrap_or("without a word"))
}

impl Parts {
    /// Waits until all have ended; ends those that take too long.
    async fn end(&mut self, within: Duration) {
        if tokio::time::timeout(within, self.join()).await.is_err() {
            warn!(parts = ?self.left, "did not stop in time and are ended");
            self.tasks.shutdown().await;
        }
    }

    async fn join(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok((part, result)) => {
                    self.left.remove(part);
                    if let Err(reason) = result {
                        warn!(part, reason, "failed while stopping");
                    }
                }
                Err(error) => warn!(%error, "a part broke while stopping"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_ends_the_server_with_its_name_and_its_words() {
        let mut stages = Stages::default();
        stages.spawn(API, "apiserver", |stop| async move { stop.cancelled().await });
        stages.spawn(WORK_MAKERS, "controllers", |stop| async move {
            assert!(stop.is_cancelled(), "no {} is left", "key");
        });
        let ended = stages.run(Signals::listen().unwrap()).await.unwrap_err();
        let expected = "controllers failed: it panicked, which is a bug of Coracle's: no key is left";
        assert_eq!(ended.to_string(), expected);
    }
}
