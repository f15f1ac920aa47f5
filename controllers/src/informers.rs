//! The controllers' shared eyes: one watch per kind, one cache of it, and word of each change to every controller.
//!
//! Guarantee: a handler is called after the cache holds the change, in the order of the watch, and never
//! waits: it puts keys into queues and does no more. After a break the list is compared with the cache,
//! so that handlers hear of deletions that the watch missed.

mod cache;
mod feed;

use std::sync::Arc;

use coracle_api::wellknown::CONFIG_MAP_ROOT_CA;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use cache::{Cached, Change, Informer, Mark};

/// One informer for each kind that a controller reads.
#[derive(Default)]
pub(crate) struct Informers {
    pub(crate) pods: Arc<Informer<Pod>>,
    pub(crate) replicasets: Arc<Informer<ReplicaSet>>,
    pub(crate) deployments: Arc<Informer<Deployment>>,
    pub(crate) services: Arc<Informer<Service>>,
    pub(crate) slices: Arc<Informer<EndpointSlice>>,
    pub(crate) endpoints: Arc<Informer<Endpoints>>,
    pub(crate) namespaces: Arc<Informer<Namespace>>,
    pub(crate) nodes: Arc<Informer<Node>>,
    pub(crate) leases: Arc<Informer<Lease>>,
    pub(crate) accounts: Arc<Informer<ServiceAccount>>,
    pub(crate) budgets: Arc<Informer<PodDisruptionBudget>>,
    pub(crate) statefulsets: Arc<Informer<StatefulSet>>,
    pub(crate) revisions: Arc<Informer<ControllerRevision>>,
    pub(crate) claims: Arc<Informer<PersistentVolumeClaim>>,
    pub(crate) volumes: Arc<Informer<PersistentVolume>>,
    pub(crate) classes: Arc<Informer<StorageClass>>,
    /// Of all ConfigMaps those with the certificate of the cluster's authority.
    pub(crate) roots: Arc<Informer<ConfigMap>>,
}

impl Informers {
    /// Starts all watches on `tasks`. Handlers must have been given before.
    pub(crate) fn start(&self, client: &Client, tasks: &mut JoinSet<()>, token: &CancellationToken) {
        start(&self.pods, client, tasks, token);
        start(&self.replicasets, client, tasks, token);
        start(&self.deployments, client, tasks, token);
        start(&self.services, client, tasks, token);
        start(&self.slices, client, tasks, token);
        start(&self.endpoints, client, tasks, token);
        start(&self.namespaces, client, tasks, token);
        start(&self.nodes, client, tasks, token);
        start(&self.leases, client, tasks, token);
        start(&self.accounts, client, tasks, token);
        start(&self.budgets, client, tasks, token);
        start(&self.statefulsets, client, tasks, token);
        start(&self.revisions, client, tasks, token);
        start(&self.claims, client, tasks, token);
        start(&self.volumes, client, tasks, token);
        start(&self.classes, client, tasks, token);
        let roots = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP_ROOT_CA}"));
        tasks.spawn(feed::feed(Api::all(client.clone()), roots, Arc::clone(&self.roots), token.clone()));
    }

    /// Returns when every cache has been filled once.
    pub(crate) async fn synced(&self) {
        self.pods.synced().await;
        self.replicasets.synced().await;
        self.deployments.synced().await;
        self.services.synced().await;
        self.slices.synced().await;
        self.endpoints.synced().await;
        self.namespaces.synced().await;
        self.nodes.synced().await;
        self.leases.synced().await;
        self.accounts.synced().await;
        self.budgets.synced().await;
        self.statefulsets.synced().await;
        self.revisions.synced().await;
        self.claims.synced().await;
        self.volumes.synced().await;
        self.classes.synced().await;
        self.roots.synced().await;
    }
}

fn start<K: Cached>(informer: &Arc<Informer<K>>, client: &Client, tasks: &mut JoinSet<()>, token: &CancellationToken) {
    tasks.spawn(feed::feed(Api::all(client.clone()), watcher::Config::default(), Arc::clone(informer), token.clone()));
}
