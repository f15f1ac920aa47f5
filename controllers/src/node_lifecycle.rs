//! The node lifecycle controller: a node that falls silent counts as lost, and new pods keep away from it.
//!
//! It says what it knows (conditions, taints, pods not ready) and never deletes what may still run.

mod health;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coracle_api::clock;
use coracle_api::names::NamespacedName;
use coracle_api::wellknown::NAMESPACE_NODE_LEASE;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use crate::informers::Change;
use crate::pod_facts;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::gone_is_fine;
use health::{Silence, conditions, readiness, silence, taints};

/// The component that speaks in events.
const COMPONENT: &str = "node-controller";

/// The controller.
pub(crate) struct NodeLifecycle {
    context: Context,
    queue: Queue<String>,
    /// When each node last gave a sign of life, by our own clock: the node's may be wrong.
    heard: Mutex<HashMap<String, Instant>>,
}

impl NodeLifecycle {
    /// Builds the controller and lets it hear of nodes and their leases.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self { context: context.clone(), queue: Queue::default(), heard: Mutex::default() });
        let heard = Arc::clone(&this);
        context.informers.nodes.on_change(move |change| heard.node_changed(change));
        let heard = Arc::clone(&this);
        context.informers.leases.on_change(move |change| {
            let lease = change.latest();
            if lease.namespace().as_deref() == Some(NAMESPACE_NODE_LEASE) && !matches!(change, Change::Deleted(_)) {
                heard.heartbeat(&lease.name_any());
            }
        });
        this
    }

    fn node_changed(&self, change: &Change<Node>) {
        let name = change.latest().name_any();
        let spoke = match change {
            Change::Added(_) => true,
            Change::Updated { old, new } => health::last_word(old) != health::last_word(new),
            Change::Deleted(_) => false,
        };
        if spoke {
            self.heartbeat(&name);
        }
        self.queue.add(name);
    }

    fn heartbeat(&self, node: &str) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned(), Instant::now());
        if self.is_silent(node) {
            self.queue.add(node.to_owned());
        }
    }

    /// Only the first heartbeat after a silence is news; the others are found when the node is looked at in time.
    fn is_silent(&self, node: &str) -> bool {
        let cached = self.context.informers.nodes.get(&NamespacedName::new("", node));
        cached.is_some_and(|node| readiness(&node) == "Unknown")
    }

    /// For how long the node has given no sign of life.
    fn silent_for(&self, name: &str) -> Duration {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.entry(name.to_owned()).or_insert_with(Instant::now).elapsed()
    }

    async fn write_conditions(&self, node: &Node) -> Result<Option<Node>, ReconcileError> {
        let Some(changed) = conditions(node, clock::now()) else { return Ok(None) };
        let api: Api<Node> = Api::all(self.context.client.clone());
        let written = api.replace_status(&node.name_any(), &PostParams::default(), &changed).await;
        gone_is_fine(written).map_err(ReconcileError::api("update Node status"))
    }

    async fn write_taints(&self, node: &Node) -> Result<(), ReconcileError> {
        let Some(taints) = taints(node, clock::now()) else { return Ok(()) };
        let patch = json!({
            "metadata": {"resourceVersion": node.resource_version()},
            "spec": {"taints": if taints.is_empty() { json!(null) } else { json!(taints) }},
        });
        let api: Api<Node> = Api::all(self.context.client.clone());
        let patched = api.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        gone_is_fine(patched).map(drop).map_err(ReconcileError::api("taint Node"))
    }

    /// Takes the pods of a node that is not ready out of their Services.
    async fn mark_pods_not_ready(&self, node: &Node) -> Result<(), ReconcileError> {
        let name = node.name_any();
        let on_it = |pod: &Pod| pod_facts::node_name(pod) == name && pod_facts::is_ready(pod);
        for pod in self.context.informers.pods.filtered(on_it) {
            let mut changed = pod.as_ref().clone();
            let conditions = changed.status.iter_mut().flat_map(|s| s.conditions.iter_mut().flatten());
            for condition in conditions.filter(|c| c.type_ == "Ready") {
                "False".clone_into(&mut condition.status);
                condition.last_transition_time = Some(Time(clock::now_time().0));
            }
            let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &pod.namespace().unwrap_or_default());
            let written = api.replace_status(&pod.name_any(), &PostParams::default(), &changed).await;
            gone_is_fine(written).map_err(ReconcileError::api("update Pod status"))?;
            self.context.events.warning(COMPONENT, pod.as_ref(), "NodeNotReady", "Node is not ready".to_owned());
        }
        Ok(())
    }
}

impl Controller for NodeLifecycle {
    type Key = String;
    const NAME: &'static str = "node-lifecycle";
    const WORKERS: usize = 2;

    fn queue(&self) -> &Queue<String> {
        &self.queue
    }

    async fn reconcile(&self, name: &String) -> Result<Next, ReconcileError> {
        let Some(node) = self.context.informers.nodes.get(&NamespacedName::new("", name.as_str())) else {
            self.heard.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
            return Ok(Next::Done);
        };
        let next = match silence(self.silent_for(name)) {
            Silence::Until(left) => Next::After(left),
            Silence::TooLong => {
                let was = readiness(&node);
                if self.write_conditions(&node).await?.is_some() {
                    let message = format!("Node {name} status is now: NodeNotReady");
                    if was == "True" {
                        self.context.events.normal(COMPONENT, node.as_ref(), "NodeNotReady", message);
                    }
                    // The change of the node brings us here again, with the new conditions.
                    return Ok(Next::Done);
                }
                Next::Done
            }
        };
        self.write_taints(&node).await?;
        if readiness(&node) != "True" {
            self.mark_pods_not_ready(&node).await?;
        }
        Ok(next)
    }
}
