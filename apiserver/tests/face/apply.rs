//! Server-side apply as clients see it: answers, refusals, and who is written down as an owner by every kind of write.

use http::Method;
use serde_json::{Value, json};

use crate::server::{Answer, CONFIG_MAPS, Server};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn apply(server: &Server, path: &str, body: &str) -> Answer {
    server.send(Method::PATCH, path, &[("content-type", "application/apply-patch+yaml")], body).await
}

fn config_map(data: &Value) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}).to_string()
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

fn whole() -> Value {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    deployment(json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}))
}

/// `manager operation[/subresource]` of each entry, in their order.
fn owners(answer: &Answer) -> Vec<String> {
    let entries = answer.json["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or("").to_owned();
    let name = |entry: &Value| match text(entry, "subresource").as_str() {
        "" => format!("{} {}", text(entry, "manager"), text(entry, "operation")),
        below => format!("{} {}/{below}", text(entry, "manager"), text(entry, "operation")),
    };
    let mut owners: Vec<String> = entries.iter().map(name).collect();
    owners.sort();
    owners
}

#[tokio::test]
async fn an_apply_makes_an_object_and_then_changes_it_only_if_it_says_something_new() {
    let server = Server::new().await;
    let path = format!("{CONFIG_MAPS}/c?fieldManager=one");
    let made = apply(&server, &path, &config_map(&json!({"a": "1"}))).await;
    assert_eq!((made.code, owners(&made)), (201, vec!["one Apply".to_owned()]));
    let entry = &made.json["metadata"]["managedFields"][0];
    assert_eq!((&entry["apiVersion"], &entry["fieldsType"]), (&json!("v1"), &json!("FieldsV1")));
    assert_eq!(entry["fieldsV1"], json!({"f:data": {"f:a": {}}}));
    let again =
        apply(&server, &path, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  a: \"1\"\n").await;
    assert_eq!((again.code, &again.json), (200, &made.json));
    let dry = apply(&server, &format!("{path}&dryRun=All"), &config_map(&json!({"z": "1"}))).await;
    assert_eq!(dry.json["data"], json!({"z": "1"}));
    assert_eq!(server.get(&format!("{CONFIG_MAPS}/c")).await.json, made.json);
}

#[tokio::test]
async fn a_conflict_is_told_with_its_owner_and_its_fields() {
    let server = Server::new().await;
    let path = |manager: &str| format!("{CONFIG_MAPS}/c?fieldManager={manager}");
    apply(&server, &path("one"), &config_map(&json!({"a": "1", "b": "1"}))).await;
    let refused = apply(&server, &path("two"), &config_map(&json!({"a": "2", "b": "1"}))).await;
    let why = "Apply failed with 1 conflict: conflict with \"one\": .data.a";
    assert_eq!(refused.refusal(), (409, why));
    let cause = json!({"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.a"});
    assert_eq!((&refused.json["reason"], &refused.json["details"]), (&json!("Conflict"), &json!({"causes": [cause]})));
    let forced =
        apply(&server, &format!("{}&force=true", path("two")), &config_map(&json!({"a": "2", "b": "1"}))).await;
    assert_eq!((forced.code, owners(&forced)), (200, vec!["one Apply".to_owned(), "two Apply".to_owned()]));
}

#[tokio::test]
async fn what_cannot_be_applied_is_refused_in_upstreams_words() {
    let server = Server::new().await;
    let path = format!("{CONFIG_MAPS}/c?fieldManager=one");
    apply(&server, &path, &config_map(&json!({"a": "1"}))).await;
    let named = |more: Value| {
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object.to_string()
    };
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: b\n  a: c\n".to_owned();
    let long = "x".repeat(129);
    let invalid = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager";
    for (path, body, code, why) in [
        (format!("{CONFIG_MAPS}/c"), named(json!({})), 422, format!("{invalid}: Required value: is required for apply patch")),
        (format!("{CONFIG_MAPS}/c?fieldManager={long}"), named(json!({})), 422, format!("{invalid}: Too long: may not be more than 128 bytes")),
        (
            format!("{CONFIG_MAPS}/c?fieldManager=a%0Ab"),
            named(json!({})),
            422,
            format!("{invalid}: Invalid value: \"a\\nb\": invalid character U+000A (at position 1)"),
        ),
        (path.clone(), "{}".to_owned(), 400, "invalid object type: /, Kind=".to_owned()),
        (path.clone(), named(json!({"kind": "Secret"})), 400, "invalid object type: /v1, Kind=Secret".to_owned()),
        (path.clone(), named(json!({"metadata": {"name": "c", "managedFields": []}})), 400, "metadata.managedFields must be nil".to_owned()),
        (path.clone(), named(json!({"metadata": {"name": "x"}})), 400, "the name of the object (x) does not match the name on the URL (c)".to_owned()),
        (
            path.clone(),
            named(json!({"frob": 1})),
            500,
            "failed to create typed patch object (/c; /v1, Kind=ConfigMap): .frob: field not declared in schema".to_owned(),
        ),
        (
            path.clone(),
            named(json!({"metadata": {"name": "c", "resourceVersion": "1"}})),
            409,
            "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again".to_owned(),
        ),
        (
            format!("{CONFIG_MAPS}/n?fieldManager=one"),
            named(json!({"metadata": {"name": "n", "uid": "u"}})),
            409,
            "Operation cannot be fulfilled on configmaps \"n\": uid mismatch: the provided object specified uid u, and no existing object was found".to_owned(),
        ),
        (
            format!("{path}&fieldValidation=Strict"),
            twice,
            400,
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 6: key \"a\" already set in map".to_owned(),
        ),
    ] {
        assert_eq!(apply(&server, &path, &body).await.refusal(), (code, why.as_str()), "{path} {body}");
    }
    let force = server.merge(&format!("{CONFIG_MAPS}/c?force=true"), &json!({})).await;
    assert_eq!(force.code, 422);
    assert_eq!(
        apply(&server, &format!("{DEPLOYMENTS}/d/status?fieldManager=one"), &whole().to_string()).await.code,
        404
    );
}

#[tokio::test]
async fn every_write_names_its_manager() {
    let server = Server::new().await;
    let json = ("content-type", "application/json");
    let agent = ("user-agent", "tool/1.0 (linux)");
    let object = |data: Value| json!({"metadata": {"name": "m"}, "data": data}).to_string();
    let made = server.send(Method::POST, CONFIG_MAPS, &[json, agent], &object(json!({"a": "1"}))).await;
    assert_eq!(owners(&made), ["tool Update"]);
    let path = format!("{CONFIG_MAPS}/m");
    let put = server
        .send(Method::PUT, &format!("{path}?fieldManager=putter"), &[json, agent], &object(json!({"a": "2"})))
        .await;
    assert_eq!(owners(&put), ["putter Update", "tool Update"]);
    assert_eq!(put.json["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:data": {"f:a": {}}}));
    let merged = server.merge(&format!("{path}?fieldManager=merger"), &json!({"data": {"b": "1"}})).await;
    assert_eq!(owners(&merged), ["merger Update", "putter Update", "tool Update"]);
    let unknown = server.merge(&path, &json!({"data": {"c": "1"}})).await;
    assert!(owners(&unknown).contains(&"unknown Update".to_owned()), "{:?}", owners(&unknown));
    let unchanged = server.merge(&format!("{path}?fieldManager=idle"), &json!({"data": {"c": "1"}})).await;
    assert_eq!(unchanged.json, unknown.json);
    let forgotten = server.merge(&path, &json!({"metadata": {"managedFields": [{}]}})).await;
    assert_eq!(owners(&forgotten), Vec::<String>::new());
    assert_eq!(owners(&server.merge(&path, &json!({"data": {"d": "1"}})).await), Vec::<String>::new());
    let applied = apply(
        &server,
        &format!("{path}?fieldManager=one"),
        &config_map(&json!({"n": "1"})).replace("\"c\"}", "\"m\"}"),
    )
    .await;
    assert_eq!(owners(&applied), ["before-first-apply Update", "one Apply"]);
}

