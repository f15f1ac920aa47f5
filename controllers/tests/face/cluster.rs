//! A cluster for tests: an API server in memory, the controllers, and a task that plays the node agents.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use coracle_api::meet::{Figures, HttpRequest, HttpResponse, HttpService, Nodes, body_of};
use coracle_api::names::NodeName;
use coracle_api::wellknown::USER_CONTROLLER_MANAGER;
use coracle_apiserver::{Apiserver, Config, Identity, Mounts, StoreKind};
use coracle_controllers::Controllers;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Cluster {
    pub(crate) client: Client,
    tasks: JoinSet<()>,
    token: CancellationToken,
    _server: Apiserver,
    _dir: tempfile::TempDir,
}

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

impl Cluster {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { secure_port: 0, store: StoreKind::Memory, ..Config::new(dir.path()) };
        let mounts = Mounts { nodes: Arc::new(Nobody), images: Arc::new(Nobody), figures: Arc::new(Nobody) };
        let server = Apiserver::build(config, mounts).await.unwrap();
        let token = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let ours = server.client(Identity::user(USER_CONTROLLER_MANAGER));
        let config = coracle_controllers::Config { root_ca: server.root_ca().to_owned() };
        tasks.spawn(Controllers::build(ours, config).run(token.clone()));
        let client = server.client(Identity::admin());
        tasks.spawn(play_agent(client.clone(), token.clone()));
        Self { client, tasks, token, _server: server, _dir: dir }
    }

    pub(crate) async fn stop(mut self) {
        self.token.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    pub(crate) fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) async fn create<K>(&self, namespace: &str, object: &K)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Serialize
            + DeserializeOwned
            + std::fmt::Debug,
    {
        self.api::<K>(namespace).create(&PostParams::default(), object).await.unwrap();
    }

    /// Asks again and again until there is an answer.
    pub(crate) async fn until<T>(&self, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
        let asking = async {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
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

/// Makes every pod ready and lets deleted ones go.
async fn play_agent(client: Client, token: CancellationToken) {
    let mut pods = std::pin::pin!(
        watcher(Api::<Pod>::all(client.clone()), watcher::Config::default()).default_backoff().applied_objects()
    );
    let mut last = 0_u8;
    while let Some(Some(pod)) = token.run_until_cancelled(pods.next()).await {
        let Ok(pod) = pod else { continue };
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
        if pod.metadata.deletion_timestamp.is_some() {
            let _ = api.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
        } else if pod.status.as_ref().is_none_or(|s| s.pod_ip.is_none()) {
            last = last.wrapping_add(1);
            let ip = format!("10.42.0.{last}");
            let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
            let _ = api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await;
        }
    }
}

pub(crate) fn deployment(name: &str, replicas: i32, image: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]},
            },
        },
    }))
    .unwrap()
}

pub(crate) fn service(name: &str) -> Service {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}]},
    }))
    .unwrap()
}

pub(crate) async fn pods_of(cluster: &Cluster, app: &str) -> Vec<Pod> {
    let params = ListParams::default().labels(&format!("app={app}"));
    cluster.api::<Pod>("default").list(&params).await.unwrap().items
}
