//! Events about pods and the node: said from anywhere, folded and written by one task.
//!
//! The queue is bounded; when it is full, what is said is dropped, since nobody may wait for an event.

use coracle_api::clock;
use coracle_api::event::{EventLog, EventWrite, Kind, LINGER, Said};
use k8s_openapi::api::core::v1::{Event, ObjectReference, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// How many events may wait to be written: some hundred pods starting at once, with a few each.
const QUEUE_MAX: usize = 2048;

/// Says things about objects.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    queue: mpsc::Sender<Said>,
}

impl Speaker {
    /// Says something about a pod, or about one of its containers (`spec.containers{name}`).
    pub(crate) fn pod(&self, pod: &Pod, field: Option<String>, kind: Kind, reason: &str, message: String) {
        let meta = &pod.metadata;
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: field,
        };
        self.say(Said { about, kind, reason: reason.to_owned(), message });
    }

    /// Says something about any other object.
    pub(crate) fn about<K: Resource<DynamicType = ()>>(&self, object: &K, kind: Kind, reason: &str, message: String) {
        let meta = object.meta();
        let about = ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: None,
        };
        self.say(Said { about, kind, reason: reason.to_owned(), message });
    }

    /// Says something about the node.
    pub(crate) fn node(&self, name: &str, kind: Kind, reason: &str, message: String) {
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(name.to_owned()),
            uid: Some(name.to_owned()),
            ..ObjectReference::default()
        };
        self.say(Said { about, kind, reason: reason.to_owned(), message });
    }

    fn say(&self, said: Said) {
        if let Err(error) = self.queue.try_send(said) {
            // Thousands of pods that start at once say more than anybody reads.
            tracing::debug!(%error, "an event was dropped");
        }
    }
}

/// What speaks in the name of the kubelet.
pub(crate) const KUBELET: &str = "kubelet";

/// A speaker in the name of a component of the node, and the task that writes what it says.
pub(crate) fn speaker(client: Client, component: &str, node: String) -> (Speaker, impl Future<Output = ()>) {
    let (queue, said) = mpsc::channel(QUEUE_MAX);
    (Speaker { queue }, write_all(client, EventLog::new(component, Some(node)), said))
}

async fn write_all(client: Client, mut log: EventLog, mut said: mpsc::Receiver<Said>) {
    let mut waiting = Vec::new();
    while said.recv_many(&mut waiting, QUEUE_MAX).await > 0 {
        sleep(LINGER).await;
        for next in waiting.drain(..) {
            let Some(write) = log.record(&next, clock::now()) else { continue };
            let written = match write {
                EventWrite::Create(event) => create(&client, *event).await,
                EventWrite::Repeat { event, namespace, name, patch } => {
                    repeat(&client, *event, &namespace, &name, patch).await
                }
            };
            if let Err(error) = written {
                tracing::debug!(%error, reason = next.reason, "an event could not be written");
            }
        }
    }
}

async fn create(client: &Client, event: Event) -> Result<(), kube::Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), event.metadata.namespace.as_deref().unwrap_or_default());
    api.create(&PostParams::default(), &event).await.map(drop)
}

async fn repeat(client: &Client, event: Event, namespace: &str, name: &str, patch: Value) -> Result<(), kube::Error> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => create(client, event).await,
        other => other.map(drop),
    }
}
