//! Objects come, change, and keep what is theirs.

use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::server::{CONFIG_MAPS, Server};

#[tokio::test]
async fn an_object_is_made_read_replaced_and_patched() {
    let server = Server::new().await;
    let api: Api<ConfigMap> = Api::default_namespaced(server.client.clone());
    let new: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"x": "1"}})).unwrap();
    let made = api.create(&PostParams::default(), &new).await.unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    let mut read = api.get("a").await.unwrap();
    assert_eq!(read, made);
    read.data.get_or_insert_default().insert("y".into(), "2".into());
    let replaced = api.replace("a", &PostParams::default(), &read).await.unwrap();
    assert_ne!(replaced.metadata.resource_version, made.metadata.resource_version);
    for patch in
        [Patch::Merge(json!({"data": {"z": "3"}})), Patch::Strategic(json!({"metadata": {"labels": {"p": "q"}}}))]
    {
        api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    }
    let operations = serde_json::from_value(json!([{"op": "remove", "path": "/data/x"}])).unwrap();
    let patched = api.patch("a", &PatchParams::default(), &Patch::Json::<()>(operations)).await.unwrap();
    let keys: Vec<String> = patched.data.unwrap().into_keys().collect();
    assert_eq!(keys, ["y", "z"]);
    assert_eq!(patched.metadata.labels.unwrap()["p"], "q");
}

#[tokio::test]
async fn a_change_of_an_older_state_conflicts() {
    let server = Server::new().await;
    let old = server.config_map("a", "1").await;
    let path = format!("{CONFIG_MAPS}/a");
    assert_eq!(server.merge(&path, &json!({"data": {"k": "2"}})).await.code, 200);
    let (code, message) = (
        409,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
    );
    assert_eq!(server.put(&path, &old.json).await.refusal(), (code, message));
    assert_eq!(server.post(CONFIG_MAPS, &json!({"metadata": {"name": "a"}})).await.code, 409);
    let mut other = old.json.clone();
    other["metadata"]["resourceVersion"] = "".into();
    other["metadata"]["uid"] = "11111111-1111-1111-1111-111111111111".into();
    assert_eq!(server.put(&path, &other).await.code, 409);
}

#[tokio::test]
async fn a_change_that_changes_nothing_is_no_write() {
    let server = Server::new().await;
    let made = server.config_map("a", "1").await;
    let same = server.merge(&format!("{CONFIG_MAPS}/a"), &json!({"data": {"k": "1"}})).await;
    assert_eq!(same.json, made.json);
}

#[tokio::test]
async fn generated_names_begin_as_asked_and_differ() {
    let server = Server::new().await;
    let object = json!({"metadata": {"generateName": "web-"}});
    let (a, b) = (server.post(CONFIG_MAPS, &object).await, server.post(CONFIG_MAPS, &object).await);
    let (a, b) = (a.text("/metadata/name"), b.text("/metadata/name"));
    assert!(a.starts_with("web-") && a.len() == 9 && a != b, "{a} {b}");
}

#[tokio::test]
async fn what_is_the_servers_cannot_be_set() {
    let server = Server::new().await;
    let sent = json!({"metadata": {"name": "a", "uid": "u", "generation": 7, "creationTimestamp": "2001-01-01T00:00:00Z",
        "selfLink": "x", "managedFields": [], "deletionTimestamp": "2001-01-01T00:00:00Z"}});
    let made = server.post(CONFIG_MAPS, &sent).await;
    let mut fields: Vec<&String> = made.json["metadata"].as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["creationTimestamp", "name", "namespace", "resourceVersion", "uid"]);
    assert_ne!(made.text("/metadata/uid"), "u");
}

#[tokio::test]
async fn a_dry_run_tells_what_would_be_and_writes_nothing() {
    let server = Server::new().await;
    let path = format!("{CONFIG_MAPS}?dryRun=All");
    assert_eq!(server.post(&path, &json!({"metadata": {"name": "a"}})).await.code, 201);
    assert_eq!(server.get(&format!("{CONFIG_MAPS}/a")).await.code, 404);
    server.config_map("b", "1").await;
    let tried = server.merge(&format!("{CONFIG_MAPS}/b?dryRun=All"), &json!({"data": {"k": "2"}})).await;
    assert_eq!(tried.text("/data/k"), "2");
    assert_eq!(server.delete(&format!("{CONFIG_MAPS}/b?dryRun=All")).await.code, 200);
    assert_eq!(server.get(&format!("{CONFIG_MAPS}/b")).await.text("/data/k"), "1");
}

