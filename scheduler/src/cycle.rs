//! The scheduling loop: one task that owns what is known, decides pod by pod, and has bindings sent beside it.
//!
//! Invariant: decisions are made one after another, each on a snapshot that counts all before it. A binding
//! that fails takes its pod off the node again before the next decision.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::clock;
use coracle_api::event::Kind;
use coracle_api::names::{NamespacedName, NodeName, Uid};
use coracle_api::storage::claims_of;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info_span, warn};

use crate::Config;
use crate::amounts::Requests;
use crate::events::{Recorder, recorder};
use crate::listing::{Listing, News, key_of};
use crate::pending::{Attempt, Pending};
use crate::prepare;
use crate::schedule::{self as decision, Preparation, Unschedulable, schedule};
use crate::snapshot::Snapshot;

/// How many bindings and status writes may be under way at once; further pods wait for one to end.
const WRITES_MAX: usize = 64;

/// What a write that ran beside the loop came to.
enum Written {
    Bound { uid: Uid, node: NodeName, result: Result<(), kube::Error> },
    Reported { key: NamespacedName, result: Result<(), kube::Error> },
    Prepared { key: NamespacedName, result: Result<(), kube::Error> },
}

/// A pod whose binding is on its way.
struct Flight {
    key: NamespacedName,
    attempt: Attempt,
    /// The watch has told already where the pod is, or that it is gone; the answer changes nothing.
    settled: bool,
}

/// All that the loop owns.
struct Cycle {
    client: Client,
    config: Config,
    events: Recorder,
    snapshot: Snapshot,
    pending: Pending,
    binding: HashMap<Uid, Flight>,
    writes: JoinSet<Written>,
    pods: Listing,
    nodes: Listing,
    claims: Listing,
    volumes: Listing,
    classes: Listing,
}

/// Schedules until `token` is cancelled.
pub(crate) async fn run(client: Client, config: Config, token: CancellationToken) {
    let (events, scribe) = recorder();
    let mut beside = JoinSet::new();
    beside.spawn(scribe.run(client.clone(), config.scheduler_name.clone(), token.clone()));
    let pods: Api<Pod> = Api::all(client.clone());
    let nodes: Api<Node> = Api::all(client.clone());
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let classes: Api<StorageClass> = Api::all(client.clone());
    let mut pods = std::pin::pin!(watcher(pods, watcher::Config::default()).default_backoff());
    let mut nodes = std::pin::pin!(watcher(nodes, watcher::Config::default()).default_backoff());
    let mut claims = std::pin::pin!(watcher(claims, watcher::Config::default()).default_backoff());
    let mut volumes = std::pin::pin!(watcher(volumes, watcher::Config::default()).default_backoff());
    let mut classes = std::pin::pin!(watcher(classes, watcher::Config::default()).default_backoff());
    let mut cycle = Cycle {
        client,
        config,
        events,
        snapshot: Snapshot::default(),
        pending: Pending::default(),
        binding: HashMap::new(),
        writes: JoinSet::new(),
        pods: Listing::default(),
        nodes: Listing::default(),
        claims: Listing::default(),
        volumes: Listing::default(),
        classes: Listing::default(),
    };
    loop {
        cycle.decide_all();
        let due = cycle.pending.next_due();
        tokio::select! {
            () = token.cancelled() => break,
            Some(event) = pods.next() => match event {
                Ok(event) => cycle.pod_event(event),
                Err(error) => warn!(%error, kind = "Pod", "watch broke off, will list again"),
            },
            Some(event) = nodes.next() => match event {
                Ok(event) => cycle.node_event(event),
                Err(error) => warn!(%error, kind = "Node", "watch broke off, will list again"),
            },
            Some(event) = claims.next() => match event {
                Ok(event) => cycle.claim_event(event),
                Err(error) => warn!(%error, kind = "PersistentVolumeClaim", "watch broke off, will list again"),
            },
            Some(event) = volumes.next() => match event {
                Ok(event) => cycle.volume_event(event),
                Err(error) => warn!(%error, kind = "PersistentVolume", "watch broke off, will list again"),
            },
            Some(event) = classes.next() => match event {
                Ok(event) => cycle.class_event(event),
                Err(error) => warn!(%error, kind = "StorageClass", "watch broke off, will list again"),
            },
            Some(Ok(written)) = cycle.writes.join_next(), if !cycle.writes.is_empty() => cycle.written(written),
            () = coracle_api::tasks::join(&mut beside), if !beside.is_empty() => {}
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
        }
    }
    while cycle.writes.join_next().await.is_some() {}
    while beside.join_next().await.is_some() {}
}

impl Cycle {
    fn pod_event(&mut self, event: watcher::Event<Pod>) {
        for news in self.pods.read(event) {
            match news {
                News::Put(pod) => self.pod_seen(*pod),
                News::Gone(key, uid) => {
                    self.pending.remove(&key);
                    self.settle(&uid);
                    self.left(&uid);
                }
            }
        }
    }

