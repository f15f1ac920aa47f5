//! The zone that is in force, and whether it is whole.
//!
//! Invariant: who answers holds one zone from question to answer, and takes no lock.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::SetOnce;

use crate::zone::cluster::Cluster;
use crate::zone::{Authority, Zone};

/// How long a look-up waits for the first zone: at the start of a cluster its pods may be quicker than its lists.
const FIRST_ZONE_PATIENCE: Duration = Duration::from_secs(5);

/// The zone that is in force.
pub(crate) struct Zones {
    current: ArcSwap<Zone>,
    whole: SetOnce<()>,
}

impl Zones {
    /// An empty zone that is not whole: it can tell which names are ours, and nothing more.
    pub(crate) fn new(authority: Arc<Authority>) -> Self {
        let empty = Zone::new(authority, 0, Cluster::default());
        Self { current: ArcSwap::from_pointee(empty), whole: SetOnce::new() }
    }

    /// Puts a whole zone in force.
    pub(crate) fn swap(&self, zone: Zone) {
        self.current.store(Arc::new(zone));
        if !self.is_whole() && self.whole.set(()).is_err() {
            tracing::debug!("the zone became whole twice");
        }
    }

    /// The zone, whole or not.
    pub(crate) fn current(&self) -> Guard<Arc<Zone>> {
        self.current.load()
    }

    /// Whether all Services are known.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.initialized()
    }

    /// The zone, as soon as it is whole, or as it is after some patience.
    pub(crate) async fn whole(&self) -> Guard<Arc<Zone>> {
        if !self.is_whole() && tokio::time::timeout(FIRST_ZONE_PATIENCE, self.whole.wait()).await.is_err() {
            tracing::warn!("names are looked up before the cluster's Services are known");
        }
        self.current()
    }
}
