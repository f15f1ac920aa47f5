//! The containers that run now, for those who join them: by namespace, pod and container.
//!
//! Invariant: what is here runs, or has just ended; a namesake's container is never taken for it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use coracle_wasm::Sandbox;

use super::Shared;
use super::late::Late;
use crate::console::Console;

/// A container that runs.
pub(crate) struct Live {
    /// Its id, without the scheme.
    pub(crate) id: String,
    pub(crate) sandbox: Sandbox,
    pub(crate) console: Arc<Console>,
    /// Whether the node's own tools may be run in it.
    pub(crate) has_tools: bool,
    /// What is to be made before somebody looks into it.
    pub(super) late: Option<Arc<Late>>,
}

impl Live {
    /// Makes all of its directories, for somebody who is about to look into them.
    pub(crate) async fn show(&self, shared: &Arc<Shared>) {
        if let (Some(late), Some(launch)) = (&self.late, self.sandbox.launch()) {
            late.show(shared, launch.directories).await;
        }
    }
}

type Key = (String, String, String);

/// All of them.
#[derive(Clone, Default)]
pub(crate) struct Lives(Arc<RwLock<BTreeMap<Key, Arc<Live>>>>);

impl Lives {
    /// The container began to run. It is known until the guard goes.
    pub(super) fn begin(&self, namespace: &str, pod: &str, container: &str, live: Live) -> Guard {
        let key = (namespace.to_owned(), pod.to_owned(), container.to_owned());
        let live = Arc::new(live);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), Arc::clone(&live));
        Guard { lives: self.clone(), key, live }
    }

    /// The container of this name, if it runs.
    pub(crate) fn get(&self, namespace: &str, pod: &str, container: &str) -> Option<Arc<Live>> {
        let key = (namespace.to_owned(), pod.to_owned(), container.to_owned());
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }
}

/// Forgets the container when it goes, unless a namesake has taken its place.
pub(super) struct Guard {
    lives: Lives,
    key: Key,
    live: Arc<Live>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut lives = self.lives.0.write().unwrap_or_else(PoisonError::into_inner);
        if lives.get(&self.key).is_some_and(|live| Arc::ptr_eq(live, &self.live)) {
            lives.remove(&self.key);
        }
    }
}
