//! Tasks that belong to a part and end with it.

use std::panic::resume_unwind;

use tokio::task::{JoinError, JoinSet};

/// Returns when all of them have ended.
///
/// # Panics
/// When one of them did: what it did is done by nobody from then on, so that the part as a whole has failed, and the
/// server stops with its reason.
pub async fn join(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use std::panic::AssertUnwindSafe;

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_takes_its_part_along_and_one_that_is_ended_does_not() {
        let mut tasks = JoinSet::new();
        tasks.spawn(std::future::ready(()));
        tasks.spawn(std::future::pending()).abort();
        join(&mut tasks).await;

        tasks.spawn(std::future::pending());
        tasks.spawn(async { panic!("a bug") });
        let panic = AssertUnwindSafe(join(&mut tasks)).catch_unwind().await.unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"a bug"));
    }
}
