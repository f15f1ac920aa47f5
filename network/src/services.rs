//! Follows Services and EndpointSlices: what they say becomes routes, and routes become listeners.
//!
//! The first change of a burst is routed at once, the rest together: after each pass it rests for a few times
//! as long as the pass took, so that a cluster in motion costs a small part of a processor.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::balancers::Balancers;
use crate::events::Events;
use crate::listeners::Listeners;
use crate::routes::routes;
use crate::table::Table;

/// How many times as long as a pass the rest after it is: at most a tenth of a processor goes into routes.
const REST_PER_PASS: u32 = 9;

/// How often a port that could not be opened is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What is watched for a node's routes.
pub(crate) struct Watch {
    node: String,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    changes: Pin<Box<dyn Stream<Item = Change> + Send>>,
    /// Routes made of half the objects would refuse connections that are fine: both lists must be there first.
    listed: (bool, bool),
}

/// What the network says to people: in events, and in the status of Services.
pub(crate) struct Say {
    pub(crate) events: Events,
    pub(crate) balancers: Balancers,
}

/// What a watch said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Something that the stores do not show yet.
    Partial,
    /// The stores have changed.
    Stored,
    /// All Services are there.
    ServicesListed,
    /// All EndpointSlices are there.
    SlicesListed,
}

impl Watch {
    /// Watches by `client`, for the routes of `node`. Nothing is asked before [`Watch::run`].
    pub(crate) fn new(client: &Client, node: &str) -> Self {
        let (services, service_changes) = watched(Api::<Service>::all(client.clone()), Change::ServicesListed);
        let (slices, slice_changes) = watched(Api::<EndpointSlice>::all(client.clone()), Change::SlicesListed);
        let changes = stream::select(service_changes, slice_changes).boxed();
        Self { node: node.to_owned(), services, slices, changes, listed: (false, false) }
    }

    /// Routes and listens for ever.
    pub(crate) async fn run(mut self, table: Arc<Table>, mut listeners: Listeners, mut say: Say) {
        let mut stale = false;
        let mut rested = Instant::now();
        let mut retry = rested;
        loop {
            let refusals = tokio::select! {
                change = self.changes.next() => match change {
                    Some(change) => {
                        stale |= self.note(change);
                        continue;
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(rested), if stale && self.listed == (true, true) => {
                    stale = false;
                    let began = Instant::now();
                    self.route(&table);
                    let refusals = listeners.follow().await;
                    say.balancers.tell(&self.services.state(), &listeners);
                    rested = Instant::now() + began.elapsed() * REST_PER_PASS;
                    refusals
                }
                () = tokio::time::sleep_until(retry), if listeners.is_waiting() => {
                    retry = Instant::now() + RETRY_PAUSE;
                    let refusals = listeners.retry();
                    say.balancers.tell(&self.services.state(), &listeners);
                    refusals
                }
            };
            refusals.into_iter().for_each(|refusal| say.events.failed_to_bind(refusal));
        }
    }

    /// Whether the routes are stale after a change.
    fn note(&mut self, change: Change) -> bool {
        match change {
            Change::Partial => return false,
            Change::Stored => {}
            Change::ServicesListed => self.listed.0 = true,
            Change::SlicesListed => self.listed.1 = true,
        }
        true
    }

    fn route(&self, table: &Table) {
        let (services, slices) = (self.services.state(), self.slices.state());
        table.route(routes(&self.node, services.iter().map(AsRef::as_ref), slices.iter().map(AsRef::as_ref)));
    }
}

/// A store of all objects of a kind, and what happens to it.
fn watched<K>(api: Api<K>, listed: Change) -> (Store<K>, impl Stream<Item = Change> + Send)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let slim = watch(api, watcher::Config::default()).default_backoff().modify(|object| {
        object.managed_fields_mut().clear();
        object.annotations_mut().clear();
    });
    let changes = reflector::reflector(writer, slim).map(move |event| match event {
        Ok(Event::Apply(_) | Event::Delete(_)) => Change::Stored,
        Ok(Event::Init | Event::InitApply(_)) => Change::Partial,
        Ok(Event::InitDone) => listed,
        Err(error) => {
            tracing::warn!(%error, kind = %K::kind(&()), "the watch broke off and is taken up again");
            Change::Partial
        }
    });
    (store, changes)
}
