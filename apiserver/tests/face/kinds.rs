//! Every kind can be made, shown as a Table, changed, and deleted; what is kept in one version is shown in another.

use serde_json::{Value, json};

use crate::server::Server;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

fn template(policy: &str) -> Value {
    json!({"metadata": {"labels": {"a": "b"}},
        "spec": {"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]}})
}

fn kinds() -> Vec<(&'static str, Value)> {
    let selector = json!({"matchLabels": {"a": "b"}});
    let workload = json!({"spec": {"selector": selector, "template": template("Always")}});
    let job = json!({"spec": {"template": template("Never")}});
    let role = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    let binding =
        json!({"roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [{"kind": "User", "name": "u"}]});
    let backend = json!({"service": {"name": "a", "port": {"number": 80}}});
    let scaler = json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}});
    let volume = json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/a"}}});
    let attachment = json!({"spec": {"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "v"}}});
    vec![
        ("/apis/apps/v1/namespaces/default/statefulsets", workload.clone()),
        ("/apis/apps/v1/namespaces/default/daemonsets", workload),
        ("/apis/apps/v1/namespaces/default/controllerrevisions", json!({"revision": 1, "data": {"a": 1}})),
        ("/apis/batch/v1/namespaces/default/jobs", job.clone()),
        ("/apis/batch/v1/namespaces/default/cronjobs", json!({"spec": {"schedule": "@daily", "jobTemplate": job}})),
        ("/api/v1/namespaces/default/replicationcontrollers", json!({"spec": {"template": template("Always")}})),
        ("/api/v1/namespaces/default/podtemplates", json!({"template": template("Always")})),
        ("/api/v1/namespaces/default/resourcequotas", json!({"spec": {"hard": {"pods": "1"}}})),
        ("/api/v1/namespaces/default/limitranges", json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}})),
        ("/api/v1/persistentvolumes", volume),
        ("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", scaler.clone()),
        ("/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", scaler),
        ("/apis/networking.k8s.io/v1/namespaces/default/ingresses", json!({"spec": {"defaultBackend": backend}})),
        ("/apis/networking.k8s.io/v1/ingressclasses", json!({"spec": {"controller": "a.b/c"}})),
        ("/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", json!({"spec": {"podSelector": {}}})),
        ("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", role.clone()),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", role),
        ("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", binding.clone()),
        ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding),
        ("/apis/scheduling.k8s.io/v1/priorityclasses", json!({"value": 1})),
        ("/apis/node.k8s.io/v1/runtimeclasses", json!({"handler": "h"})),
        ("/apis/storage.k8s.io/v1/storageclasses", json!({"provisioner": "p"})),
        ("/apis/storage.k8s.io/v1/csidrivers", json!({"spec": {}})),
        ("/apis/storage.k8s.io/v1/csinodes", json!({"spec": {"drivers": []}})),
        ("/apis/storage.k8s.io/v1/namespaces/default/csistoragecapacities", json!({"storageClassName": "s"})),
        ("/apis/storage.k8s.io/v1/volumeattachments", attachment),
    ]
}

#[tokio::test]
async fn every_kind_is_made_shown_changed_and_deleted() {
    let server = Server::new().await;
    for (path, mut object) in kinds() {
        object["metadata"] = json!({"name": "x"});
        let made = server.post(path, &object).await;
        assert_eq!(made.code, 201, "{path}: {}", made.json);
        let table = server.get_as(path, TABLE).await.json;
        let count = |of: &str| table.pointer(of).and_then(Value::as_array).map(Vec::len);
        assert_eq!(count("/rows/0/cells"), count("/columnDefinitions"), "{path}: {table}");
        let one = format!("{path}/x");
        let changed = server.merge(&one, &json!({"metadata": {"labels": {"p": "q"}}})).await;
        assert_eq!((changed.code, changed.text("/metadata/labels/p")), (200, "q"), "{path}: {}", changed.json);
        assert_eq!(changed.text("/apiVersion"), made.text("/apiVersion"));
        assert_eq!(server.delete(&one).await.code, 200, "{path}");
    }
}

#[tokio::test]
async fn an_autoscaler_is_one_object_in_both_of_its_versions() {
    let server = Server::new().await;
    let path = |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
    let scaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70,
        "scaleTargetRef": {"kind": "Deployment", "name": "d"}}});
    assert_eq!(server.post(&path("v1"), &scaler).await.code, 201);
    let utilization = "/spec/metrics/0/resource/target/averageUtilization";
    let of = async |version: &str| server.get(&format!("{}/h", path(version))).await.json;
    assert_eq!(of("v2").await.pointer(utilization), Some(&json!(70)));
    let patch = json!({"spec": {"targetCPUUtilizationPercentage": 50}});
    assert_eq!(server.merge(&format!("{}/h", path("v1")), &patch).await.code, 200);
    assert_eq!(of("v2").await.pointer(utilization), Some(&json!(50)));
    let listed = server.get(&path("v1")).await.json;
    assert_eq!(listed["items"][0]["spec"]["targetCPUUtilizationPercentage"], json!(50), "{listed}");
}

#[tokio::test]
async fn reviews_are_answered_and_not_kept() {
    let server = Server::new().await;
    let group = "/apis/authorization.k8s.io/v1";
    let wanted = json!({"verb": "get", "resource": "pods", "namespace": "default"});
    let own = format!("{group}/selfsubjectaccessreviews");
    let answer = server.post(&own, &json!({"spec": {"resourceAttributes": wanted}})).await;
    assert_eq!((answer.code, &answer.json["status"]["allowed"]), (201, &json!(true)), "{}", answer.json);
    let others = format!("{group}/subjectaccessreviews");
    let answer = server.post(&others, &json!({"spec": {"user": "eve", "resourceAttributes": wanted}})).await;
    assert_eq!((answer.code, &answer.json["status"]["allowed"]), (201, &json!(false)), "{}", answer.json);
    assert_eq!(server.post(&others, &json!({"spec": {"resourceAttributes": wanted}})).await.code, 422);
    assert_eq!(server.get(&others).await.code, 405);
    let who = server.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await;
    assert!(!who.text("/status/userInfo/username").is_empty(), "{}", who.json);
}

#[tokio::test]
async fn who_uses_endpoints_is_told_that_they_are_deprecated() {
    let server = Server::new().await;
    let answer = server.get("/api/v1/namespaces/default/endpoints").await;
    let told = answer.headers.get("warning").and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert!(told.contains("v1 Endpoints is deprecated in v1.33+"), "{told}");
}
