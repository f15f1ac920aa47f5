//! The controllers: each brings one kind of object nearer to what its spec says, by plain API writes.
//!
//! They share one client and one set of watches ([`informers`]) and nothing else; none calls another.
//! An idle cluster costs them nothing: they act on changes, not on a clock.

mod canonical;
mod discovery;
mod events;
mod expectations;
mod hash;
mod informers;
mod ownership;
mod pod_facts;
mod queue;
mod reconcile;
mod refusal;
mod service_facts;
mod slices;

mod deployment;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslice_mirroring;
mod ephemeral_volume;
mod garbage_collector;
mod namespace;
mod node_lifecycle;
mod persistent_volume;
mod pod_gc;
mod replicaset;
mod root_ca;
mod service_account;
mod statefulset;
mod storage_protection;

use std::sync::Arc;

use kube::Client;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use events::Scribe;
use informers::Informers;
use reconcile::Context;

/// What can be set about the controllers. Their numbers are Kubernetes' defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The certificate of the cluster's authority, as PEM, that each namespace is given; empty: none.
    pub root_ca: String,
}

/// All controllers, built and not yet running.
pub struct Controllers {
    context: Context,
    scribe: Scribe,
    deployments: Arc<deployment::Deployments>,
    replicasets: Arc<replicaset::ReplicaSets>,
    statefulsets: Arc<statefulset::StatefulSets>,
    slices: Arc<endpointslice::EndpointSlices>,
    mirroring: Arc<endpointslice_mirroring::Mirroring>,
    endpoints: Arc<endpoints::EndpointsObjects>,
    accounts: Arc<service_account::ServiceAccounts>,
    root_ca: Arc<root_ca::RootCa>,
    namespaces: Arc<namespace::Namespaces>,
    nodes: Arc<node_lifecycle::NodeLifecycle>,
    pods: Arc<pod_gc::PodCollector>,
    disruptions: Arc<disruption::Disruptions>,
    storage: Arc<persistent_volume::PersistentVolumes>,
    protection: Arc<storage_protection::StorageProtection>,
    ephemeral: Arc<ephemeral_volume::EphemeralVolumes>,
    collector: Arc<garbage_collector::GarbageCollector>,
}

impl Controllers {
    /// Builds the controllers on a client that may read and write everything.
    #[must_use]
    pub fn build(client: Client, config: Config) -> Self {
        let (recorder, scribe) = events::recorder();
        let context = Context { client, informers: Arc::new(Informers::default()), events: recorder };
        Self {
            deployments: deployment::Deployments::build(&context),
            replicasets: replicaset::ReplicaSets::build(&context),
            statefulsets: statefulset::StatefulSets::build(&context),
            slices: endpointslice::EndpointSlices::build(&context),
            mirroring: endpointslice_mirroring::Mirroring::build(&context),
            endpoints: endpoints::EndpointsObjects::build(&context),
            accounts: service_account::ServiceAccounts::build(&context),
            root_ca: root_ca::RootCa::build(&context, config.root_ca),
            namespaces: namespace::Namespaces::build(&context),
            nodes: node_lifecycle::NodeLifecycle::build(&context),
            pods: pod_gc::PodCollector::build(&context),
            disruptions: disruption::Disruptions::build(&context),
            storage: persistent_volume::PersistentVolumes::build(&context),
            protection: storage_protection::StorageProtection::build(&context),
            ephemeral: ephemeral_volume::EphemeralVolumes::build(&context),
            collector: garbage_collector::GarbageCollector::build(&context),
            context,
            scribe,
        }
    }

    /// Runs until `token` is cancelled, and returns when all work has ended.
    pub async fn run(self, token: CancellationToken) {
        let mut tasks = JoinSet::new();
        self.context.informers.start(&self.context.client, &mut tasks, &token);
        tasks.spawn(self.scribe.run(self.context.client.clone(), token.clone()));
        if token.run_until_cancelled(self.context.informers.synced()).await.is_some() {
            reconcile::start(&self.deployments, &mut tasks, &token);
            reconcile::start(&self.replicasets, &mut tasks, &token);
            reconcile::start(&self.statefulsets, &mut tasks, &token);
            reconcile::start(&self.slices, &mut tasks, &token);
            reconcile::start(&self.mirroring, &mut tasks, &token);
            reconcile::start(&self.endpoints, &mut tasks, &token);
            reconcile::start(&self.accounts, &mut tasks, &token);
            reconcile::start(&self.root_ca, &mut tasks, &token);
            reconcile::start(&self.namespaces, &mut tasks, &token);
            reconcile::start(&self.nodes, &mut tasks, &token);
            reconcile::start(&self.pods, &mut tasks, &token);
            reconcile::start(&self.disruptions, &mut tasks, &token);
            reconcile::start(&self.storage, &mut tasks, &token);
            reconcile::start(&self.protection, &mut tasks, &token);
            reconcile::start(&self.ephemeral, &mut tasks, &token);
            reconcile::start(&self.collector, &mut tasks, &token);
            tasks.spawn(garbage_collector::watch_others(Arc::clone(&self.collector), token.clone()));
        }
        coracle_api::tasks::join(&mut tasks).await;
    }
}
