//! Follows Services and EndpointSlices: what they say becomes routes, and routes become listeners.
//!
//! The first change of a burst is routed at once, the rest together: after each pass it rests for a few times
//! as long as the pass took, so that a cluster in motion costs a small part of a processor.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::wellknown::PREFIX;
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::balancers::Balancers;
use crate::book::Book;
use crate::events::Events;
use crate::listeners::Listeners;
use crate::routes::Front;
use crate::table::Table;
use crate::wake::Doors;

/// How many times as long as a pass the rest after it is: at most a tenth of a processor goes into routes.
const REST_PER_PASS: u32 = 9;

/// How often a port that could not be opened is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What is watched for a node's routes.
pub(crate) struct Watch {
    book: Book,
    changes: Pin<Box<dyn Stream<Item = Change> + Send>>,
}

/// What the network says to people: in events, and in the status of Services.
pub(crate) struct Say {
    pub(crate) events: Events,
    pub(crate) balancers: Balancers,
}

/// What a watch said.
enum Change {
    Service(Box<Event<Service>>),
    Slice(Box<Event<EndpointSlice>>),
}

impl Watch {
    /// Watches by `client`, for the routes of `node`. Nothing is asked before [`Watch::run`].
    pub(crate) fn new(client: &Client, node: &str) -> Self {
        let services = watched(Api::<Service>::all(client.clone())).map(|event| Change::Service(Box::new(event)));
        let slices = watched(Api::<EndpointSlice>::all(client.clone())).map(|event| Change::Slice(Box::new(event)));
        Self { book: Book::new(node), changes: stream::select(services, slices).boxed() }
    }

    /// Routes and listens for ever.
    pub(crate) async fn run(mut self, table: Arc<Table>, mut listeners: Listeners, mut doors: Doors, mut say: Say) {
        let (mut rested, addresses) = (Instant::now(), listeners.changes());
        let mut retry = rested;
        loop {
            let refusals = tokio::select! {
                change = self.changes.next() => match change {
                    Some(Change::Service(event)) => {
                        self.book.note_service(*event);
                        continue;
                    }
                    Some(Change::Slice(event)) => {
                        self.book.note_slice(*event);
                        continue;
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(rested), if self.book.is_stale() && self.book.is_whole() => {
                    let began = Instant::now();
                    let changes = self.book.changes();
                    let fronts: Vec<Front> = changes.iter().map(|(front, _)| *front).collect();
                    table.sleepers().set(self.book.sleepy());
                    table.route(changes);
                    doors.follow(self.book.sleepy_ports());
                    let refusals = listeners.follow(&fronts).await;
                    self.book.conflicts(&fronts).into_iter().for_each(|refusal| say.events.tell(refusal));
                    say.balancers.tell(self.book.balanced(), &listeners);
                    rested = Instant::now() + began.elapsed() * REST_PER_PASS;
                    refusals
                }
                () = addresses.next() => {
                    listeners.follow_addresses().await;
                    continue;
                }
                () = tokio::time::sleep_until(retry), if listeners.is_waiting() => {
                    retry = Instant::now() + RETRY_PAUSE;
                    let refusals = listeners.retry();
                    say.balancers.tell(self.book.balanced(), &listeners);
                    refusals
                }
            };
            refusals.into_iter().for_each(|refusal| say.events.refused(refusal));
        }
    }
}

/// Whether an annotation is one that we give a meaning to.
fn is_ours(annotation: &str) -> bool {
    annotation.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with('/'))
}

/// What happens to the objects of a kind, without what routes never depend on.
fn watched<K>(api: Api<K>) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let slim = watch(api, watcher::Config::default()).default_backoff().modify(|object| {
        object.managed_fields_mut().clear();
        object.annotations_mut().retain(|name, _| is_ours(name));
    });
    slim.filter_map(|event| {
        std::future::ready(match event {
            Ok(event) => Some(event),
            Err(error) => {
                tracing::warn!(%error, kind = %K::kind(&()), "the watch broke off and is taken up again");
                None
            }
        })
    })
}
