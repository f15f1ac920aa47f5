//! Subresources: scale, binding, eviction, logs; and the image registry beside them.

use serde_json::json;

use crate::server::{Answer, Server};

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn pod(server: &Server, name: &str, containers: &[&str]) {
    let containers: Vec<_> = containers.iter().map(|c| json!({"name": c, "image": "i"})).collect();
    let made = server.post(PODS, &json!({"metadata": {"name": name}, "spec": {"containers": containers}})).await;
    assert_eq!(made.code, 201, "{}", made.json);
}

fn binding(name: &str, node: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "annotations": {"from": "binding"}},
        "target": {"kind": "Node", "name": node}})
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let server = Server::new().await;
    pod(&server, "p", &["c"]).await;
    assert_eq!(server.post(&format!("{PODS}/p/binding"), &binding("p", "n1")).await.code, 201);
    let bound = server.get(&format!("{PODS}/p")).await;
    assert_eq!((bound.text("/spec/nodeName"), bound.text("/metadata/annotations/from")), ("n1", "binding"));
    let condition = (bound.text("/status/conditions/0/type"), bound.text("/status/conditions/0/status"));
    assert_eq!(condition, ("PodScheduled", "True"));
    let again = server.post(&format!("{PODS}/p/binding"), &binding("p", "n2")).await;
    let message = "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"";
    assert_eq!(again.refusal(), (409, message));
}

#[tokio::test]
async fn logs_are_streamed_from_the_node() {
    let server = Server::new().await;
    pod(&server, "p", &["a", "b"]).await;
    let refused = server.get(&format!("{PODS}/p/log")).await;
    assert_eq!(refused.refusal(), (400, "a container name must be specified for pod p, choose one of: [a b]"));
    assert_eq!(
        server.get(&format!("{PODS}/p/log?container=x")).await.refusal().1,
        "container x is not valid for pod p"
    );
    assert_eq!(server.get(&format!("{PODS}/p/log?container=a")).await.code, 204);
    server.post("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await;
    server.post(&format!("{PODS}/p/binding"), &binding("p", "n1")).await;
    let log = server.get(&format!("{PODS}/p/log?container=a&follow=true&tailLines=3")).await;
    assert_eq!(log.json, "kubelet /containerLogs/default/p/a?follow=true&tailLines=3");
}

#[tokio::test]
async fn an_eviction_deletes_politely() {
    let server = Server::new().await;
    pod(&server, "p", &["c"]).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    assert_eq!(server.post(&format!("{PODS}/p/eviction"), &eviction).await.code, 201);
    assert_eq!(server.get(&format!("{PODS}/p")).await.code, 404);
}

#[tokio::test]
async fn replicas_are_scaled_in_one_shape() {
    let server = Server::new().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server
        .post(path, &json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}))
        .await;
    let scaled = server.merge(&format!("{path}/d/scale"), &json!({"spec": {"replicas": 5}})).await;
    assert_eq!((scaled.text("/kind"), scaled.json["spec"]["replicas"].clone()), ("Scale", json!(5)));
    assert_eq!(server.get(&format!("{path}/d")).await.json["spec"]["replicas"], 5);
    let refused = server.merge(&format!("{path}/d/scale"), &json!({"spec": {"replicas": -1}})).await;
    assert_eq!(refused.code, 422);
    assert_eq!(server.delete(&format!("{path}/d/scale")).await.code, 405);
}

#[tokio::test]
async fn images_are_served_beside_the_api() {
    let server = Server::new().await;
    assert_eq!(server.get("/v2/hello/tags/list").await.json, "images /v2/hello/tags/list");
}

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let body = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_says_whom_it_speaks_for_and_what_it_is_bound_to() {
    let server = Server::new().await;
    server.post(ACCOUNTS, &json!({"metadata": {"name": "sa"}})).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "sa", "nodeName": "n1",
        "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(server.post(PODS, &pod).await.code, 201);
    let plain = server.post(&format!("{ACCOUNTS}/sa/token"), &json!({"spec": {}})).await;
    assert_eq!((plain.code, plain.text("/kind"), plain.text("/metadata/name")), (201, "TokenRequest", "sa"));
    assert_eq!(plain.json["spec"]["expirationSeconds"], 3600);
    let plain = claims(plain.text("/status/token"));
    assert_eq!(plain["sub"], "system:serviceaccount:default:sa");
    assert_eq!(plain["aud"], json!(["https://kubernetes.default.svc"]));
    let bound = json!({"spec": {"expirationSeconds": 3607, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}});
    let bound = server.post(&format!("{ACCOUNTS}/sa/token"), &bound).await;
    let bound = claims(bound.text("/status/token"));
    assert_eq!(bound["kubernetes.io"]["pod"]["name"], "p");
    assert_eq!(bound["kubernetes.io"]["node"], json!({"name": "n1"}));
    let lasts = bound["exp"].as_i64().unwrap() - bound["iat"].as_i64().unwrap();
    assert_eq!(lasts, 365 * 24 * 3600, "pods that think their token lasts forever get a year");
}

