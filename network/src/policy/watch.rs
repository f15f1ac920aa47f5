//! Follows NetworkPolicies and Namespaces, and while there is a policy, pods: what they say is in force at once.
//!
//! A change costs what it changes: a policy or namespace all rules anew (they are few, and compiled once each), a pod
//! its own entry. There is no rest between two changes, since none is the work of many.

use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::members::Told;
use super::rules::{Labels, Policy, Rules};
use crate::table::Table;

/// What happens to the objects of a kind, for ever.
type Events<K> = Pin<Box<dyn Stream<Item = Event<K>> + Send>>;

/// What is watched for policies.
pub(crate) struct Watch {
    client: Client,
    policies: Listed<Policy>,
    namespaces: Listed<Labels>,
    /// The pods of a list that has not ended.
    pods: HashMap<String, Told>,
}

/// The objects of a kind, as far as they matter.
struct Listed<V> {
    now: HashMap<String, Arc<V>>,
    /// A list that has not ended; it replaces what is there.
    next: HashMap<String, Arc<V>>,
    is_known: bool,
}

impl Watch {
    /// Watches by `client`. Nothing is asked before [`Watch::run`].
    pub(crate) fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            policies: Listed::default(),
            namespaces: Listed::default(),
            pods: HashMap::new(),
        }
    }

    /// Lets the table's policies be what the objects say, for ever.
    pub(crate) async fn run(mut self, table: Arc<Table>) {
        let mut policies = events::<NetworkPolicy>(&self.client);
        let mut namespaces = events::<Namespace>(&self.client);
        let mut pods: Option<Events<Pod>> = None;
        loop {
            let changed = tokio::select! {
                Some(event) = policies.next() => self.policies.take(event, name_of, Policy::new),
                Some(event) = namespaces.next() => self.namespaces.take(event, Namespace::name_any, labels_of),
                Some(event) = next_of(&mut pods) => {
                    self.take_pod(&table, event);
                    false
                }
                else => return,
            };
            if changed && self.policies.is_known && self.namespaces.is_known {
                self.enforce(&table);
                if self.policies.now.is_empty() {
                    pods = None;
                    table.policies().members.listed(HashMap::new());
                } else if pods.is_none() {
                    pods = Some(events::<Pod>(&self.client));
                }
            }
        }
    }

    fn enforce(&self, table: &Table) {
        let rules = if self.policies.now.is_empty() {
            Rules::default()
        } else {
            let namespaces = self.namespaces.now.iter().map(|(name, labels)| (name.clone(), Arc::clone(labels)));
            Rules::new(namespaces, self.policies.now.values().cloned())
        };
        table.policies().enforce(rules);
    }

    fn take_pod(&mut self, table: &Table, event: Event<Pod>) {
        let members = &table.policies().members;
        match event {
            Event::Init => self.pods.clear(),
            Event::InitApply(pod) => self.pods.extend(Told::by(&pod)),
            Event::InitDone => members.listed(std::mem::take(&mut self.pods)),
            Event::Apply(pod) => members.told(&pod),
            Event::Delete(pod) => members.gone(&pod),
        }
    }
}

impl<V> Default for Listed<V> {
    fn default() -> Self {
        Self { now: HashMap::new(), next: HashMap::new(), is_known: false }
    }
}

impl<V: PartialEq> Listed<V> {
    /// Takes in an event; tells whether anything that matters has changed.
    fn take<K>(&mut self, event: Event<K>, name: impl Fn(&K) -> String, read: impl Fn(&K) -> V) -> bool {
        match event {
            Event::Init => self.next.clear(),
            Event::InitApply(object) => {
                self.next.insert(name(&object), Arc::new(read(&object)));
            }
            Event::InitDone => {
                self.now = std::mem::take(&mut self.next);
                self.is_known = true;
                return true;
            }
            Event::Apply(object) => {
                let value = Arc::new(read(&object));
                let before = self.now.insert(name(&object), Arc::clone(&value));
                return before.is_none_or(|before| before != value);
            }
            Event::Delete(object) => return self.now.remove(&name(&object)).is_some(),
        }
        false
    }
}

/// All that happens to a kind's objects, from the first list on.
fn events<K>(client: &Client) -> Events<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let watched = watch(Api::<K>::all(client.clone()), watcher::Config::default()).default_backoff();
    let good = watched.filter_map(|event| {
        std::future::ready(match event {
            Ok(event) => Some(event),
            Err(error) => {
                tracing::warn!(%error, kind = %K::kind(&()), "the watch broke off and is taken up again");
                None
            }
        })
    });
    // What is listed is in force until the next list is whole, so a watch that breaks off opens nothing.
    good.chain(stream::pending()).boxed()
}

/// The next event, or none ever if nothing is watched.
async fn next_of<K>(events: &mut Option<Events<K>>) -> Option<Event<K>> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// A policy's name, with its namespace.
fn name_of(policy: &NetworkPolicy) -> String {
    format!("{}/{}", policy.namespace().unwrap_or_default(), policy.name_any())
}

fn labels_of(namespace: &Namespace) -> Labels {
    namespace.metadata.labels.clone().unwrap_or_default()
}
