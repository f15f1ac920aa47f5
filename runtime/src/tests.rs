//! The node over its face: a fake API in front, real guests inside.

mod api;
mod figures;
mod guests;
mod network;
mod sessions;

use std::path::Path;
use std::sync::Arc;

use coracle_api::meet::{HttpService, body_of};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::Digest as _;

use super::*;
use crate::images::pull::Registries;
use api::Api;
use network::{BreaksOnce, NoNetwork};

/// A node that runs over a fake API.
struct Rig {
    api: Api,
    images: Arc<ImageStore>,
    kubelet: Arc<dyn HttpService>,
    sessions: Sessions,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Rig {
    async fn start(dir: &Path, api: Api) -> Self {
        Self::start_with(Config::default(), dir, api).await
    }

    async fn start_with(config: Config, dir: &Path, api: Api) -> Self {
        Self::start_on(Arc::new(NoNetwork), config, dir, api).await
    }

    async fn start_on(network: Arc<dyn PodNetwork>, config: Config, dir: &Path, api: Api) -> Self {
        let images = Arc::new(ImageStore::open(dir.join("images")).unwrap());
        let puller = Arc::new(Puller::open(ImageStore::clone(&images), Registries::default()).unwrap());
        let parts = Parts { network, resolver: Arc::new(NoNetwork), images: images.clone(), puller };
        let config = Config { data_dir: dir.to_owned(), ..config };
        let node = Node::build(api.client(), config, parts).await.unwrap();
        let (kubelet, stop) = (node.kubelet(), CancellationToken::new());
        let sessions = Sessions::new(&node.shared);
        let mut tasks = JoinSet::new();
        tasks.spawn(node.run(stop.clone()));
        Self { api, images, kubelet, sessions, stop, tasks }
    }

    /// Pushes an image as any OCI tool would.
    async fn push(&self, name: &str, tag: &str, layer: &[u8]) {
        let digest = |bytes: &[u8]| {
            let hex: String = sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
            format!("sha256:{hex}")
        };
        let manifest = format!(
            r#"{{"config":{{"mediaType":"application/vnd.wasm.config.v0+json","digest":"{}","size":2}},
            "layers":[{{"mediaType":"application/wasm","digest":"{}","size":{}}}]}}"#,
            digest(b"{}"),
            digest(layer),
            layer.len()
        );
        for blob in [b"{}".as_slice(), layer] {
            let uri = format!("/v2/{name}/blobs/uploads/?digest={}", digest(blob));
            let request = Request::post(uri).body(body_of(blob.to_vec())).unwrap();
            assert_eq!(self.images.serve(request).await.status(), StatusCode::CREATED);
        }
        let request = Request::put(format!("/v2/{name}/manifests/{tag}")).body(body_of(manifest)).unwrap();
        assert_eq!(self.images.serve(request).await.status(), StatusCode::CREATED);
    }

    fn pod(&self, name: &str, restart: &str, container: &Value) {
        let mut container = container.clone();
        container["name"] = "c".into();
        let spec = json!({ "nodeName": "localhost", "restartPolicy": restart, "containers": [container] });
        self.api.put("pods", "default", name, json!({ "metadata": {}, "spec": spec }));
    }

    async fn log(&self, pod: &str, query: &str) -> (StatusCode, String) {
        let uri = format!("/containerLogs/default/{pod}/c?{query}");
        let response = self.kubelet.serve(Request::get(uri).body(body_of("")).unwrap()).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// The reasons of the events so far, in their order.
    fn reasons(&self) -> Vec<String> {
        let mut events = self.api.list("events");
        events.sort_by_key(|e| e["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap());
        let pods = events.iter().filter(|e| e["involvedObject"]["kind"] == "Pod");
        pods.map(|e| e["reason"].as_str().unwrap().to_owned()).collect()
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn condition<'a>(pod: &'a Value, type_: &str) -> &'a str {
    let all = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|c| c["type"] == type_).and_then(|c| c["status"].as_str()).unwrap_or("none")
}

fn waiting(pod: &Value) -> &str {
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_pod_becomes_ready_says_so_once_and_goes_when_it_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    rig.push("waits", "1", &guests::prints_environment_and_waits()).await;
    rig.pod("p", "Always", &json!({ "image": "waits:1", "env": [{ "name": "A", "value": "b" }] }));
    let pod = rig.api.until("pods", "p", |p| condition(p, "Ready") == "True").await;
    assert_eq!(pod["status"]["phase"], "Running");
    assert_eq!(pod["status"]["podIP"], "127.42.0.9");
    let container = &pod["status"]["containerStatuses"][0];
    assert!(container["containerID"].as_str().unwrap().starts_with("wasmtime://"), "{container}");
    assert!(container["imageID"].as_str().unwrap().starts_with("docker.io/library/waits@sha256:"), "{container}");
    rig.api.wait(|| rig.reasons().contains(&"Started".to_owned()).then_some(())).await.unwrap();
    let mut reasons = rig.reasons();
    // Said only where compiling takes long, as it may on a busy machine.
    reasons.retain(|r| r != "Compiling");
    assert_eq!(reasons, ["Pulled", "Created", "Started"]);
    assert!(rig.api.patches("pods") <= 2, "a status is written once it has settled");

    let deleted =
        json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 1 } });
    rig.api.patch("pods", "default", "p", &deleted);
    rig.api.until_gone("pods", "p").await;
    assert!(!dir.path().join("pods/uid-of-p").exists());
    rig.stop().await;
}

