//! Follows Services and EndpointSlices: what they say becomes the next zone.
//!
//! The first change of a burst is answered for at once, the rest together: after each pass it rests for a few times
//! as long as the pass took, so that a cluster in motion costs a small part of a processor.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::zone::Zone;
use crate::zones::Zones;

/// How many times as long as a pass the rest after it is: at most a tenth of a processor goes into zones.
const REST_PER_PASS: u32 = 9;

/// What is watched for the zone.
pub(crate) struct Watch {
    domain: Name,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    changes: Pin<Box<dyn Stream<Item = Change> + Send>>,
    /// A zone made of half the objects would deny names that exist: both lists must be there first.
    listed: (bool, bool),
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
    /// Watches by `client`, for the zone `domain`. Nothing is asked before [`Watch::run`].
    pub(crate) fn new(client: &Client, domain: &Name) -> Self {
        let (services, service_changes) = watched(Api::<Service>::all(client.clone()), Change::ServicesListed);
        let (slices, slice_changes) = watched(Api::<EndpointSlice>::all(client.clone()), Change::SlicesListed);
        let changes = stream::select(service_changes, slice_changes).boxed();
        Self { domain: domain.clone(), services, slices, changes, listed: (false, false) }
    }

    /// Makes zones for ever.
    pub(crate) async fn run(mut self, zones: Arc<Zones>) {
        let mut stale = false;
        let mut rested = Instant::now();
        let mut serial = 0_u32;
        loop {
            tokio::select! {
                change = self.changes.next() => match change {
                    Some(change) => stale |= self.note(change),
                    None => return,
                },
                () = tokio::time::sleep_until(rested), if stale && self.listed == (true, true) => {
                    stale = false;
                    serial = serial.wrapping_add(1);
                    let began = Instant::now();
                    zones.swap(self.zone(serial));
                    rested = Instant::now() + began.elapsed() * REST_PER_PASS;
                }
            }
        }
    }

    /// Whether the zone is stale after a change.
    fn note(&mut self, change: Change) -> bool {
        match change {
            Change::Partial => return false,
            Change::Stored => {}
            Change::ServicesListed => self.listed.0 = true,
            Change::SlicesListed => self.listed.1 = true,
        }
        true
    }

    fn zone(&self, serial: u32) -> Zone {
        let (services, slices) = (self.services.state(), self.slices.state());
        Zone::new(&self.domain, serial, services.iter().map(AsRef::as_ref), slices.iter().map(AsRef::as_ref))
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
