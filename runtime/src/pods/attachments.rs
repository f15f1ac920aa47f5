//! Where the pods of this node are in the network, for those who connect to them from outside: the kubelet's own API.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use coracle_api::meet::Attachment;
use tokio_util::sync::CancellationToken;

/// A pod that has a place in the network.
#[derive(Clone)]
pub(crate) struct Attached {
    pub(crate) uid: String,
    pub(crate) attachment: Arc<dyn Attachment>,
    /// Cancelled when the pod gives its place back: who holds this is to let go of it then.
    pub(crate) gone: CancellationToken,
}

/// All of them, by uid.
#[derive(Clone, Default)]
pub(crate) struct Attachments(Arc<RwLock<BTreeMap<String, Attached>>>);

impl Attachments {
    /// The pod has this place from now on.
    pub(super) fn set(&self, uid: &str, attachment: Arc<dyn Attachment>) {
        let attached = Attached { uid: uid.to_owned(), attachment, gone: CancellationToken::new() };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), attached);
    }

    /// The pod has given its place back.
    pub(super) fn remove(&self, uid: &str) {
        if let Some(attached) = self.0.write().unwrap_or_else(PoisonError::into_inner).remove(uid) {
            attached.gone.cancel();
        }
    }

    /// The place of the pod, or nothing if it has none.
    pub(crate) fn get(&self, uid: &str) -> Option<Attached> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }
}
