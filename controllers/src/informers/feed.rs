//! The watch that fills an informer, for as long as the component runs.
//!
//! It refuses to give up: whatever breaks is tried again with kube's back-off, and the list that follows
//! mends what was missed.

use std::sync::Arc;

use futures::StreamExt;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::cache::{Cached, Informer, Intake};

/// Watches what `config` selects until `token` is cancelled.
pub(crate) async fn feed<K: Cached>(
    api: Api<K>,
    config: watcher::Config,
    informer: Arc<Informer<K>>,
    token: CancellationToken,
) {
    let mut intake = Intake::new(informer);
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    while let Some(Some(event)) = token.run_until_cancelled(events.next()).await {
        match event {
            Ok(event) => intake.apply(event),
            Err(error) => warn!(%error, kind = %K::kind(&()), "watch broke off, will list again"),
        }
    }
}
