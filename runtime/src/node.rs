//! The Node object: what this machine offers, how it is, and a sign of life.
//!
//! The Lease is renewed every [`NODE_LEASE_RENEWAL`]; the status is written only when something in it changed, so that
//! an idle node writes nothing.

mod garbage;
mod machine;
mod status;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock;
use coracle_api::event::Kind;
use coracle_api::limits::{NODE_LEASE_DURATION, NODE_LEASE_RENEWAL};
use coracle_api::names::NodeName;
use coracle_api::wellknown::{LABEL_ARCH, LABEL_HOSTNAME, LABEL_OS, NAMESPACE_NODE_LEASE};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::images::ImageStore;
use crate::speak::Speaker;

pub(crate) use garbage::Collector;
pub(crate) use machine::{Health, Machine, Room, room};
pub use machine::{MachineError, Thresholds};

/// How long to wait before trying again to register or to write the status.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the Node object of this node.
pub(crate) struct Keeper {
    pub(crate) client: Client,
    pub(crate) name: NodeName,
    pub(crate) host_name: String,
    pub(crate) address: IpAddr,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) pod_cidr: String,
    pub(crate) version: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) machine: Machine,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) speaker: Speaker,
    pub(crate) collector: Collector,
    pub(crate) thresholds: Thresholds,
    /// Told when the machine becomes short of something, and when it no longer is.
    pub(crate) pressure: watch::Sender<Health>,
}

impl Keeper {
    /// Registers the node and keeps its object until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&mut self) {
        let mut uid = self.registered().await;
        self.speaker.node(self.name.as_str(), Kind::Normal, "Starting", "Starting kubelet.".to_owned());
        let (mut arrivals, mut removals) = (self.images.arrivals(), self.images.removals());
        let mut beat = tokio::time::interval(NODE_LEASE_RENEWAL);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut written: Option<NodeStatus> = None;
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    if let Err(error) = self.renew(&uid).await {
                        tracing::warn!(%error, "the node's lease could not be renewed");
                    }
                    self.collector.at_heartbeat().await;
                }
                Ok(()) = arrivals.changed() => self.collector.look().await,
                Ok(()) = removals.changed() => self.collector.forget_compiled().await,
            }
            match self.update(written.as_ref()).await {
                Ok(status) => written = Some(status),
                Err(kube::Error::Api(refused)) if refused.code == 404 => {
                    // Somebody deleted the node: it is registered anew.
                    uid = self.registered().await;
                    written = None;
                }
                Err(error) => tracing::warn!(%error, "the status of the node could not be written"),
            }
        }
    }

    /// Makes the Node object, or finds it. Returns its uid.
    async fn registered(&self) -> String {
        loop {
            match self.register().await {
                Ok(node) => return node.metadata.uid.unwrap_or_default(),
                Err(error) => {
                    tracing::debug!(%error, "the node could not be registered; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn register(&self) -> Result<Node, kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let Some(found) = api.get_opt(self.name.as_str()).await? else {
            let node = api.create(&PostParams::default(), &self.object()).await?;
            self.tell(None, node.status.as_ref());
            return Ok(node);
        };
        let (labels, annotations) = (self.all_labels(), &self.annotations);
        let has = |own: &Option<BTreeMap<String, String>>, wanted: &BTreeMap<String, String>| {
            wanted.iter().all(|(k, v)| own.as_ref().and_then(|own| own.get(k)) == Some(v))
        };
        if has(&found.metadata.labels, &labels) && has(&found.metadata.annotations, annotations) {
            return Ok(found);
        }
        let patch = Patch::Merge(json!({ "metadata": { "labels": labels, "annotations": annotations } }));
        api.patch(self.name.as_str(), &PatchParams::default(), &patch).await
    }

    fn all_labels(&self) -> BTreeMap<String, String> {
        let fixed = [(LABEL_HOSTNAME, self.host_name.as_str()), (LABEL_OS, "wasip2"), (LABEL_ARCH, "wasm32")];
        let fixed = fixed.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        self.labels.clone().into_iter().chain(fixed).collect()
    }

    fn object(&self) -> Node {
        let cidr = (!self.pod_cidr.is_empty()).then(|| self.pod_cidr.clone());
        Node {
            metadata: ObjectMeta {
                name: Some(self.name.to_string()),
                labels: Some(self.all_labels()),
                annotations: (!self.annotations.is_empty()).then(|| self.annotations.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec { pod_cidrs: cidr.clone().map(|c| vec![c]), pod_cidr: cidr, ..NodeSpec::default() }),
            status: Some(self.status(None)),
        }
    }

    fn status(&self, before: Option<&NodeStatus>) -> NodeStatus {
        let health = machine::health(&machine::room(&self.data_dir, self.thresholds));
        self.pressure.send_if_modified(|known| std::mem::replace(known, health) != health);
        let facts = status::Facts {
            machine: &self.machine,
            version: &self.version,
            address: self.address,
            host_name: &self.host_name,
            images: &self.images.list(),
        };
        status::status(&facts, health, before, clock::now())
    }

    /// Writes the status if it is not what was written before. Returns what the API has now.
    async fn update(&self, written: Option<&NodeStatus>) -> Result<NodeStatus, kube::Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let before = match written {
            Some(before) => before.clone(),
            None => api.get(self.name.as_str()).await?.status.unwrap_or_default(),
        };
        let status = self.status(Some(&before));
        if status::is_same(&status, &before) {
            return Ok(before);
        }
        let patch: Value = json!({ "status": status });
        let node = api.patch_status(self.name.as_str(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        self.tell(Some(&before), node.status.as_ref());
        Ok(node.status.unwrap_or_default())
    }

    /// Says in events which conditions have changed.
    fn tell(&self, before: Option<&NodeStatus>, after: Option<&NodeStatus>) {
        for reason in after.map(|after| status::changes(before, after)).unwrap_or_default() {
            let message = format!("Node {} status is now: {reason}", self.name);
            self.speaker.node(self.name.as_str(), Kind::Normal, reason, message);
        }
    }

    async fn renew(&self, uid: &str) -> Result<(), kube::Error> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE_NODE_LEASE);
        let now = clock::now_micro_time();
        let patch = Patch::Merge(json!({ "spec": { "renewTime": now } }));
        match api.patch(self.name.as_str(), &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(refused)) if refused.code == 404 => {}
            other => return other.map(drop),
        }
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.name.to_string(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        };
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.to_string()),
                namespace: Some(NAMESPACE_NODE_LEASE.to_owned()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.name.to_string()),
                lease_duration_seconds: i32::try_from(NODE_LEASE_DURATION.as_secs()).ok(),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        };
        api.create(&PostParams::default(), &lease).await.map(drop)
    }
}
