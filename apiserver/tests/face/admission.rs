//! The admission plugins, on and off.

use serde_json::{Value, json};

use crate::server::{Answer, Server};

const PODS: &str = "/api/v1/namespaces/default/pods";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

fn pod(spec: &Value) -> Value {
    let mut all = json!({"containers": [{"name": "c", "image": "i:1"}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"metadata": {"name": "p"}, "spec": all})
}

/// A server with the plugins that are on if nobody says otherwise.
async fn usual() -> Server {
    Server::with(|config| config.disable_admission_plugins.clear()).await
}

async fn enabling(plugin: &str) -> Server {
    Server::with(|config| config.enable_admission_plugins.push(plugin.to_owned())).await
}

async fn disabling(plugin: &str) -> Server {
    Server::with(|config| config.disable_admission_plugins.push(plugin.to_owned())).await
}

fn texts<'a>(answer: &'a Answer, list: &str, field: &str) -> Vec<&'a str> {
    let items = answer.json.pointer(list).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| item.get(field).and_then(Value::as_str)).collect()
}

#[tokio::test]
async fn a_pod_runs_as_an_account_that_exists() {
    let server = usual().await;
    let refused = server.post(PODS, &pod(&json!({"serviceAccountName": "robot"}))).await;
    let why =
        r#"pods "p" is forbidden: error looking up service account default/robot: serviceaccount "robot" not found"#;
    assert_eq!(refused.refusal(), (403, why));
    let account = json!({"metadata": {"name": "default"}, "imagePullSecrets": [{"name": "s"}]});
    assert_eq!(server.post(ACCOUNTS, &account).await.code, 201);
    let made = server.post(PODS, &pod(&json!({}))).await;
    assert_eq!(made.code, 201, "{}", made.json);
    assert_eq!(made.text("/spec/serviceAccountName"), "default");
    assert_eq!(made.text("/spec/serviceAccount"), "default");
    assert_eq!(texts(&made, "/spec/imagePullSecrets", "name"), ["s"]);
}

#[tokio::test]
async fn a_pod_waits_for_the_account_that_a_controller_is_about_to_make() {
    let server = usual().await;
    let (wanted, account) = (pod(&json!({})), json!({"metadata": {"name": "default"}}));
    // The pod is asked for first.
    let (made, _) = tokio::join!(server.post(PODS, &wanted), server.post(ACCOUNTS, &account));
    assert_eq!(made.code, 201, "{}", made.json);
}

#[tokio::test]
async fn without_the_plugin_a_pod_has_no_account() {
    let made = Server::new().await.post(PODS, &pod(&json!({}))).await;
    assert_eq!((made.code, made.json.pointer("/spec/serviceAccountName")), (201, None));
}

#[tokio::test]
async fn a_priority_comes_from_its_class() {
    let server = Server::new().await;
    let refusal = |why: &str| format!(r#"pods "p" is forbidden: {why}"#);
    for (spec, why) in [
        (json!({"priorityClassName": "nope"}), "no PriorityClass with name nope was found"),
        (
            json!({"priority": 5}),
            "the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name",
        ),
    ] {
        let refused = server.post(PODS, &pod(&spec)).await;
        assert_eq!(refused.refusal(), (403, refusal(why).as_str()));
    }
    let made = server.post(PODS, &pod(&json!({"priorityClassName": "system-cluster-critical"}))).await;
    assert_eq!(made.json.pointer("/spec/priority"), Some(&json!(2_000_000_000)));
    assert_eq!(made.text("/spec/preemptionPolicy"), "PreemptLowerPriority");
    let without = disabling("Priority").await.post(PODS, &pod(&json!({}))).await;
    assert_eq!(without.json.pointer("/spec/priority"), None, "{}", without.json);
}

#[tokio::test]
async fn a_pod_tolerates_lost_nodes_for_a_while() {
    let made =
        Server::new().await.post(PODS, &pod(&json!({"tolerations": [{"key": "a", "operator": "Exists"}]}))).await;
    let keys = ["a", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
    assert_eq!(texts(&made, "/spec/tolerations", "key"), keys);
    let without = disabling("DefaultTolerationSeconds").await.post(PODS, &pod(&json!({}))).await;
    assert_eq!(without.json.pointer("/spec/tolerations"), None);
}

#[tokio::test]
async fn a_new_node_is_tainted_until_it_is_known_to_be_ready() {
    let node = json!({"metadata": {"name": "n"}});
    let tainted = usual().await.post("/api/v1/nodes", &node).await;
    assert_eq!(texts(&tainted, "/spec/taints", "key"), ["node.kubernetes.io/not-ready"]);
    let plain = Server::new().await.post("/api/v1/nodes", &node).await;
    assert_eq!(plain.json.pointer("/spec/taints"), None);
}

#[tokio::test]
async fn without_its_plugin_a_namespace_need_not_exist_and_may_always_go() {
    let nowhere = "/api/v1/namespaces/nowhere/configmaps";
    let map = json!({"metadata": {"name": "c"}});
    let usual = Server::new().await;
    assert_eq!(usual.post(nowhere, &map).await.refusal(), (404, r#"namespaces "nowhere" not found"#));
    let why = r#"namespaces "default" is forbidden: this namespace may not be deleted"#;
    assert_eq!(usual.delete("/api/v1/namespaces/default").await.refusal(), (403, why));
    let lax = disabling("NamespaceLifecycle").await;
    assert_eq!(lax.post(nowhere, &map).await.code, 201);
    assert_eq!(lax.delete("/api/v1/namespaces/default").await.code, 200);
    let strict = Server::with(|config| {
        config.disable_admission_plugins.push("NamespaceLifecycle".to_owned());
        config.enable_admission_plugins.push("NamespaceExists".to_owned());
    });
    assert_eq!(strict.await.post(nowhere, &map).await.code, 404);
}

#[tokio::test]
async fn plugins_that_are_usually_off_do_something_when_they_are_enabled() {
    let pulled = enabling("AlwaysPullImages").await.post(PODS, &pod(&json!({}))).await;
    assert_eq!(texts(&pulled, "/spec/containers", "imagePullPolicy"), ["Always"]);
    let denied = enabling("AlwaysDeny").await.post(PODS, &pod(&json!({}))).await;
    let why = r#"pods "p" is forbidden: admission control is denying all modifications"#;
    assert_eq!(denied.refusal(), (403, why));
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}], "externalIPs": ["192.0.2.1"]}});
    let refused = enabling("DenyServiceExternalIPs").await.post("/api/v1/namespaces/default/services", &service).await;
    let why = r#"services "s" is forbidden: Use of external IPs is denied by admission control."#;
    assert_eq!(refused.refusal(), (403, why));
}
