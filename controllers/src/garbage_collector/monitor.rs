//! What the graph is fed with: the informers for the kinds that have one, and a watch of metadata for all others.
//!
//! Which others there are is asked of the API server at the start, when a CustomResourceDefinition changes,
//! and every [`REDISCOVERY`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, ResourceExt};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::GarbageCollector;
use crate::discovery::{Resource, resources};
use crate::informers::{Cached, Change, Informer};

/// How often to ask for kinds that came or went without a sign. Rare: it is the only work of an idle cluster.
const REDISCOVERY: Duration = Duration::from_secs(600);

/// How soon to ask again after the API server could not answer.
const REDISCOVERY_RETRY: Duration = Duration::from_secs(5);

/// What many events of one kind do to each other is told by the objects themselves: nobody owns an event.
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];

/// The resource whose changes mean that there are other resources.
const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

/// Lets the collector hear of every kind that has an informer.
pub(crate) fn hear_informers(collector: &Arc<GarbageCollector>) {
    let informers = &collector.context.informers;
    hear(collector, &informers.pods);
    hear(collector, &informers.replicasets);
    hear(collector, &informers.deployments);
    hear(collector, &informers.services);
    hear(collector, &informers.slices);
    hear(collector, &informers.endpoints);
    hear(collector, &informers.namespaces);
    hear(collector, &informers.nodes);
    hear(collector, &informers.leases);
    hear(collector, &informers.accounts);
    hear(collector, &informers.budgets);
}

/// The resources of [`hear_informers`], by group and plural.
const HEARD: [(&str, &str); 11] = [
    ("", "pods"),
    ("apps", "replicasets"),
    ("apps", "deployments"),
    ("", "services"),
    ("discovery.k8s.io", "endpointslices"),
    ("", "endpoints"),
    ("", "namespaces"),
    ("", "nodes"),
    ("coordination.k8s.io", "leases"),
    ("", "serviceaccounts"),
    ("policy", "poddisruptionbudgets"),
];

fn hear<K: Cached>(collector: &Arc<GarbageCollector>, informer: &Informer<K>) {
    let api = ApiResource::erase::<K>(&());
    let heard = Arc::clone(collector);
    informer.on_change(move |change| match change {
        Change::Added(object) => heard.observe(&api, object.meta()),
        Change::Updated { old, new } => {
            if concerns(old.meta()) != concerns(new.meta()) {
                heard.observe(&api, new.meta());
            }
        }
        Change::Deleted(object) => heard.gone(object.meta().uid.as_deref().unwrap_or_default()),
    });
}

/// What of an object the graph is made of.
fn concerns(meta: &ObjectMeta) -> impl PartialEq + '_ {
    (&meta.uid, &meta.owner_references, &meta.finalizers, &meta.deletion_timestamp)
}

/// Watches all kinds that have no informer, until `token` is cancelled.
pub(crate) async fn watch_others(collector: Arc<GarbageCollector>, token: CancellationToken) {
    let mut tasks = JoinSet::new();
    let mut watched: BTreeMap<(String, String), CancellationToken> = BTreeMap::new();
    let definitions_changed = Arc::new(Notify::new());
    while !token.is_cancelled() {
        let delay = match resources(&collector.context.client).await {
            Ok(all) => {
                let all: Vec<_> = all.into_iter().map(Arc::new).collect();
                collector.learn(all.iter().cloned());
                watched.retain(|key, stop| {
                    let stays = all.iter().any(|r| r.is(&key.0, &key.1));
                    if !stays {
                        stop.cancel();
                    }
                    stays
                });
                for resource in all.iter().filter(|r| is_watched(r)) {
                    let key = (resource.api.group.clone(), resource.api.plural.clone());
                    watched.entry(key).or_insert_with(|| {
                        let stop = token.child_token();
                        let notify =
                            resource.is(DEFINITIONS.0, DEFINITIONS.1).then(|| Arc::clone(&definitions_changed));
                        tasks.spawn(watch_one(Arc::clone(&collector), resource.api.clone(), notify, stop.clone()));
                        stop
                    });
                }
                REDISCOVERY
            }
            Err(error) => {
                warn!(%error, "could not ask which resources there are, will ask again");
                REDISCOVERY_RETRY
            }
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = definitions_changed.notified() => {}
            () = tokio::time::sleep(delay) => {}
        }
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
}

fn is_watched(resource: &Resource) -> bool {
    let listed = |list: &[(&str, &str)]| list.iter().any(|(group, plural)| resource.is(group, plural));
    resource.can(&["list", "watch", "delete"]) && !listed(&HEARD) && !listed(&IGNORED)
}

/// Feeds the graph with one kind. It remembers UIDs only, to tell of what vanished while the watch was broken.
async fn watch_one(
    collector: Arc<GarbageCollector>,
    api: ApiResource,
    changed: Option<Arc<Notify>>,
    token: CancellationToken,
) {
    let objects: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(collector.context.client.clone(), &api);
    let mut events = std::pin::pin!(watch(objects, watcher::Config::default()).default_backoff());
    let mut known: HashMap<String, bool> = HashMap::new();
    while let Some(Some(event)) = token.run_until_cancelled(events.next()).await {
        match event {
            Ok(Event::Init) => known.values_mut().for_each(|listed| *listed = false),
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                known.insert(object.uid().unwrap_or_default(), true);
                collector.observe(&api, &object.metadata);
            }
            Ok(Event::Delete(object)) => {
                let uid = object.uid().unwrap_or_default();
                known.remove(&uid);
                collector.gone(&uid);
            }
            Ok(Event::InitDone) => {
                known.retain(|uid, listed| {
                    if !*listed {
                        collector.gone(uid);
                    }
                    *listed
                });
            }
            Err(error) => {
                debug!(%error, kind = %api.kind, "watch broke off, will list again");
                continue;
            }
        }
        if let Some(changed) = &changed {
            changed.notify_one();
        }
    }
    // The kind is gone, or we are; what it had is no longer known to exist or not, so nothing is concluded.
}
