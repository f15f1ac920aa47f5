//! What controllers say about objects, written as `v1` Events by one task beside their work.
//!
//! Saying never waits and never fails: when [`SAID_MAX`] sentences wait, further ones are dropped. Events
//! are for people; nothing may depend on them.

use std::collections::HashMap;

use coracle_api::clock;
use coracle_api::event::{EventLog, EventWrite, Kind, LINGER, Said};
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::ownership::reference;
use crate::refusal::{Refusal, refusal};

/// How many sentences may wait to be written: a few per pod of the largest burst that a ReplicaSet makes.
const SAID_MAX: usize = 2048;

/// What says things about objects.
#[derive(Clone)]
pub(crate) struct Recorder {
    said: mpsc::Sender<(&'static str, Said)>,
}

/// The other end of a [`Recorder`].
pub(crate) struct Scribe {
    said: mpsc::Receiver<(&'static str, Said)>,
}

/// A recorder and the scribe that writes down what it says.
pub(crate) fn recorder() -> (Recorder, Scribe) {
    let (tx, rx) = mpsc::channel(SAID_MAX);
    (Recorder { said: tx }, Scribe { said: rx })
}

impl Recorder {
    /// Says that all is well with `object`, in the name of `component`.
    pub(crate) fn normal<K: Resource<DynamicType = ()>>(
        &self,
        component: &'static str,
        object: &K,
        reason: &str,
        message: String,
    ) {
        self.say(component, reference(object), Kind::Normal, reason, message);
    }

    /// Says that something about `object` wants a look, in the name of `component`.
    pub(crate) fn warning<K: Resource<DynamicType = ()>>(
        &self,
        component: &'static str,
        object: &K,
        reason: &str,
        message: String,
    ) {
        self.say(component, reference(object), Kind::Warning, reason, message);
    }

    /// The same about an object of whatever kind.
    pub(crate) fn warning_about(&self, component: &'static str, about: ObjectReference, reason: &str, message: String) {
        self.say(component, about, Kind::Warning, reason, message);
    }

    fn say(&self, component: &'static str, about: ObjectReference, kind: Kind, reason: &str, message: String) {
        let said = Said { about, kind, reason: reason.to_owned(), message };
        if self.said.try_send((component, said)).is_err() {
            debug!(component, reason, "dropped an event: too many wait");
        }
    }
}

impl Scribe {
    /// Writes events until `token` is cancelled.
    pub(crate) async fn run(mut self, client: Client, token: CancellationToken) {
        let mut logs: HashMap<&'static str, EventLog> = HashMap::new();
        let mut waiting = Vec::new();
        while token.run_until_cancelled(self.said.recv_many(&mut waiting, SAID_MAX)).await.is_some_and(|said| said > 0)
        {
            sleep(LINGER).await;
            for (component, said) in waiting.drain(..) {
                let log = logs.entry(component).or_insert_with(|| EventLog::new(component, None));
                let Some(write) = log.record(&said, clock::now()) else { continue };
                if let Err(error) = send(&client, write).await
                    && refusal(&error) != Refusal::NamespaceTerminating
                {
                    debug!(%error, component, "event not written");
                }
            }
        }
    }
}

async fn send(client: &Client, write: EventWrite) -> Result<(), kube::Error> {
    match write {
        EventWrite::Create(event) => create(client, &event).await,
        EventWrite::Repeat { event, namespace, name, patch } => {
            let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(error) if refusal(&error) == Refusal::NotFound => create(client, &event).await,
                other => other.map(drop),
            }
        }
    }
}

async fn create(client: &Client, event: &Event) -> Result<(), kube::Error> {
    let namespace = event.metadata.namespace.as_deref().unwrap_or(coracle_api::wellknown::NAMESPACE_DEFAULT);
    Api::<Event>::namespaced(client.clone(), namespace).create(&PostParams::default(), event).await.map(drop)
}
