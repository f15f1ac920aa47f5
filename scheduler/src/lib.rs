//! The scheduler: gives each pod that has no node the node that suits it best, or says why none does.
//!
//! The decision is [`schedule`], a plain function of a pod and a [`Snapshot`]. Around it stands one task that
//! owns all state: it hears of pods and nodes, decides, and sends bindings. It never acts on a clock alone:
//! a pod that fits nowhere is tried again when something changed that could matter.

mod amounts;
mod schedule;
mod snapshot;
mod storage;

mod cycle;
mod events;
mod listing;
mod pending;
mod prepare;

use coracle_api::wellknown::DEFAULT_SCHEDULER;
use kube::Client;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use amounts::Amounts;
pub use schedule::{Reason, Unschedulable, schedule};
pub use snapshot::Snapshot;

/// What can be set about the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Only pods whose `spec.schedulerName` is this are scheduled.
    pub scheduler_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { scheduler_name: DEFAULT_SCHEDULER.to_owned() }
    }
}

/// The scheduler, built and not yet running.
pub struct Scheduler {
    client: Client,
    config: Config,
}

impl Scheduler {
    /// Builds the scheduler on a client that may read pods, nodes, claims, volumes and classes, bind pods, change
    /// claims and volumes, and write events.
    #[must_use]
    pub fn build(client: Client, config: Config) -> Self {
        Self { client, config }
    }

    /// Runs until `token` is cancelled, and returns when all bindings under way have ended.
    pub async fn run(self, token: CancellationToken) {
        cycle::run(self.client, self.config, token).await;
    }
}