#[tokio::test]
async fn status_and_scale_have_owners_of_their_own() {
    let server = Server::new().await;
    let path = format!("{DEPLOYMENTS}/d");
    apply(&server, &format!("{path}?fieldManager=one"), &whole().to_string()).await;
    let status =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "status": {"replicas": 1}});
    let beside = apply(&server, &format!("{path}?fieldManager=st"), &status.to_string()).await;
    assert_eq!((owners(&beside), beside.json.get("status").cloned()), (vec!["one Apply".to_owned()], Some(json!({}))));
    let below = apply(&server, &format!("{path}/status?fieldManager=st"), &status.to_string()).await;
    assert_eq!(
        (owners(&below), &below.json["status"]),
        (vec!["one Apply".to_owned(), "st Apply/status".to_owned()], &json!({"replicas": 1}))
    );

    let scale = |replicas: i64| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": replicas}}).to_string()
    };
    let refused = apply(&server, &format!("{path}/scale?fieldManager=sc"), &scale(5)).await;
    assert_eq!(refused.refusal(), (409, "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas"));
    let scaled = apply(&server, &format!("{path}/scale?fieldManager=sc&force=true"), &scale(5)).await;
    assert_eq!(
        (scaled.code, &scaled.json["spec"], scaled.json["metadata"].get("managedFields")),
        (200, &json!({"replicas": 5}), None)
    );
    let seen = server.get(&path).await;
    assert_eq!(owners(&seen), ["one Apply", "sc Apply/scale", "st Apply/status"]);
    server.merge(&format!("{path}/scale?fieldManager=hpa"), &json!({"spec": {"replicas": 7}})).await;
    assert_eq!(owners(&server.get(&path).await), ["hpa Update/scale", "one Apply", "st Apply/status"]);
    let kept = apply(
        &server,
        &format!("{path}?fieldManager=one"),
        &deployment(json!({"template": whole()["spec"]["template"], "selector": whole()["spec"]["selector"]}))
            .to_string(),
    )
    .await;
    assert_eq!(
        (kept.code, &kept.json["spec"]["replicas"]),
        (200, &json!(7)),
        "whoever let go of replicas leaves them alone"
    );
}

#[tokio::test]
async fn what_is_left_of_an_object_must_still_be_one() {
    let server = Server::new().await;
    let path = format!("{DEPLOYMENTS}/d?fieldManager=one");
    apply(&server, &path, &whole().to_string()).await;
    let mut without = whole();
    without["spec"]["template"]["spec"] = json!({});
    let refused = apply(&server, &path, &without.to_string()).await;
    let why = "Deployment.apps \"d\" is invalid: spec.template.spec.containers: Required value";
    assert_eq!(refused.refusal(), (422, why));
}

#[tokio::test]
async fn texts_of_a_secret_are_owned_as_what_they_become() {
    let server = Server::new().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let made = server.post(secrets, &json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}})).await;
    let fields = &made.json["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(fields, &json!({"f:data": {".": {}, "f:a": {}}, "f:type": {}}));
}
