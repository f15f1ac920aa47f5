//! The inboxes of the workers, by the uid of their pods: how another part of the node tells a pod what happened.
//!
//! It only carries; what follows from the news is the lifecycle's to decide.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::mpsc;

use crate::lifecycle::Event;

/// All of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inboxes(Arc<RwLock<BTreeMap<String, mpsc::Sender<Box<Event>>>>>);

impl Inboxes {
    pub(super) fn open(&self, uid: &str, inbox: mpsc::Sender<Box<Event>>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), inbox);
    }

    pub(super) fn close(&self, uid: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Tells the pod's worker; whether there was one to be told.
    pub(crate) async fn tell(&self, uid: &str, event: Event) -> bool {
        let inbox = self.0.read().unwrap_or_else(PoisonError::into_inner).get(uid).cloned();
        match inbox {
            Some(inbox) => inbox.send(Box::new(event)).await.is_ok(),
            None => false,
        }
    }
}
