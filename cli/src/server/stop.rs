//! Running and stopping, in stages: each stage is told to stop when the one before it has stopped, or took too long.
//!
//! Order: who makes work (controllers, scheduler), then the pods (drained, so that their last status is written),
//! then network and DNS, at last the API server and its store.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use anyhow::bail;
use coracle_api::limits::SHUTDOWN_GRACE;
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
    stages: BTreeMap<Stage, (CancellationToken, JoinSet<Ended>)>,
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
        let (token, tasks) = self.stages.entry(stage).or_default();
        let run = run(token.clone());
        tasks.spawn(async move { (name, run.await.reason()) });
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
        let ends = self.stages.values_mut().map(|(_, tasks)| Box::pin(tasks.join_next()));
        match futures::future::select_all(ends).await.0 {
            Some(Ok(ended)) => ended,
            Some(Err(panic)) => ("a part", Err(panic.to_string())),
            None => ("a stage", Ok(())),
        }
    }

    async fn stop_all(&mut self) {
        let share = SHUTDOWN_GRACE / u32::try_from(self.stages.len().max(1)).unwrap_or(1);
        for (token, tasks) in self.stages.values_mut() {
            token.cancel();
            stop_stage(tasks, share).await;
        }
    }
}

async fn stop_stage(tasks: &mut JoinSet<Ended>, within: Duration) {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok((_, Ok(()))) => {}
                Ok((part, Err(reason))) => warn!(part, reason, "failed while stopping"),
                Err(error) => warn!(%error, "a part broke while stopping"),
            }
        }
    };
    if tokio::time::timeout(within, all).await.is_err() {
        warn!("a part did not stop in time and is ended");
        tasks.shutdown().await;
    }
}
