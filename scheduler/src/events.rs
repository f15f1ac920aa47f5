//! What the scheduler says about pods, written as `v1` Events by one task beside its work.
//!
//! Saying never waits and never fails: when [`SAID_MAX`] sentences wait, further ones are dropped. Events
//! are for people; nothing may depend on them.

use coracle_api::clock;
use coracle_api::event::{EventLog, EventWrite, Kind, LINGER, Said};
use k8s_openapi::api::core::v1::{Event, ObjectReference, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Error};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// How many sentences may wait to be written: a burst of a thousand pods, twice.
const SAID_MAX: usize = 2048;

/// What says things about pods.
pub(crate) struct Recorder {
    said: mpsc::Sender<Said>,
}

/// The other end of a [`Recorder`].
pub(crate) struct Scribe {
    said: mpsc::Receiver<Said>,
}

/// A recorder and the scribe that writes down what it says.
pub(crate) fn recorder() -> (Recorder, Scribe) {
    let (tx, rx) = mpsc::channel(SAID_MAX);
    (Recorder { said: tx }, Scribe { said: rx })
}

impl Recorder {
    /// Says something about a pod.
    pub(crate) fn say(&self, pod: &Pod, kind: Kind, reason: &str, message: String) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            ..ObjectReference::default()
        };
        if self.said.try_send(Said { about, kind, reason: reason.to_owned(), message }).is_err() {
            debug!(reason, "dropped an event: too many wait");
        }
    }
}

impl Scribe {
    /// Writes events in the name of `component` until `token` is cancelled.
    pub(crate) async fn run(mut self, client: Client, component: String, token: CancellationToken) {
        let mut log = EventLog::new(component, None);
        let mut waiting = Vec::new();
        while token.run_until_cancelled(self.said.recv_many(&mut waiting, SAID_MAX)).await.is_some_and(|said| said > 0)
        {
            sleep(LINGER).await;
            for said in waiting.drain(..) {
                let Some(write) = log.record(&said, clock::now()) else { continue };
                if let Err(error) = send(&client, write).await {
                    debug!(%error, "event not written");
                }
            }
        }
    }
}

async fn send(client: &Client, write: EventWrite) -> Result<(), Error> {
    match write {
        EventWrite::Create(event) => create(client, &event).await,
        EventWrite::Repeat { event, namespace, name, patch } => {
            let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(Error::Api(status)) if status.code == 404 => create(client, &event).await,
                other => other.map(drop),
            }
        }
    }
}

async fn create(client: &Client, event: &Event) -> Result<(), Error> {
    let namespace = event.metadata.namespace.as_deref().unwrap_or(coracle_api::wellknown::NAMESPACE_DEFAULT);
    Api::<Event>::namespaced(client.clone(), namespace).create(&PostParams::default(), event).await.map(drop)
}