#[tokio::test]
async fn a_bug_that_a_pod_meets_costs_a_new_beginning_and_not_the_pod() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start_on(Arc::new(BreaksOnce::default()), Config::default(), dir.path(), Api::new()).await;
    rig.push("waits", "1", &guests::prints_environment_and_waits()).await;
    rig.pod("p", "Always", &json!({ "image": "waits:1" }));
    let pod = rig.api.until("pods", "p", |p| condition(p, "Ready") == "True").await;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod}");
    rig.stop().await;
}

#[tokio::test]
async fn a_program_that_ends_succeeds_and_its_log_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    rig.push("hello", "1", &guests::exits(0)).await;
    rig.pod("p", "Never", &json!({ "image": "hello:1" }));
    let pod = rig.api.until("pods", "p", |p| p["status"]["phase"] == "Succeeded").await;
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("Completed"), &json!(0)));
    assert_eq!(rig.log("p", "follow=true").await, (StatusCode::OK, "hello\n".to_owned()));
    assert_eq!(rig.log("p", "previous=true").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(rig.log("none", "").await.0, StatusCode::NOT_FOUND);
    rig.stop().await;
}

#[tokio::test]
async fn a_missing_image_is_told_with_the_fix_and_started_as_soon_as_it_is_pushed() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    rig.pod("p", "Always", &json!({ "image": "waits:1" }));
    let pod = rig.api.until("pods", "p", |p| waiting(p) == "ErrImagePull").await;
    let message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.ends_with("push it with: coracle image push waits.wasm waits:1"), "{message}");
    rig.push("waits", "1", &guests::prints_environment_and_waits()).await;
    rig.api.until("pods", "p", |p| condition(p, "Ready") == "True").await;
    rig.stop().await;
}

#[tokio::test]
async fn an_image_that_is_not_wasm_is_named_for_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    rig.push("elf", "1", b"\x7fELF and more").await;
    rig.pod("p", "Always", &json!({ "image": "elf:1" }));
    let pod = rig.api.until("pods", "p", |p| waiting(p) == "InvalidImage").await;
    let message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.contains("ELF"), "{message}");
    rig.stop().await;
}

#[tokio::test]
async fn a_missing_config_map_is_waited_for_and_its_value_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    rig.push("waits", "1", &guests::prints_environment_and_waits()).await;
    let from = json!({ "configMapKeyRef": { "name": "cm", "key": "greeting" } });
    rig.pod("p", "Always", &json!({ "image": "waits:1", "env": [{ "name": "GREETING", "valueFrom": from }] }));
    let pod = rig.api.until("pods", "p", |p| waiting(p) == "CreateContainerConfigError").await;
    let message = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"];
    assert_eq!(message, "configmap \"cm\" not found");
    rig.api.put("configmaps", "default", "cm", json!({ "metadata": {}, "data": { "greeting": "good day" } }));
    rig.api.until("pods", "p", |p| condition(p, "Ready") == "True").await;
    let wanted = "GREETING=good day\0";
    let seen = async {
        while !rig.log("p", "").await.1.contains(wanted) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn a_crash_loop_counts_and_keeps_the_previous_log() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    rig.push("fails", "1", &guests::exits(3)).await;
    rig.pod("p", "Always", &json!({ "image": "fails:1" }));
    let pod = rig.api.until("pods", "p", |p| waiting(p) == "CrashLoopBackOff").await;
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!((&container["restartCount"], &container["lastState"]["terminated"]["exitCode"]), (&json!(1), &json!(3)));
    assert_eq!(rig.log("p", "previous=true").await, (StatusCode::OK, "hello\n".to_owned()));
    assert_eq!(condition(&pod, "Ready"), "False");
    rig.stop().await;
}