#[tokio::test]
async fn a_token_is_refused_for_what_makes_no_sense() {
    let server = Server::new().await;
    server.post(ACCOUNTS, &json!({"metadata": {"name": "sa"}})).await;
    pod(&server, "other", &["c"]).await;
    let bound =
        |kind: &str, name: &str| json!({"spec": {"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name}}});
    let mut stale = bound("Pod", "other");
    stale["metadata"] = json!({"uid": "1"});
    for (account, request, code, message) in [
        ("sa", json!({"spec": {"expirationSeconds": 599}}), 422, "may not specify a duration less than 10 minutes"),
        (
            "sa",
            json!({"spec": {"expirationSeconds": 4_294_967_297_i64}}),
            422,
            "may not specify a duration larger than 2^32 seconds",
        ),
        ("absent", json!({"spec": {}}), 404, "serviceaccounts \"absent\" not found"),
        ("sa", bound("Pod", "absent"), 404, "pods \"absent\" not found"),
        ("sa", bound("ConfigMap", "x"), 400, "cannot bind token to object of type /v1, Kind=ConfigMap"),
        (
            "sa",
            bound("Pod", "other"),
            400,
            "cannot bind token for serviceaccount \"sa\" to pod running with different serviceaccount name.",
        ),
        ("sa", stale, 409, "does not match the UID of the service account"),
        ("sa", json!({"metadata": {"name": "x"}, "spec": {}}), 422, "must match the service account name if specified"),
    ] {
        let refused = server.post(&format!("{ACCOUNTS}/{account}/token"), &request).await;
        assert!(refused.code == code && refused.text("/message").contains(message), "{}", refused.json);
    }
}

async fn running(server: &Server, name: &str) {
    let labels = json!({"app": "e"});
    let pod = json!({"metadata": {"name": name, "labels": labels},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(server.post(PODS, &pod).await.code, 201);
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    assert_eq!(server.merge(&format!("{PODS}/{name}/status"), &status).await.code, 200);
}

#[tokio::test]
async fn a_container_s_status_says_its_state_and_the_last_one() {
    let server = Server::new().await;
    running(&server, "p").await;
    let container = json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "Starting"}}});
    let status = json!({"status": {"containerStatuses": [container]}});
    let answer = server.merge(&format!("{PODS}/p/status"), &status).await;
    let said = &answer.json["status"]["containerStatuses"][0];
    assert_eq!(said["state"], json!({"waiting": {"reason": "Starting"}}), "{}", answer.json);
    assert_eq!(said["lastState"], json!({}), "{}", answer.json);
}

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

async fn budget(server: &Server, name: &str) {
    let budget =
        json!({"metadata": {"name": name}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "e"}}}});
    let made = server.post(BUDGETS, &budget).await;
    assert_eq!(made.code, 201, "{}", made.json);
}

async fn evict(server: &Server, pod: &str) -> crate::server::Answer {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    server.post(&format!("{PODS}/{pod}/eviction"), &eviction).await
}

