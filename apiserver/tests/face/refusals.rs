//! How requests that make no sense are answered: code, reason, words, encoding.

use http::Method;
use serde_json::json;

use crate::server::{CONFIG_MAPS, Server};

#[tokio::test]
async fn methods_and_media_that_a_resource_does_not_have_are_refused() {
    let server = Server::new().await;
    server.config_map("a", "1").await;
    let one = format!("{CONFIG_MAPS}/a");
    let method = "the server does not allow this method on the requested resource";
    for (verb, path) in [
        (Method::OPTIONS, CONFIG_MAPS),
        (Method::PUT, CONFIG_MAPS),
        (Method::PATCH, CONFIG_MAPS),
        (Method::POST, one.as_str()),
        (Method::DELETE, "/api/v1/configmaps"),
    ] {
        let answer = server.send(verb.clone(), path, &[], "{}").await;
        assert_eq!((answer.refusal(), &answer.json["details"]), ((405, method), &json!({})), "{verb} {path}");
    }
    assert_eq!(server.send(Method::HEAD, CONFIG_MAPS, &[], "").await.code, 405);
    let known = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let text = server.get_as(&one, "text/plain").await;
    let message = format!("406: Not Acceptable\n\nAvailable representations: {known}");
    assert_eq!(text.refusal(), (406, message.as_str()));
    let table = server.get_as(&one, "application/json;as=Table;v=v9;g=meta.k8s.io").await;
    let message = format!("only the following media types are accepted: {known}");
    assert_eq!((table.refusal(), table.text("/reason")), ((406, message.as_str()), "NotAcceptable"));
    let posted = server.send(Method::POST, CONFIG_MAPS, &[("content-type", "text/plain")], "x").await;
    assert_eq!((posted.code, posted.text("/reason")), (415, "UnsupportedMediaType"));
}

#[tokio::test]
async fn a_write_whose_answer_cannot_be_shown_is_not_made() {
    let server = Server::new().await;
    let headers = [("content-type", "application/json"), ("accept", "application/cbor")];
    let body = json!({"metadata": {"name": "a"}}).to_string();
    assert_eq!(server.send(Method::POST, CONFIG_MAPS, &headers, &body).await.code, 406);
    assert_eq!(server.get(&format!("{CONFIG_MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn a_refusal_is_encoded_as_the_client_reads() {
    let server = Server::new().await;
    let absent = format!("{CONFIG_MAPS}/absent");
    let yaml = server.get_as(&absent, "application/yaml").await;
    assert_eq!((yaml.code, yaml.headers["content-type"].to_str().unwrap()), (404, "application/yaml"));
    assert!(yaml.json.as_str().unwrap().contains("reason: NotFound"));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    assert_eq!(server.get_as(&absent, table).await.text("/kind"), "Status");
    let indented = server.send(Method::GET, "/api/v1/namespaces/default", &[("user-agent", "curl/8")], "").await;
    assert_eq!(indented.text("/kind"), "Namespace");
}

#[tokio::test]
async fn what_only_the_server_may_set_is_kept_or_refused() {
    let server = Server::new().await;
    let made = server.config_map("a", "1").await;
    let path = format!("{CONFIG_MAPS}/a");
    let meta = |meta: serde_json::Value| json!({"metadata": meta});
    let kept = server.merge(&path, &meta(json!({"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 9}))).await;
    assert_eq!(kept.json, made.json);
    let going = server.merge(&path, &meta(json!({"deletionTimestamp": "2001-01-01T00:00:00Z"}))).await;
    let why = "ConfigMap \"a\" is invalid: metadata.deletionTimestamp: Invalid value: 2001-01-01 00:00:00 +0000 UTC: field is immutable";
    assert_eq!((going.refusal(), going.json["details"]["causes"].as_array().unwrap().len()), ((422, why), 2));
    let taken = json!({"metadata": {"name": "a", "generateName": "a-"}});
    let why = "configmaps \"a\" already exists, the server was not able to generate a unique name for the object";
    let taken = server.post(CONFIG_MAPS, &taken).await;
    assert_eq!((taken.refusal(), &taken.json["details"]["retryAfterSeconds"]), ((409, why), &json!(1)));
    assert_eq!(taken.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_time_that_is_not_there_is_stated() {
    let server = Server::new().await;
    let nodes = "/api/v1/nodes";
    server.post(nodes, &json!({"metadata": {"name": "n"}})).await;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let patched = server.merge(&format!("{nodes}/n/status"), &ready).await;
    let condition = json!({"type": "Ready", "status": "True", "lastHeartbeatTime": null, "lastTransitionTime": null});
    assert_eq!(patched.json["status"]["conditions"], json!([condition]));
}