#[tokio::test]
async fn pods_run_again_after_the_node_was_away() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    rig.push("waits", "1", &guests::prints_environment_and_waits()).await;
    rig.pod("p", "Always", &json!({ "image": "waits:1" }));
    rig.api.until("pods", "p", |p| condition(p, "Ready") == "True").await;
    let api = rig.api.clone();
    rig.stop().await;

    let rig = Rig::start(dir.path(), api).await;
    let again = |p: &Value| p["status"]["containerStatuses"][0]["restartCount"] == 1 && condition(p, "Ready") == "True";
    let pod = rig.api.until("pods", "p", again).await;
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&last["reason"], &last["exitCode"]), (&json!("ContainerStatusUnknown"), &json!(137)));
    rig.stop().await;
}

#[tokio::test]
async fn volumes_are_filled_and_follow_their_sources() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    rig.push("waits", "1", &guests::prints_environment_and_waits()).await;
    rig.api.put("configmaps", "default", "cm", json!({ "metadata": {}, "data": { "k": "one" } }));
    let container =
        json!({ "name": "c", "image": "waits:1", "volumeMounts": [{ "name": "v", "mountPath": "/etc/v" }] });
    let volumes = json!([{ "name": "v", "configMap": { "name": "cm" } }]);
    let spec = json!({ "nodeName": "localhost", "containers": [container], "volumes": volumes });
    rig.api.put("pods", "default", "p", json!({ "metadata": {}, "spec": spec }));
    rig.api.until("pods", "p", |p| condition(p, "Ready") == "True").await;
    let file = dir.path().join("pods/uid-of-p/volumes/v/k");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
    rig.api.put("configmaps", "default", "cm", json!({ "metadata": {}, "data": { "k": "two" } }));
    let seen = async {
        while std::fs::read_to_string(&file).unwrap() != "two" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn whom_the_machine_asks_is_what_it_asks_when_a_pod_starts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resolv.conf");
    let names = NameFacts { resolv_conf: Some(file.clone()), ..NameFacts::default() };
    let rig = Rig::start_with(Config { names, ..Config::default() }, dir.path(), Api::new()).await;
    rig.push("reads", "1", &guests::prints_a_file(3, "etc/resolv.conf")).await;
    for (pod, server) in [("at-home", "192.0.2.1"), ("on-the-road", "192.0.2.2")] {
        std::fs::write(&file, format!("nameserver {server}\n")).unwrap();
        let spec = json!({
            "nodeName": "localhost", "restartPolicy": "Never", "dnsPolicy": "Default",
            "containers": [{ "name": "c", "image": "reads:1" }],
        });
        rig.api.put("pods", "default", pod, json!({ "metadata": {}, "spec": spec }));
        rig.api.until("pods", pod, |p| p["status"]["containerStatuses"][0]["state"]["terminated"].is_object()).await;
        assert_eq!(rig.log(pod, "").await, (StatusCode::OK, format!("nameserver {server}\n")));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_guest_reads_its_volume_through_the_links_that_make_updates_atomic() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    rig.push("reads", "1", &guests::prints_a_file(4, "k")).await;
    rig.api.put("secrets", "default", "s", json!({ "metadata": {}, "data": { "k": "c2VjcmV0Cg==" } }));
    let container =
        json!({ "name": "c", "image": "reads:1", "volumeMounts": [{ "name": "v", "mountPath": "/etc/v" }] });
    let volumes = json!([{ "name": "v", "secret": { "secretName": "s" } }]);
    let spec =
        json!({ "nodeName": "localhost", "restartPolicy": "Never", "containers": [container], "volumes": volumes });
    rig.api.put("pods", "default", "p", json!({ "metadata": {}, "spec": spec }));
    rig.api.until("pods", "p", |p| p["status"]["phase"] == "Succeeded").await;
    assert_eq!(rig.log("p", "").await, (StatusCode::OK, "secret\n".to_owned()));
    // What ended keeps no directories.
    let gone = async {
        while dir.path().join("pods/uid-of-p").exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn the_node_registers_with_what_it_has_and_writes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::start(dir.path(), Api::new()).await;
    let node = rig.api.until("nodes", "localhost", |n| condition(n, "Ready") == "True").await;
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1.37.0+coracle");
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/arch"], "wasm32");
    assert!(node["status"]["capacity"]["cpu"].as_str().unwrap().parse::<u64>().unwrap() > 0);
    let lease = || rig.api.get("leases", "kube-node-lease", "localhost");
    let lease = rig.api.wait(lease).await.unwrap();
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 40);
    assert!(rig.api.patches("nodes") <= 1);
    rig.stop().await;
}
