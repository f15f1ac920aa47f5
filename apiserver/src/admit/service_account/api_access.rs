//! The volume by which a pod reaches the API: a token of its own, the cluster's certificate, and its namespace.
//!
//! It is upstream's to the letter, since clients within pods look for just these files.

use coracle_api::wellknown::{CONFIG_MAP_ROOT_CA, PATH_API_ACCESS, VOLUME_API_ACCESS_PREFIX};
use serde_json::{Map, Value, json};

use super::{items, named};
use crate::object::name;

/// How long a token is good that clients are to read again in time: an hour, and a little more by which it is known
/// (upstream's).
const TOKEN_SECONDS: i64 = 3607;

/// The mode of the files, as upstream has it.
const MODE: i32 = 0o644;

/// Gives the volume to each container that has nothing at its place, unless the pod or its account says otherwise.
pub(super) fn give(spec: &mut Map<String, Value>, account: &Value) {
    if !is_wanted(spec, account) {
        return;
    }
    let volumes = items(spec.get("volumes")).map(|volume| named(volume, "/name"));
    let known = { volumes }.find(|name| name.starts_with(VOLUME_API_ACCESS_PREFIX)).map(str::to_owned);
    let is_known = known.is_some();
    let volume = known.unwrap_or_else(|| name::generate(VOLUME_API_ACCESS_PREFIX, name::random()));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            mounted |= mount(container, &volume);
        }
    }
    if mounted && !is_known {
        push(spec, "volumes", json!({"name": volume, "projected": {"defaultMode": MODE, "sources": sources()}}));
    }
}

/// Whether the pod wants it; its account is asked where the pod does not say.
fn is_wanted(spec: &Map<String, Value>, account: &Value) -> bool {
    const FIELD: &str = "automountServiceAccountToken";
    let said = spec.get(FIELD).and_then(Value::as_bool);
    said.or_else(|| account.get(FIELD).and_then(Value::as_bool)).unwrap_or(true)
}

/// Mounts the volume in a container, and tells whether it has: what is at its place already stays.
fn mount(container: &mut Value, volume: &str) -> bool {
    if items(container.get("volumeMounts")).any(|mount| named(mount, "/mountPath") == PATH_API_ACCESS) {
        return false;
    }
    let Some(container) = container.as_object_mut() else { return false };
    push(container, "volumeMounts", json!({"name": volume, "readOnly": true, "mountPath": PATH_API_ACCESS}));
    true
}

fn sources() -> Value {
    let namespace = json!({"apiVersion": "v1", "fieldPath": "metadata.namespace"});
    json!([
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": CONFIG_MAP_ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
    ])
}

/// Adds to a list, which begins with it where there is none.
fn push(object: &mut Map<String, Value>, list: &str, item: Value) {
    let value = object.entry(list).or_insert(Value::Null);
    match value.as_array_mut() {
        Some(list) => list.push(item),
        None => *value = Value::Array(vec![item]),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// The spec after it was given the volume, which is called `kube-api-access-*` here.
    fn given(spec: Value, account: &Value) -> String {
        let mut spec = spec;
        give(spec.as_object_mut().unwrap(), account);
        let made = items(spec.get("volumes")).map(|v| named(v, "/name").to_owned()).last().unwrap_or_default();
        let text = spec.to_string();
        match made.strip_prefix(VOLUME_API_ACCESS_PREFIX) {
            Some(random) if random.len() == 5 => text.replace(&made, "kube-api-access-*"),
            Some(_) | None => text,
        }
    }

    #[test]
    fn each_container_finds_token_certificate_and_namespace_where_clients_look() {
        let spec = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c", "volumeMounts": []}]});
        expect![[r#"{"containers":[{"name":"c","volumeMounts":[{"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","name":"kube-api-access-*","readOnly":true}]}],"initContainers":[{"name":"i","volumeMounts":[{"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","name":"kube-api-access-*","readOnly":true}]}],"volumes":[{"name":"kube-api-access-*","projected":{"defaultMode":420,"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"items":[{"key":"ca.crt","path":"ca.crt"}],"name":"kube-root-ca.crt"}},{"downwardAPI":{"items":[{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"},"path":"namespace"}]}}]}}]}"#]]
        .assert_eq(&given(spec, &json!({})));
    }

    #[test]
    fn what_a_container_has_there_already_stays() {
        let own = json!({"name": "own", "mountPath": PATH_API_ACCESS});
        let spec = json!({"containers": [{"name": "c", "volumeMounts": [own]}]});
        assert_eq!(given(spec.clone(), &json!({})), spec.to_string());
    }

    #[test]
    fn a_volume_of_a_pod_that_was_read_and_made_again_is_used_again() {
        let volume = json!({"name": "kube-api-access-old"});
        let spec = json!({"containers": [{"name": "c"}], "volumes": [volume]});
        let spec: Value = serde_json::from_str(&given(spec, &json!({}))).unwrap();
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-old");
    }

    #[test]
    fn the_pod_has_the_last_word_on_whether_it_is_given() {
        let spec = |said: Value| json!({"automountServiceAccountToken": said, "containers": [{"name": "c"}]});
        let account = |said: Value| json!({"automountServiceAccountToken": said});
        let is_given = |pod: Value, of_account: Value| given(spec(pod), &account(of_account)).contains("projected");
        assert!(is_given(Value::Null, Value::Null) && is_given(json!(true), json!(false)));
        assert!(!is_given(json!(false), json!(true)) && !is_given(Value::Null, json!(false)));
    }
}
