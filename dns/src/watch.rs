//! Follows Services, EndpointSlices and namespaces: what they say becomes the next zone, at once.
//!
//! A change costs what it changes, not what there is: there is nothing to wait for. Changes that have come together
//! make one zone.

use std::pin::Pin;
use std::sync::Arc;

use futures::future::FutureExt;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::book::Book;
use crate::zone::{Authority, Zone};
use crate::zones::Zones;

/// How many changes make one zone at most: who asks meanwhile should not wait for the end of a flood.
const CHANGES_TOGETHER_MAX: usize = 256;

/// What is watched for the zone.
pub(crate) struct Watch {
    authority: Arc<Authority>,
    changes: Pin<Box<dyn Stream<Item = Change> + Send>>,
}

/// What a watch said.
enum Change {
    Service(Box<Event<Service>>),
    Slice(Box<Event<EndpointSlice>>),
    Namespace(Box<Event<Namespace>>),
}

impl Watch {
    /// Watches by `client`. Nothing is asked before [`Watch::run`].
    pub(crate) fn new(client: &Client, authority: Arc<Authority>) -> Self {
        let services =
            watched(Api::all(client.clone()), watcher::Config::default()).map(|event| Change::Service(Box::new(event)));
        let slices =
            watched(Api::all(client.clone()), watcher::Config::default()).map(|event| Change::Slice(Box::new(event)));
        let namespaces = watched(Api::all(client.clone()), watcher::Config::default())
            .map(|event| Change::Namespace(Box::new(event)));
        Self { authority, changes: stream::select_all([services.boxed(), slices.boxed(), namespaces.boxed()]).boxed() }
    }

    /// Makes zones for ever.
    pub(crate) async fn run(mut self, zones: Arc<Zones>) {
        let mut book = Book::default();
        let mut serial = 0_u32;
        while let Some(change) = self.changes.next().await {
            let (mut next, mut together) = (Some(change), 0);
            while let Some(change) = next.take() {
                match change {
                    Change::Service(event) => book.note_service(&event),
                    Change::Slice(event) => book.note_slice(&event),
                    Change::Namespace(event) => book.note_namespace(&event),
                }
                together += 1;
                if together < CHANGES_TOGETHER_MAX {
                    next = self.changes.next().now_or_never().flatten();
                }
            }
            if let Some(cluster) = book.changed() {
                serial = serial.wrapping_add(1);
                zones.swap(Zone::new(Arc::clone(&self.authority), serial, cluster));
            }
        }
    }
}

/// What happens to the objects of a kind.
pub(crate) fn watched<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, Event<K>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let events = watcher(api, config).default_backoff();
    let told = events.filter_map(|event| async {
        event
            .inspect_err(
                |error| tracing::warn!(%error, kind = %K::kind(&()), "the watch broke off and is taken up again"),
            )
            .ok()
    });
    told.boxed()
}
