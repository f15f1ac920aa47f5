//! What the network says about Services and Ingresses, written as events.
//!
//! It refuses to pile up: when the API server does not answer, what is said beyond a few events is only logged.

use coracle_api::clock;
use coracle_api::event::{EventLog, EventWrite, Kind, LINGER, Said};
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::listeners::Refusal;

/// How many events are on their way at the same time.
const EVENTS_IN_FLIGHT_MAX: usize = 16;

/// Writes events.
pub(crate) struct Events {
    client: Client,
    log: EventLog,
    sending: JoinSet<()>,
}

impl Events {
    /// Events about Services as seen from `node`.
    pub(crate) fn new(client: Client, node: &str) -> Self {
        Self::of(client, "service-proxy", node)
    }

    /// Events of another component.
    pub(crate) fn of(client: Client, component: &str, node: &str) -> Self {
        let log = EventLog::new(component, Some(node.to_owned()));
        Self { client, log, sending: JoinSet::new() }
    }

    /// Says that a port of a Service could not be opened.
    pub(crate) fn refused(&mut self, refusal: Refusal) {
        tracing::warn!(service = %refusal.service, "{}", refusal.message);
        self.tell(refusal);
    }

    /// Says why a Service does not have a port; for its owner alone, where nothing is wrong with this machine.
    pub(crate) fn tell(&mut self, refusal: Refusal) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(refusal.service.namespace),
            name: Some(refusal.service.name),
            uid: Some(refusal.uid),
            ..ObjectReference::default()
        };
        self.say(&Said { about, kind: Kind::Warning, reason: refusal.reason.to_owned(), message: refusal.message });
    }

    /// Says something.
    pub(crate) fn say(&mut self, said: &Said) {
        while self.sending.try_join_next().is_some() {}
        if self.sending.len() >= EVENTS_IN_FLIGHT_MAX {
            return;
        }
        let Some(write) = self.log.record(said, clock::now()) else { return };
        self.sending.spawn(send(self.client.clone(), write));
    }
}

async fn send(client: Client, write: EventWrite) {
    sleep(LINGER).await;
    let sent = match write {
        EventWrite::Create(event) => create(client, &event).await,
        EventWrite::Repeat { event, namespace, name, patch } => {
            let events = Api::<Event>::namespaced(client.clone(), &namespace);
            match events.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => create(client, &event).await,
                patched => patched.map(|_| ()),
            }
        }
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "an event was not written");
    }
}

async fn create(client: Client, event: &Event) -> kube::Result<()> {
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    Api::<Event>::namespaced(client, namespace).create(&PostParams::default(), event).await.map(|_| ())
}