    fn settle(&mut self, uid: &str) {
        if let Some(flight) = Uid::new(uid).ok().and_then(|uid| self.binding.get_mut(&uid)) {
            flight.settled = true;
        }
    }

    fn pod_seen(&mut self, pod: Pod) {
        let key = key_of(&pod);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        if matches!(phase, "Succeeded" | "Failed") {
            self.pending.remove(&key);
            return self.left(&uid);
        }
        if let Some(name) = spec.and_then(|s| s.node_name.as_deref()).filter(|name| !name.is_empty()) {
            self.pending.remove(&key);
            self.settle(&uid);
            if let (Ok(uid), Ok(node)) = (Uid::new(uid), NodeName::new(name)) {
                self.snapshot.place(uid, node, Requests::of(&pod));
            }
            return;
        }
        let wanted =
            spec.and_then(|s| s.scheduler_name.as_deref()).unwrap_or(coracle_api::wellknown::DEFAULT_SCHEDULER);
        let gated = spec.is_some_and(|s| s.scheduling_gates.iter().flatten().next().is_some());
        if wanted != self.config.scheduler_name || gated || pod.metadata.deletion_timestamp.is_some() {
            self.pending.remove(&key);
        } else if Uid::new(uid).is_ok_and(|uid| !self.binding.contains_key(&uid)) {
            self.pending.put(key, Arc::new(pod));
        }
    }

    /// A pod takes no room any more.
    fn left(&mut self, uid: &str) {
        let was_placed = Uid::new(uid).is_ok_and(|uid| self.snapshot.unplace(&uid));
        if was_placed {
            self.pending.wake(Instant::now());
        }
    }

    fn node_event(&mut self, event: watcher::Event<Node>) {
        for news in self.nodes.read(event) {
            match news {
                News::Put(node) => {
                    let Ok(name) = NodeName::new(key_of(node.as_ref()).name) else { continue };
                    if self.snapshot.put_node(name, *node) {
                        self.pending.wake(Instant::now());
                    }
                }
                News::Gone(key, _) => {
                    if let Ok(name) = NodeName::new(key.name) {
                        self.snapshot.remove_node(&name);
                    }
                    // The message of those that fit nowhere counts the nodes.
                    self.pending.wake(Instant::now());
                }
            }
        }
    }

    fn claim_event(&mut self, event: watcher::Event<PersistentVolumeClaim>) {
        for news in self.claims.read(event) {
            let claims = &mut self.snapshot.storage.claims;
            let key = match news {
                News::Put(claim) => {
                    let key = key_of(claim.as_ref());
                    claims.insert(key.clone(), *claim);
                    key
                }
                News::Gone(key, _) => {
                    claims.remove(&key);
                    key
                }
            };
            let uses = |pod: &Pod| {
                pod.metadata.namespace.as_deref() == Some(key.namespace.as_str())
                    && claims_of(pod).iter().any(|used| used.name == key.name)
            };
            self.pending.wake_held(uses);
        }
    }

    fn volume_event(&mut self, event: watcher::Event<PersistentVolume>) {
        for news in self.volumes.read(event) {
            let volumes = &mut self.snapshot.storage.volumes;
            match news {
                News::Put(volume) => {
                    let name = key_of(volume.as_ref()).name;
                    if volumes.insert(name, *volume).is_none() {
                        // News of a claim may come before that of its volume.
                        self.pending.wake_held(|pod| !claims_of(pod).is_empty());
                    }
                }
                News::Gone(key, _) => drop(volumes.remove(&key.name)),
            }
            // It may be the one that a claim on some node lacks.
            self.pending.wake(Instant::now());
        }
    }

    fn class_event(&mut self, event: watcher::Event<StorageClass>) {
        for news in self.classes.read(event) {
            let classes = &mut self.snapshot.storage.classes;
            match news {
                News::Put(class) => drop(classes.insert(key_of(class.as_ref()).name, *class)),
                News::Gone(key, _) => drop(classes.remove(&key.name)),
            }
            self.pending.wake_held(|_| true);
            self.pending.wake(Instant::now());
        }
    }

    /// Decides on every pod whose turn it is, as long as writes have room.
    fn decide_all(&mut self) {
        let known = [&self.pods, &self.nodes, &self.claims, &self.volumes, &self.classes];
        if !known.iter().all(|listing| listing.is_complete()) {
            return;
        }
        while self.writes.len() < WRITES_MAX {
            let Some((key, attempt)) = self.pending.pop(Instant::now()) else { return };
            let _span = info_span!("schedule", pod = %key).entered();
            match schedule(&attempt.pod, &self.snapshot) {
                Ok(node) => match self.preparations(&attempt.pod, &node) {
                    None => self.bind(key, attempt, node),
                    Some(preparations) => self.prepare(key, attempt, node, preparations),
                },
                Err(why) => self.report(key, attempt, &why),
            }
        }
    }

