//! Writes a pod's status to the API: the newest one, one write at a time, nothing for a status that did not change.
//!
//! A pod that starts quickly is written once, when it is ready: what is on the way there waits [`SETTLE`] for
//! something better. Starting containers never waits for a write.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::imports::{self, Imports};

/// How long a status on the way to a better one waits for it.
const SETTLE: Duration = Duration::from_millis(25);

/// The first wait after a write that failed; it doubles.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// The longest wait after a write that failed.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// So many conflicts in a row are no coincidence: the pod is not ours any more.
const CONFLICTS_MAX: u32 = 5;

/// Publishes the status of one pod.
pub(super) struct Publisher {
    newest: Option<watch::Sender<Arc<PodStatus>>>,
    task: JoinSet<()>,
}

impl Publisher {
    /// A publisher for `pod`, whose status is known to be what the object says, and of what it `imports`.
    pub(super) fn new(client: &Client, pod: &Pod, imports: Arc<Imports>) -> Self {
        let before = Arc::new(pod.status.clone().unwrap_or_default());
        let writer = Writer {
            api: Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default()),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            written: Arc::clone(&before),
            imports,
            shown: pod.metadata.annotations.as_ref().and_then(|all| all.get(imports::ANNOTATION).cloned()),
        };
        let (newest, statuses) = watch::channel(before);
        let mut task = JoinSet::new();
        task.spawn(writer.run(statuses));
        Self { newest: Some(newest), task }
    }

    /// This is the status now.
    pub(super) fn publish(&self, status: Arc<PodStatus>) {
        if let Some(newest) = &self.newest {
            newest.send_if_modified(|before| {
                let changed = *before != status;
                *before = status;
                changed
            });
        }
    }

    /// Nothing more comes: waits until the last status is written, or `patience` is over.
    pub(super) async fn finish(&mut self, patience: Duration) {
        self.newest = None;
        if tokio::time::timeout(patience, self.task.join_next()).await.is_err() {
            tracing::warn!("the last status of a pod could not be written in time");
        }
    }
}

struct Writer {
    api: Api<Pod>,
    name: String,
    uid: String,
    written: Arc<PodStatus>,
    imports: Arc<Imports>,
    /// What the pod shows of them.
    shown: Option<String>,
}

impl Writer {
    async fn run(mut self, mut statuses: watch::Receiver<Arc<PodStatus>>) {
        loop {
            let closed = statuses.changed().await.is_err();
            if !closed {
                settle(&mut statuses).await;
            }
            let status = Arc::clone(&statuses.borrow_and_update());
            // A write takes far more memory than the wait for the next.
            if !Box::pin(self.write(status, &statuses)).await || closed {
                return;
            }
        }
    }

    /// Writes until it is done or something newer is there. Tells whether the pod is still ours to write.
    async fn write(&mut self, status: Arc<PodStatus>, newer: &watch::Receiver<Arc<PodStatus>>) -> bool {
        let (mut wait, mut conflicts) = (RETRY_FIRST, 0);
        while status != self.written {
            match self.patch(&status).await {
                Ok(_) => self.written = Arc::clone(&status),
                Err(kube::Error::Api(refused)) if refused.code == 404 => return false,
                // Another wrote at the same moment, or the pod is a namesake that came after ours.
                Err(kube::Error::Api(refused)) if refused.code == 409 => {
                    conflicts += 1;
                    if conflicts >= CONFLICTS_MAX {
                        return false;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, pod = self.name, "the status of a pod could not be written; trying again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                    if newer.has_changed().unwrap_or(false) {
                        return true;
                    }
                }
            }
        }
        true
    }

    async fn patch(&mut self, status: &PodStatus) -> Result<Pod, kube::Error> {
        let mut change = fields(status);
        for gone in fields(&self.written).into_iter().map(|(field, _)| field) {
            change.entry(gone).or_insert(Value::Null);
        }
        let mut metadata = json!({ "uid": self.uid });
        let imports = self.imports.text().filter(|text| self.shown.as_ref() != Some(text));
        if let (Some(text), Some(fields)) = (&imports, metadata.as_object_mut()) {
            fields.insert("annotations".to_owned(), json!({ (imports::ANNOTATION): text }));
        }
        let patch = json!({ "metadata": metadata, "status": change });
        let written = self.api.patch_status(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        self.shown = imports.or(self.shown.take());
        Ok(written)
    }
}

/// Waits until the status is worth writing.
async fn settle(statuses: &mut watch::Receiver<Arc<PodStatus>>) {
    let deadline = tokio::time::Instant::now() + SETTLE;
    while !is_settled(&statuses.borrow_and_update()) {
        if !matches!(tokio::time::timeout_at(deadline, statuses.changed()).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Whether nothing better is to be expected soon.
fn is_settled(status: &PodStatus) -> bool {
    let ready = |c: &k8s_openapi::api::core::v1::PodCondition| c.type_ == "Ready" && c.status == "True";
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) || status.conditions.iter().flatten().any(ready)
}

fn fields(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}
