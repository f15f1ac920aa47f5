//! The tasks of all connections: they end together when the network does.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs tasks, and knows when none is left. Its clones run the same.
#[derive(Clone, Default)]
pub(super) struct Tasks {
    running: TaskTracker,
    ended: CancellationToken,
}

impl Tasks {
    /// Runs a task until it is done or everything ends.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        self.running.spawn(async move { ended.run_until_cancelled_owned(task).await.unwrap_or(()) });
    }

    /// Waits until all have come to their end.
    pub(super) async fn done(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Ends what is left.
    pub(super) async fn end(&self) {
        self.ended.cancel();
        self.done().await;
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(async move { drop(task.await) });
    }
}