#[tokio::test]
async fn an_eviction_asks_the_budget_and_spends_it() {
    let server = Server::new().await;
    running(&server, "p").await;
    budget(&server, "b").await;
    let early = evict(&server, "p").await;
    let sentence = "Cannot evict pod as it would violate the pod's disruption budget.";
    assert_eq!(early.refusal(), (429, sentence));
    assert_eq!(early.json["details"]["retryAfterSeconds"], 10);
    assert_eq!(
        early.text("/details/causes/0/message"),
        "The disruption budget b is still being processed by the server."
    );
    let seen =
        json!({"status": {"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}});
    server.merge(&format!("{BUDGETS}/b/status"), &seen).await;
    let refused = evict(&server, "p").await;
    assert_eq!(refused.refusal(), (429, sentence));
    assert_eq!(refused.text("/details/causes/0/reason"), "DisruptionBudget");
    assert_eq!(
        refused.text("/details/causes/0/message"),
        "The disruption budget b needs 1 healthy pods and has 1 currently"
    );
    server.merge(&format!("{BUDGETS}/b/status"), &json!({"status": {"disruptionsAllowed": 1}})).await;
    assert_eq!(evict(&server, "p").await.code, 201);
    let budget = server.get(&format!("{BUDGETS}/b")).await;
    assert_eq!(budget.json["status"]["disruptionsAllowed"], 0);
    assert!(!budget.text("/status/disruptedPods/p").is_empty());
    assert_eq!(budget.text("/status/conditions/0/reason"), "InsufficientPods");
    let pod = server.get(&format!("{PODS}/p")).await;
    assert_eq!(pod.text("/status/conditions/1/reason"), "EvictionByEvictionAPI");
    assert_eq!(pod.json["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(evict(&server, "p").await.code, 201, "what is going already costs nothing");
}

#[tokio::test]
async fn a_pod_under_two_budgets_is_not_evicted() {
    let server = Server::new().await;
    running(&server, "p").await;
    budget(&server, "a").await;
    budget(&server, "b").await;
    let refused = evict(&server, "p").await;
    let sentence = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    assert_eq!(refused.refusal(), (500, sentence));
    server.merge(&format!("{PODS}/p/status"), &json!({"status": {"phase": "Failed"}})).await;
    assert_eq!(evict(&server, "p").await.code, 201);
    assert_eq!(server.get(&format!("{PODS}/p")).await.code, 404);
}

#[tokio::test]
async fn a_tried_eviction_spends_nothing() {
    let server = Server::new().await;
    running(&server, "p").await;
    budget(&server, "b").await;
    let seen = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1}});
    server.merge(&format!("{BUDGETS}/b/status"), &seen).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    assert_eq!(server.post(&format!("{PODS}/p/eviction?dryRun=All"), &eviction).await.code, 201);
    assert_eq!(server.get(&format!("{BUDGETS}/b")).await.json["status"]["disruptionsAllowed"], 1);
    assert_eq!(server.get(&format!("{PODS}/p")).await.text("/metadata/deletionTimestamp"), "");
}

#[tokio::test]
async fn budgets_are_checked() {
    let server = Server::new().await;
    for (spec, message) in [
        (json!({"minAvailable": 1, "maxUnavailable": 1}), "minAvailable and maxUnavailable cannot be both set"),
        (json!({"minAvailable": "101%"}), "spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%"),
        (json!({"maxUnavailable": -1}), "spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0"),
        (
            json!({"unhealthyPodEvictionPolicy": "x"}),
            "Unsupported value: \"x\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
        ),
    ] {
        let refused = server.post(BUDGETS, &json!({"metadata": {"name": "b"}, "spec": spec})).await;
        assert!(refused.code == 422 && refused.text("/message").contains(message), "{}", refused.json);
    }
    budget(&server, "b").await;
    let whole = server.get(&format!("{BUDGETS}/b")).await.json;
    let mut unconditional = whole.clone();
    unconditional["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(server.put(&format!("{BUDGETS}/b"), &unconditional).await.code, 422, "a budget is not overwritten");
    assert_eq!(server.put(&format!("{BUDGETS}/b"), &whole).await.code, 200);
}

#[tokio::test]
async fn ephemeral_containers_are_added_and_stay() {
    let server = Server::new().await;
    pod(&server, "p", &["c"]).await;
    let path = format!("{PODS}/p/ephemeralcontainers");
    let add = |containers: serde_json::Value| json!({"metadata": {"labels": {"a": "b"}}, "spec": {"ephemeralContainers": containers}});
    let added = server.merge(&path, &add(json!([{"name": "e", "image": "i"}]))).await;
    assert_eq!((added.code, added.text("/spec/ephemeralContainers/0/image")), (200, "i"));
    assert_eq!(added.json["metadata"].get("labels"), None, "nothing else changes");
    for (containers, word) in [(json!([{"name": "e", "image": "j"}]), "changed"), (json!([]), "removed")] {
        let refused = server.merge(&path, &add(containers)).await;
        let message = format!("existing ephemeral containers \"e\" may not be {word}");
        assert!(refused.code == 422 && refused.text("/message").contains(&message), "{}", refused.json);
    }
    assert_eq!(server.post(&path, &json!({})).await.code, 405);
}

#[tokio::test]
async fn a_resize_changes_cpu_and_memory_only() {
    let server = Server::new().await;
    let resources = json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m"}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}});
    assert_eq!(server.post(PODS, &pod).await.code, 201);
    let path = format!("{PODS}/p/resize");
    let patch = |resources: serde_json::Value| json!({"spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}});
    let wanted = json!({"requests": {"cpu": "150m", "memory": "64Mi"}, "limits": {"cpu": "300m"}});
    let resized = server.merge(&path, &patch(wanted.clone())).await;
    assert_eq!((resized.code, &resized.json["spec"]["containers"][0]["resources"]), (200, &wanted), "{}", resized.json);
    for (resources, message) in [
        (json!({"requests": {"cpu": "150m"}, "limits": {"cpu": "300m"}}), "resource requests cannot be removed"),
        (
            json!({"requests": {"cpu": "300m", "memory": "64Mi"}, "limits": {"cpu": "300m", "memory": "64Mi"}}),
            "Pod QOS Class may not change as a result of resizing",
        ),
        (
            json!({"requests": {"cpu": "150m", "memory": "64Mi"}, "limits": {"cpu": "300m", "ephemeral-storage": "1Gi"}}),
            "only cpu and memory resources are mutable",
        ),
    ] {
        let refused = server.merge(&path, &patch(resources)).await;
        assert!(refused.code == 422 && refused.text("/message").contains(message), "{}", refused.json);
    }
    let other = json!({"spec": {"containers": [{"name": "d", "image": "i", "resources": wanted}]}});
    assert!(
        server
            .merge(&path, &other)
            .await
            .text("/message")
            .contains("containers may not be renamed or reordered on resize")
    );
}

#[tokio::test]
async fn streams_are_refused_as_by_a_server_without_nodes() {
    let server = Server::new().await;
    pod(&server, "free", &["c"]).await;
    running(&server, "lost").await;
    let exec = |name: &str| format!("{PODS}/{name}/exec?command=ls");
    assert_eq!(server.post(&exec("free"), &json!({})).await.refusal(), (400, "pod free does not have a host assigned"));
    assert_eq!(server.get(&exec("lost")).await.refusal(), (404, "nodes \"n1\" not found"));
    assert_eq!(server.get(&exec("absent")).await.refusal(), (404, "pods \"absent\" not found"));
    server.post("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await;
    assert_eq!(server.get(&exec("lost")).await.refusal(), (400, "Upgrade request required"));
    assert_eq!(server.get(&format!("{PODS}/lost/portforward")).await.refusal(), (400, "Upgrade request required"));
}

#[tokio::test]
async fn a_pods_proxy_is_asked_by_the_kubelet_of_its_node() {
    let server = Server::new().await;
    running(&server, "web").await;
    let proxy = |path: &str| format!("{PODS}/{path}");
    assert_eq!(server.get(&proxy("web/proxy/")).await.refusal(), (400, "address not allowed"));
    server.merge(&proxy("web/status"), &json!({"status": {"podIP": "10.42.0.9"}})).await;
    assert_eq!(server.get(&proxy("web/proxy/")).await.refusal(), (404, "nodes \"n1\" not found"));
    server.post("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await;
    let said = |answer: Answer| answer.json.as_str().map(str::to_owned).unwrap_or_default();
    assert_eq!(said(server.get(&proxy("web/proxy/")).await), "kubelet /proxy/default/web/http:80/");
    assert_eq!(
        said(server.get(&proxy("https:web:8443/proxy/a/../../b%2Fc//?d=/../e")).await),
        "kubelet /proxy/default/web/https:8443/b%2Fc//?d=/../e"
    );
    assert_eq!(server.get(&proxy("web/proxy")).await.code, 301);
    assert_eq!(server.get(&proxy("ftp:web:21/proxy/")).await.refusal(), (400, "invalid pod request \"ftp:web:21\""));
    assert_eq!(server.get(&proxy("none:80/proxy/")).await.refusal(), (404, "pods \"none\" not found"));
}

#[tokio::test]
async fn a_nodes_proxy_is_its_kubelet() {
    let server = Server::new().await;
    server.post("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await;
    server.post("/api/v1/nodes", &json!({"metadata": {"name": "far"}})).await;
    let nodes = |path: &str| format!("/api/v1/nodes/{path}");
    let summary = server.get(&nodes("n1/proxy/stats/summary?only_cpu_and_memory=true")).await;
    assert_eq!(summary.json, "kubelet /stats/summary?only_cpu_and_memory=true");
    assert_eq!(server.get(&nodes("https:n1:10250/proxy/metrics")).await.json, "kubelet /metrics");
    assert_eq!(server.get(&nodes("n1/proxy/a%2Fb/")).await.json, "kubelet /a%2Fb/");
    assert_eq!(server.get(&nodes("n1/proxy")).await.json, "kubelet /");
    assert_eq!(server.get(&nodes("n1:80/proxy/")).await.code, 503);
    assert_eq!(server.get(&nodes("far/proxy/pods")).await.code, 503);
    assert_eq!(server.get(&nodes("none/proxy/pods")).await.refusal(), (404, "nodes \"none\" not found"));
    assert_eq!(server.get(&nodes("n1/status/more")).await.code, 404);
}

#[tokio::test]
async fn who_one_is_and_what_one_may_do_is_told() {
    let server = Server::new().await;
    let authorization = |plural: &str| format!("/apis/authorization.k8s.io/v1/{plural}");
    let me = server.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await;
    assert_eq!((me.code, me.text("/status/userInfo/username")), (201, "admin"));
    let pods = json!({"verb": "get", "resource": "pods", "namespace": "default"});
    let mine = json!({"spec": {"resourceAttributes": pods}});
    let told = server.post(&authorization("selfsubjectaccessreviews"), &mine).await;
    assert_eq!((told.code, &told.json["status"]["allowed"]), (201, &json!(true)), "{}", told.json);
    let theirs = json!({"spec": {"user": "eve", "resourceAttributes": pods}});
    let told = server.post(&authorization("subjectaccessreviews"), &theirs).await;
    assert_eq!((told.code, &told.json["status"]["allowed"]), (201, &json!(false)), "{}", told.json);
    let rules =
        server.post(&authorization("selfsubjectrulesreviews"), &json!({"spec": {"namespace": "default"}})).await;
    assert_eq!((rules.code, &rules.json["status"]["incomplete"]), (201, &json!(false)), "{}", rules.json);
    for (plural, asked, message) in [
        (
            "subjectaccessreviews",
            json!({"spec": {"user": "u"}}),
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        (
            "subjectaccessreviews",
            json!({"spec": {"resourceAttributes": pods}}),
            "at least one of user or group must be specified",
        ),
        (
            "selfsubjectaccessreviews",
            json!({"spec": {"resourceAttributes": pods, "nonResourceAttributes": {"path": "/"}}}),
            "cannot be specified in combination with resourceAttributes",
        ),
    ] {
        let refused = server.post(&authorization(plural), &asked).await;
        assert!(
            refused.code == 422 && refused.text("/message").starts_with(".authorization.k8s.io \"\" is invalid:"),
            "{}",
            refused.json
        );
        assert!(refused.text("/message").contains(message), "{}", refused.json);
    }
    let nowhere = server.post(&authorization("selfsubjectrulesreviews"), &json!({"spec": {}})).await;
    assert_eq!(nowhere.refusal(), (400, "no namespace on request"));
    let here = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let elsewhere =
        json!({"spec": {"user": "u", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "other"}}});
    assert!(server.post(here, &elsewhere).await.text("/message").contains("must match metadata.namespace"));
    assert_eq!(server.get(&authorization("subjectaccessreviews")).await.code, 405, "questions are not kept");
}

#[tokio::test]
async fn a_token_is_reviewed_for_those_it_speaks_to() {
    let server = Server::new().await;
    server.post(ACCOUNTS, &json!({"metadata": {"name": "sa"}})).await;
    let path = format!("{ACCOUNTS}/sa/token");
    let ours = server.post(&path, &json!({"spec": {}})).await.text("/status/token").to_owned();
    let theirs = server.post(&path, &json!({"spec": {"audiences": ["boat"]}})).await.text("/status/token").to_owned();
    let review = async |spec: serde_json::Value| {
        server.post("/apis/authentication.k8s.io/v1/tokenreviews", &json!({"spec": spec})).await
    };
    let told = review(json!({"token": ours})).await;
    assert_eq!((told.code, &told.json["status"]["authenticated"]), (201, &json!(true)), "{}", told.json);
    assert_eq!(told.text("/status/user/username"), "system:serviceaccount:default:sa");
    assert_eq!(told.json["status"]["audiences"], json!(["https://kubernetes.default.svc"]));
    let told = review(json!({"token": theirs, "audiences": ["boat", "ship"]})).await;
    assert_eq!(told.json["status"]["audiences"], json!(["boat"]));
    let told = review(json!({"token": theirs})).await;
    let why = "[invalid bearer token, token audiences [\"boat\"] is invalid for the target audiences [\"https://kubernetes.default.svc\"]]";
    assert_eq!(told.text("/status/error"), why);
    assert_eq!(review(json!({"token": "bad"})).await.text("/status/error"), "invalid bearer token");
    assert_eq!(review(json!({})).await.refusal(), (400, "token is required for TokenReview in authentication"));
    server.delete(&format!("{ACCOUNTS}/sa")).await;
    let told = review(json!({"token": ours})).await;
    assert_eq!(told.text("/status/error"), "[invalid bearer token, serviceaccounts \"sa\" not found]");
}