#[tokio::test]
async fn unknown_fields_warn_or_are_refused() {
    let server = Server::new().await;
    let odd = json!({"metadata": {"name": "a"}, "dat": {}});
    let warned = server.post(CONFIG_MAPS, &odd).await;
    assert_eq!((warned.code, warned.warnings()), (201, vec![r#"299 - "unknown field \"dat\"""#]));
    let refused = server.post(&format!("{CONFIG_MAPS}?fieldValidation=Strict"), &odd).await;
    let message =
        r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dat""#;
    assert_eq!(refused.refusal(), (400, message));
}

#[tokio::test]
async fn yaml_is_read_and_written() {
    let server = Server::new().await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: \"1\"\n";
    let media = [("content-type", "application/yaml"), ("accept", "application/yaml")];
    let made = server.send(Method::POST, CONFIG_MAPS, &media, yaml).await;
    assert_eq!(made.code, 201);
    assert!(made.json.as_str().unwrap().contains("kind: ConfigMap"));
}

#[tokio::test]
async fn bodies_that_make_no_sense_are_refused_with_the_reason() {
    let server = Server::new().await;
    let check = async |body: &str, code: u16, part: &str| {
        let answer = server.send(Method::POST, CONFIG_MAPS, &[("content-type", "application/json")], body).await;
        assert_eq!(answer.code, code, "{body}: {}", answer.json);
        assert!(answer.text("/message").contains(part), "{body}: {}", answer.json);
    };
    check("{", 400, "must be of type ConfigMap").await;
    check("[]", 400, "must be of type ConfigMap").await;
    check(r#"{"kind": "Secret", "metadata": {"name": "a"}}"#, 400, "cannot be handled as a ConfigMap").await;
    check("{}", 422, "name or generateName is required").await;
    check(r#"{"metadata": {"name": "A"}}"#, 422, "RFC 1123").await;
    check(r#"{"metadata": {"name": "a", "namespace": "b"}}"#, 400, "does not match the namespace").await;
    check(r#"{"metadata": {"name": "a"}, "data": 3}"#, 400, "cannot be handled as a ConfigMap").await;
    let large = format!(r#"{{"metadata": {{"name": "a"}}, "data": {{"k": "{}"}}}}"#, "x".repeat(4 << 20));
    check(&large, 413, "limit is 3145728").await;
}

#[tokio::test]
async fn a_generation_counts_changes_of_the_spec() {
    let server = Server::new().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let sent =
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    assert_eq!(server.post(path, &sent).await.json["metadata"]["generation"], 1);
    let one = format!("{path}/d");
    assert_eq!(server.merge(&one, &json!({"spec": {"replicas": 3}})).await.json["metadata"]["generation"], 2);
    let labelled = server.merge(&one, &json!({"metadata": {"labels": {"x": "y"}}})).await;
    assert_eq!(labelled.json["metadata"]["generation"], 2);
    let status = server.merge(&format!("{one}/status"), &json!({"status": {"replicas": 1}})).await;
    assert_eq!(
        (status.json["metadata"]["generation"].clone(), status.json["status"]["replicas"].clone()),
        (json!(2), json!(1))
    );
}

#[tokio::test]
async fn nothing_is_made_where_there_is_no_namespace() {
    let server = Server::new().await;
    let refused = server.post("/api/v1/namespaces/absent/configmaps", &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(refused.refusal(), (404, "namespaces \"absent\" not found"));
}

#[tokio::test]
async fn many_writers_of_one_object_lose_nothing() {
    let server = Server::new().await;
    server.config_map("a", "1").await;
    let api: Api<ConfigMap> = Api::default_namespaced(server.client.clone());
    let writes = (0..32).map(|i| {
        let api = api.clone();
        async move {
            let patch = json!({"data": {format!("k{i}"): "x"}});
            api.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        }
    });
    futures::future::join_all(writes).await;
    assert_eq!(api.get("a").await.unwrap().data.unwrap().len(), 33);
}
