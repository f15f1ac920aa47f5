//! All objects of a kind, followed: a store of them, and word of each change.

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// All objects of a kind.
pub(crate) struct Watched<K: Resource<DynamicType = ()> + Clone + 'static> {
    pub(crate) store: Store<K>,
    changes: BoxStream<'static, Seen>,
    /// Whether all are there.
    pub(crate) is_listed: bool,
}

/// What a watch said.
enum Seen {
    /// Something that the store does not show yet.
    Partial,
    /// The store has changed.
    Stored,
    /// All are there.
    Listed,
}

impl<K> Watched<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Follows by `client` what `config` chooses; what `slim` takes away of an object is not kept.
    pub(crate) fn new(client: &Client, config: watcher::Config, slim: fn(&mut K)) -> Self {
        let (store, writer) = reflector::store();
        let kept = watcher(Api::<K>::all(client.clone()), config).default_backoff();
        let kept = kept.modify(move |object| {
            object.managed_fields_mut().clear();
            slim(object);
        });
        let changes = reflector::reflector(writer, kept).map(|event| match event {
            Ok(Event::Apply(_) | Event::Delete(_)) => Seen::Stored,
            Ok(Event::Init | Event::InitApply(_)) => Seen::Partial,
            Ok(Event::InitDone) => Seen::Listed,
            Err(error) => {
                tracing::warn!(%error, kind = %K::kind(&()), "the watch broke off and is taken up again");
                Seen::Partial
            }
        });
        Self { store, changes: changes.boxed(), is_listed: false }
    }

    /// Waits until the store has changed.
    pub(crate) async fn changed(&mut self) {
        loop {
            match self.changes.next().await {
                Some(Seen::Partial) => {}
                Some(Seen::Stored) => return,
                Some(Seen::Listed) => {
                    self.is_listed = true;
                    return;
                }
                None => std::future::pending().await,
            }
        }
    }
}
