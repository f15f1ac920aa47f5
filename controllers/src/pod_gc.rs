//! The pod garbage collector: pods bound to a node that no longer exists will never run again.
//!
//! A node must be gone for [`QUARANTINE`], and gone by a live read, before its pods are failed and removed:
//! a node that is deleted and comes back keeps what it runs.

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock;
use coracle_api::names::NamespacedName;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};

use crate::informers::Change;
use crate::pod_facts;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::gone_is_fine;

/// How long a node must be gone (upstream's `quarantineTime`).
const QUARANTINE: Duration = Duration::from_secs(40);

/// The controller. Its keys are names of nodes.
pub(crate) struct PodCollector {
    context: Context,
    queue: Queue<String>,
}

impl PodCollector {
    /// Builds the controller and lets it hear of nodes that go and of pods on nodes that are not there.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self { context: context.clone(), queue: Queue::default() });
        let heard = Arc::clone(&this);
        context.informers.nodes.on_change(move |change| {
            if let Change::Deleted(node) = change {
                heard.queue.add_after(node.name_any(), QUARANTINE);
            }
        });
        let heard = Arc::clone(&this);
        context.informers.pods.on_change(move |change| {
            let node = pod_facts::node_name(change.latest());
            let is_news = !matches!(change, Change::Deleted(_)) && !node.is_empty();
            // Nodes and pods arrive by two watches; a node that is only late is there when the time is up.
            if is_news && heard.context.informers.nodes.get(&NamespacedName::new("", node)).is_none() {
                heard.queue.add_after(node.to_owned(), QUARANTINE);
            }
        });
        this
    }

    async fn remove(&self, pod: &Pod) -> Result<(), ReconcileError> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &pod.namespace().unwrap_or_default());
        if !pod_facts::is_terminal(pod) {
            let failed = api.replace_status(&pod.name_any(), &PostParams::default(), &failed(pod)).await;
            if gone_is_fine(failed).map_err(ReconcileError::api("fail Pod"))?.is_none() {
                return Ok(());
            }
        }
        let params = DeleteParams::background()
            .grace_period(0)
            .preconditions(Preconditions { uid: pod.uid(), resource_version: None });
        let deleted = api.delete(&pod.name_any(), &params).await;
        gone_is_fine(deleted).map(drop).map_err(ReconcileError::api("delete Pod"))
    }
}

/// The pod as one that its node took with it.
fn failed(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    let generation = pod.metadata.generation;
    let status = pod.status.get_or_insert_default();
    status.phase = Some("Failed".to_owned());
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|c| c.type_ != "DisruptionTarget");
    conditions.push(PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("DeletionByPodGC".to_owned()),
        message: Some("PodGC: node no longer exists".to_owned()),
        last_transition_time: Some(clock::now_time()),
        observed_generation: generation,
        ..PodCondition::default()
    });
    pod
}

impl Controller for PodCollector {
    type Key = String;
    const NAME: &'static str = "pod-garbage-collector";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<String> {
        &self.queue
    }

    async fn reconcile(&self, name: &String) -> Result<Next, ReconcileError> {
        let nodes: Api<Node> = Api::all(self.context.client.clone());
        if nodes.get_metadata_opt(name).await.map_err(ReconcileError::api("read Node"))?.is_some() {
            return Ok(Next::Done);
        }
        for pod in self.context.informers.pods.filtered(|pod| pod_facts::node_name(pod) == name) {
            self.remove(&pod).await?;
        }
        Ok(Next::Done)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_its_node_took_with_it_has_failed_and_says_why() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "generation": 3},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap();
        let twice = failed(&failed(&pod)).status.unwrap();
        assert_eq!(twice.phase.as_deref(), Some("Failed"));
        let types: Vec<_> =
            twice.conditions.unwrap().into_iter().map(|c| (c.type_, c.reason, c.observed_generation)).collect();
        assert_eq!(types[1], ("DisruptionTarget".to_owned(), Some("DeletionByPodGC".to_owned()), Some(3)));
        assert_eq!(types.len(), 2);
    }
}
