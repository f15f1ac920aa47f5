//! The scheduler against the real API server, in one process: pods come in, bindings and events go out.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_api::meet::{Figures, HttpRequest, HttpResponse, HttpService, Nodes, body_of};
use coracle_api::names::NodeName;
use coracle_api::wellknown::USER_SCHEDULER;
use coracle_apiserver::{Apiserver, Identity, Mounts};
use coracle_scheduler::{Config, Scheduler};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

struct Nobody;

impl Figures for Nobody {
    fn figures(&self) -> String {
        String::new()
    }
}

impl Nodes for Nobody {
    fn kubelet(&self, _: &NodeName) -> Option<Arc<dyn HttpService>> {
        None
    }
}

#[async_trait]
impl HttpService for Nobody {
    async fn serve(&self, _: HttpRequest) -> HttpResponse {
        http::Response::builder().status(404).body(body_of("")).unwrap()
    }
}

struct Cluster {
    client: Client,
    tasks: JoinSet<()>,
    token: CancellationToken,
    _server: Apiserver,
    _dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = coracle_apiserver::Config::alone(dir.path());
        let mounts = Mounts { nodes: Arc::new(Nobody), images: Arc::new(Nobody), figures: Arc::new(Nobody) };
        let server = Apiserver::build(config, mounts).await.unwrap();
        let token = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let ours = server.client(Identity::user(USER_SCHEDULER));
        tasks.spawn(Scheduler::build(ours, Config::default()).run(token.clone()));
        Self { client: server.client(Identity::admin()), tasks, token, _server: server, _dir: dir }
    }

    async fn stop(mut self) {
        self.token.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn add_node(&self, name: &str) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
        // The agent and the node lifecycle controller would do this.
        let spec = json!({"spec": {"taints": null}});
        nodes.patch(name, &PatchParams::default(), &Patch::Merge(spec)).await.unwrap();
        let status = json!({"status": {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "500"}}});
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    async fn add_pod(&self, name: &str, cpu: &str) {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [
            {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}});
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    async fn said(&self, about: &str) -> Vec<String> {
        let events = Api::<Event>::namespaced(self.client.clone(), "default");
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let about = events.into_iter().filter(|e| e.involved_object.name.as_deref() == Some(about));
        about.map(|e| format!("{} {}", e.reason.unwrap_or_default(), e.message.unwrap_or_default())).collect()
    }

    /// Asks again and again until there is an answer.
    async fn until<T>(&self, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
        let asking = async {
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            loop {
                tick.tick().await;
                if let Some(answer) = ask().await {
                    return answer;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(answer) => answer,
            Err(_) => panic!("{what}: not within {PATIENCE:?}"),
        }
    }
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

#[tokio::test]
async fn a_pod_waits_for_a_node_and_is_told_why() {
    let cluster = Cluster::start().await;
    cluster.add_pod("p", "1").await;
    cluster
        .until("the condition", async || {
            let pod = cluster.pods().get("p").await.unwrap();
            let condition = pod.status?.conditions?.into_iter().find(|c| c.type_ == "PodScheduled")?;
            let told = condition.message.as_deref() == Some("no nodes available to schedule pods");
            (told && condition.reason.as_deref() == Some("Unschedulable")).then_some(())
        })
        .await;
    cluster.add_node("n1").await;
    let pod = cluster
        .until("the binding", async || {
            let pod = cluster.pods().get("p").await.unwrap();
            node_of(&pod).is_some().then_some(pod)
        })
        .await;
    assert_eq!(node_of(&pod).as_deref(), Some("n1"));
    let expected = [
        "FailedScheduling no nodes available to schedule pods".to_owned(),
        "Scheduled Successfully assigned default/p to n1".to_owned(),
    ];
    cluster
        .until("the events", async || {
            let said = cluster.said("p").await;
            expected.iter().all(|e| said.contains(e)).then_some(())
        })
        .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_burst_is_spread_and_never_overfills() {
    let cluster = Cluster::start().await;
    cluster.add_node("n1").await;
    cluster.add_node("n2").await;
    for i in 0..50 {
        cluster.add_pod(&format!("p{i}"), "200m").await;
    }
    let pods = cluster
        .until("forty bindings", async || {
            let pods = cluster.pods().list(&ListParams::default()).await.unwrap().items;
            (pods.iter().filter(|p| node_of(p).is_some()).count() >= 40).then_some(pods)
        })
        .await;
    for node in ["n1", "n2"] {
        assert_eq!(pods.iter().filter(|p| node_of(p).as_deref() == Some(node)).count(), 20, "{node}");
    }
    let left = pods.iter().find(|p| node_of(p).is_none()).unwrap().name_any();
    let full = "FailedScheduling 0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.";
    cluster.until("the event", async || cluster.said(&left).await.contains(&full.to_owned()).then_some(())).await;
    let some = pods.iter().find(|p| node_of(p).is_some()).unwrap().name_any();
    cluster.pods().delete(&some, &kube::api::DeleteParams::default().grace_period(0)).await.unwrap();
    cluster
        .until("one of those left takes the room", async || {
            let pods = cluster.pods().list(&ListParams::default()).await.unwrap().items;
            (pods.iter().filter(|p| node_of(p).is_some()).count() == 40).then_some(())
        })
        .await;
    cluster.stop().await;
}
