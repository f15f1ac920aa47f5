//! Patches over the wire: what each media type does, and how each is refused.

use http::Method;
use serde_json::{Value, json};

use crate::server::{Answer, CONFIG_MAPS, Server};

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const REFUSED: &str = "the server rejected our request due to an error in our request";
const MODIFIED: &str = "Operation cannot be fulfilled on configmaps \"cm\": the object has been modified; please apply your changes to the latest version and try again";

async fn patched(server: &Server, path: &str, media: &str, patch: &Value) -> Answer {
    let body = patch.as_str().map_or_else(|| patch.to_string(), str::to_owned);
    server.send(Method::PATCH, path, &[("content-type", media)], &body).await
}

/// A patch of `cm`, and how it is refused: code, reason, message.
type Refusal = (&'static str, Value, u16, &'static str, &'static str);

fn refusals() -> Vec<Refusal> {
    let one = |op: &str, path: &str, value: Value| json!([{"op": op, "path": path, "value": value}]);
    let no_map = "json: cannot unmarshal array into Go value of type map[string]interface {}";
    let undecodable: &'static str = Box::leak(format!("error decoding patch: {no_map}").into_boxed_str());
    vec![
        (JSON, one("test", "/data/a", json!("9")), 422, "Invalid", REFUSED),
        (JSON, one("remove", "/data/nope", json!(null)), 422, "Invalid", REFUSED),
        (JSON, one("add", "/nope/x", json!("x")), 422, "Invalid", REFUSED),
        (JSON, one("frob", "/data/a", json!("x")), 422, "Invalid", REFUSED),
        (JSON, one("add", "", json!({})), 422, "Invalid", REFUSED),
        (JSON, json!("[{\"op\":\"add\""), 400, "BadRequest", "error decoding patch: unexpected end of JSON input"),
        (MERGE, json!([]), 400, "BadRequest", undecodable),
        (STRATEGIC, json!([]), 400, "BadRequest", no_map),
        (MERGE, json!({"metadata": {"resourceVersion": "1"}}), 409, "Conflict", MODIFIED),
        (JSON, one("replace", "/metadata/resourceVersion", json!("1")), 409, "Conflict", MODIFIED),
        (
            MERGE,
            json!({"metadata": {"name": "zz"}}),
            400,
            "BadRequest",
            "the name of the object (zz) does not match the name on the URL (cm)",
        ),
        (
            STRATEGIC,
            json!({"$patch": "delete"}),
            400,
            "BadRequest",
            "the name of the object (cm based on URL) was undeterminable: name must be provided",
        ),
        (STRATEGIC, json!({"data": {"$patch": "frob"}}), 500, "", "unknown patch type: frob in map: map[$patch:frob]"),
        (STRATEGIC, json!({"$retainKeys": "x"}), 400, "BadRequest", "invalid patch format of retainKeys"),
        ("application/json", json!({}), 415, "UnsupportedMediaType", "415: Unsupported Media Type"),
    ]
}

#[tokio::test]
async fn patches_that_make_no_sense_are_refused_as_upstream_refuses_them() {
    let server = Server::new().await;
    let made = server.post(CONFIG_MAPS, &json!({"metadata": {"name": "cm"}, "data": {"a": "1"}})).await;
    let path = format!("{CONFIG_MAPS}/cm");
    for (media, patch, code, reason, message) in refusals() {
        let answer = patched(&server, &path, media, &patch).await;
        assert_eq!((answer.code, answer.text("/reason"), answer.text("/message")), (code, reason, message), "{patch}");
    }
    assert_eq!(server.get(&path).await.json, made.json, "nothing was written");
    let absent = patched(&server, &format!("{CONFIG_MAPS}/nope"), MERGE, &json!("{")).await;
    assert_eq!(absent.refusal(), (404, "configmaps \"nope\" not found"), "told before the bad patch");
}

#[tokio::test]
async fn what_a_patch_made_is_shown_if_it_is_none_of_the_kind() {
    let server = Server::new().await;
    server.post(CONFIG_MAPS, &json!({"metadata": {"name": "cm"}, "data": {"a": "1"}})).await;
    let path = format!("{CONFIG_MAPS}/cm");
    let add = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
    for (media, query, patch, shown, why) in [
        (
            MERGE,
            "",
            json!({"data": "x"}),
            r#""{\"apiVersion\":\"v1\",\"data\":\"x\""#,
            "data: must be an object, not a string",
        ),
        (
            JSON,
            "",
            add("/data/a", json!(5)),
            r#""{\"apiVersion\":\"v1\",\"data\":{\"a\":5}"#,
            "data[a]: must be a string, not a number",
        ),
        (
            JSON,
            "",
            add("/kind", json!("Secret")),
            r#""{\"apiVersion\":\"v1\""#,
            "no kind \"Secret\" is registered for version \"v1\"",
        ),
        (STRATEGIC, "", json!({"data": "x"}), "\"map[data:x]\"", "data: must be an object, not a string"),
        (
            STRATEGIC,
            "?fieldValidation=Strict",
            json!({"nope": 1}),
            "\"map[nope:1]\"",
            "strict decoding error: unknown field \"nope\"",
        ),
        (
            MERGE,
            "?fieldValidation=Strict",
            json!("{\"data\":{\"b\":\"1\",\"b\":\"2\"},\"nope\":1}"),
            r#""{\"apiVersion\":\"v1\""#,
            "strict decoding error: duplicate field \"data.b\", unknown field \"nope\"",
        ),
    ] {
        let answer = patched(&server, &format!("{path}{query}"), media, &patch).await;
        let message = answer.text("/message");
        assert_eq!((answer.code, answer.text("/details/causes/0/field")), (422, "patch"), "{message}");
        assert!(message.starts_with(&format!(" \"\" is invalid: patch: Invalid value: {shown}")), "{message}");
        assert!(message.ends_with(why), "{message}");
    }
}

#[tokio::test]
async fn odd_fields_of_a_patch_are_warned_of() {
    let server = Server::new().await;
    server.post(CONFIG_MAPS, &json!({"metadata": {"name": "cm"}, "data": {"a": "1"}})).await;
    let path = format!("{CONFIG_MAPS}/cm");
    let twice = json!("[{\"op\":\"add\",\"op\":\"add\",\"path\":\"/data/b\",\"value\":\"2\",\"frob\":1}]");
    let answer = patched(&server, &path, JSON, &twice).await;
    assert_eq!(answer.json["data"], json!({"a": "1", "b": "2"}));
    assert_eq!(
        answer.warnings(),
        ["299 - \"json patch duplicate field \\\"[0].op\\\"\"", "299 - \"json patch unknown field \\\"[0].frob\\\"\""]
    );
    let unknown = json!("{\"nope\":1,\"metadata\":{\"labels\":{\"x\":\"y\",\"x\":\"z\"}}}");
    let answer = patched(&server, &path, STRATEGIC, &unknown).await;
    assert_eq!(answer.text("/metadata/labels/x"), "z");
    assert_eq!(
        answer.warnings(),
        ["299 - \"duplicate field \\\"metadata.labels.x\\\"\"", "299 - \"unknown field \\\"nope\\\"\""]
    );
    let ignored = patched(&server, &format!("{path}?fieldValidation=Ignore"), STRATEGIC, &unknown).await;
    assert_eq!((ignored.code, ignored.warnings().len()), (200, 0));
}

#[tokio::test]
async fn a_strategic_patch_knows_lists_by_their_keys() {
    let server = Server::new().await;
    let container = |name: &str| json!({"name": name, "image": "i:1"});
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container("a"), container("b")]}}}});
    assert_eq!(server.post(DEPLOYMENTS, &deployment).await.code, 201);
    let spec = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    let path = format!("{DEPLOYMENTS}/d");
    for (patch, images) in [
        (json!({"containers": [{"name": "b", "image": "i:2"}]}), vec!["a i:1", "b i:2"]),
        (json!({"containers": [container("c")]}), vec!["c i:1", "a i:1", "b i:2"]),
        (json!({"containers": [{"name": "c", "$patch": "delete"}]}), vec!["a i:1", "b i:2"]),
        (json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}), vec!["b i:2", "a i:1"]),
        (json!({"containers": [{"$patch": "replace"}, container("z")]}), vec!["z i:1"]),
    ] {
        let answer = patched(&server, &path, STRATEGIC, &spec(patch)).await;
        let listed = answer.json.pointer("/spec/template/spec/containers").and_then(Value::as_array).unwrap();
        let shown: Vec<String> = listed
            .iter()
            .map(|c| format!("{} {}", c["name"].as_str().unwrap(), c["image"].as_str().unwrap()))
            .collect();
        assert_eq!(shown, images);
    }
    for (patch, message) in [
        (json!({"containers": [{"image": "x"}]}), "map: map[image:x] does not contain declared merge key: name"),
        (
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "z", "image": "i"}]}),
            "The order in patch list:\n[map[image:i name:z]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
    ] {
        assert_eq!(patched(&server, &path, STRATEGIC, &spec(patch)).await.refusal(), (500, message));
    }
}