    /// What is to be done for the pod's claims before it may be bound; nothing if they all are.
    fn preparations(&self, pod: &Pod, node: &NodeName) -> Option<Vec<Preparation>> {
        let storage = &self.snapshot.storage;
        let needs = decision::needs(pod, storage).ok().filter(|needs| needs.wait())?;
        decision::prepare(&needs, self.snapshot.node(node)?, storage)
    }

    /// Does it beside the loop; the pod waits for its claims to be bound.
    fn prepare(&mut self, key: NamespacedName, attempt: Attempt, node: NodeName, preparations: Vec<Preparation>) {
        if !preparations.is_empty() {
            let (client, key) = (self.client.clone(), key.clone());
            self.writes.spawn(async move {
                let result = prepare::write(client, node, preparations).await;
                Written::Prepared { key, result }
            });
        }
        self.pending.hold(key, attempt);
    }

    fn bind(&mut self, key: NamespacedName, attempt: Attempt, node: NodeName) {
        let meta = &attempt.pod.metadata;
        let Ok(uid) = Uid::new(meta.uid.clone().unwrap_or_default()) else { return };
        let binding = Binding {
            metadata: ObjectMeta {
                namespace: meta.namespace.clone(),
                name: meta.name.clone(),
                uid: meta.uid.clone(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.to_string()),
                ..ObjectReference::default()
            },
        };
        self.snapshot.place(uid.clone(), node.clone(), Requests::of(&attempt.pod));
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let name = key.name.clone();
        self.binding.insert(uid.clone(), Flight { key, attempt, settled: false });
        self.writes.spawn(async move {
            let result = api.create_subresource::<_, Value>("binding", &name, &PostParams::default(), &binding).await;
            Written::Bound { uid, node, result: result.map(drop) }
        });
    }

    fn report(&mut self, key: NamespacedName, attempt: Attempt, why: &Unschedulable) {
        let message = why.to_string();
        debug!(%message, "pod fits nowhere");
        self.events.say(&attempt.pod, Kind::Warning, "FailedScheduling", message.clone());
        if !says_already(&attempt.pod, &message) {
            let patch = json!({"metadata": {"uid": attempt.pod.metadata.uid}, "status": {"conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                "lastProbeTime": null, "lastTransitionTime": transition(&attempt.pod),
                "observedGeneration": attempt.pod.metadata.generation,
            }]}});
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
            let written = key.clone();
            self.writes.spawn(async move {
                let patch = Patch::Strategic(patch);
                let result = api.patch_status(&written.name, &PatchParams::default(), &patch).await.map(drop);
                Written::Reported { key: written, result }
            });
        }
        if why.is_of_claims() {
            self.pending.hold(key, attempt);
        } else {
            self.pending.park(key, attempt, Instant::now());
        }
    }

    fn written(&mut self, written: Written) {
        match written {
            Written::Reported { key, result } => {
                if let Err(error) = result {
                    debug!(%error, pod = %key, "pod condition not written");
                }
            }
            Written::Prepared { key, result } => {
                if let Err(error) = result {
                    debug!(%error, pod = %key, "claims not prepared, will try again");
                    self.pending.back_off_held(&key, Instant::now());
                }
            }
            Written::Bound { uid, node, result } => {
                let Some(flight) = self.binding.remove(&uid) else { return };
                match result {
                    Ok(()) => {
                        let message = format!("Successfully assigned {} to {node}", flight.key);
                        self.events.say(&flight.attempt.pod, Kind::Normal, "Scheduled", message);
                    }
                    Err(error) if flight.settled => debug!(%error, pod = %flight.key, "pod not bound by us"),
                    Err(error) => self.binding_failed(&uid, flight, &error),
                }
            }
        }
    }

    fn binding_failed(&mut self, uid: &Uid, flight: Flight, error: &kube::Error) {
        self.left(uid.as_str());
        let lost_race = matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409));
        if lost_race {
            debug!(%error, pod = %flight.key, "pod not bound, the watch will tell why");
        } else {
            warn!(%error, pod = %flight.key, "pod not bound, will try again");
            let message = format!("binding rejected: {error}");
            self.events.say(&flight.attempt.pod, Kind::Warning, "FailedScheduling", message);
        }
        self.pending.back_off(flight.key, flight.attempt, Instant::now());
    }
}

fn says_already(pod: &Pod, message: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|c| c.type_ == "PodScheduled" && c.status == "False" && c.message.as_deref() == Some(message))
}

/// Since when the pod is not scheduled: as it says itself, or now.
fn transition(pod: &Pod) -> Value {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let old = conditions.into_iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    json!(old.and_then(|c| c.last_transition_time.clone()).unwrap_or_else(clock::now_time))
}
