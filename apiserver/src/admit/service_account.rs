//! `ServiceAccount`: every pod runs as an account of its namespace, which must exist, takes over its pull secrets, and
//! is given the volume by which it reaches the API (`api_access`).

mod api_access;

use coracle_api::failure::{About, Failure};
use serde_json::{Map, Value, json};

use super::attributes::Attributes;
use super::plugins::Plugin;
use crate::answer::Refused;
use crate::object::text;
use crate::store::Key;

/// The account of pods that name none: the ServiceAccount controller makes it in every namespace.
const DEFAULT: &str = "default";

/// On pods that stand for what a node runs by itself: such a pod has no account.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// On accounts whose pods may use none but the account's own secrets.
const OWN_SECRETS_ONLY: &str = "kubernetes.io/enforce-mountable-secrets";

pub(super) const PLUGIN: Plugin = Plugin { awaits: Some(awaits), mutate: Some(mutate), ..Plugin::on("ServiceAccount") };

/// The account of a pod in a namespace that was made a moment ago.
fn awaits(attributes: &Attributes<'_>, pod: &Value) -> Option<Key> {
    let concerns = attributes.creates() && attributes.is_of("", "pods") && !is_mirror(pod);
    let spec = pod.get("spec").and_then(Value::as_object)?;
    (concerns && matches!(account(spec), "" | DEFAULT))
        .then(|| Key::new("", "serviceaccounts", text(pod, "namespace"), DEFAULT))
}

fn mutate(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Refused> {
    if !attributes.creates() || !attributes.is_of("", "pods") {
        return Ok(());
    }
    let mirror = is_mirror(pod);
    let namespace = text(pod, "namespace").to_owned();
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    if mirror {
        return check_mirror(spec).map_err(|why| attributes.forbidden(pod, why));
    }
    let name = match account(spec) {
        "" => DEFAULT.to_owned(),
        name => name.to_owned(),
    };
    for field in ["serviceAccount", "serviceAccountName"] {
        spec.insert(field.to_owned(), name.as_str().into());
    }
    let Some(account) = attributes.stored("", "serviceaccounts", &namespace, &name) else {
        let about = About { group: String::new(), kind: "serviceaccount".to_owned(), name: name.clone() };
        let absent = Failure::NotFound { about };
        return Err(attributes.forbidden(pod, format!("error looking up service account {namespace}/{name}: {absent}")));
    };
    api_access::give(spec, &account);
    take_over(spec, &account).map_err(|why| attributes.forbidden(pod, why))
}

fn is_mirror(pod: &Value) -> bool {
    pod.pointer("/metadata/annotations").and_then(|a| a.get(MIRROR)).is_some()
}

/// The account that a pod names; the old field counts where the new one is absent.
fn account(spec: &Map<String, Value>) -> &str {
    let named = |field| spec.get(field).and_then(Value::as_str).filter(|name| !name.is_empty());
    named("serviceAccountName").or_else(|| named("serviceAccount")).unwrap_or("")
}

fn check_mirror(spec: &Map<String, Value>) -> Result<(), &'static str> {
    if !account(spec).is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    let volumes = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    for volume in volumes {
        if volume.get("secret").is_some() {
            return Err("a mirror pod may not reference secrets");
        }
        let sources = volume.pointer("/projected/sources").and_then(Value::as_array).into_iter().flatten();
        if sources.into_iter().any(|source| source.get("serviceAccountToken").is_some()) {
            return Err("a mirror pod may not use ServiceAccountToken volume projections");
        }
    }
    Ok(())
}

/// Gives the pod the account's pull secrets if it names none, and checks the secrets that it uses.
fn take_over(spec: &mut Map<String, Value>, account: &Value) -> Result<(), String> {
    let of_account = account.get("imagePullSecrets").and_then(Value::as_array);
    let own = spec.get("imagePullSecrets").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if let Some(secrets) = of_account.filter(|secrets| !own && !secrets.is_empty()) {
        let names = secrets.iter().map(|secret| json!({"name": secret.get("name").cloned().unwrap_or_default()}));
        spec.insert("imagePullSecrets".to_owned(), names.collect());
    }
    let limited = account.pointer("/metadata/annotations").and_then(|a| a.get(OWN_SECRETS_ONLY));
    match limited.and_then(Value::as_str) {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => check_secrets(spec, account),
        Some(_) | None => Ok(()),
    }
}

/// Whether a pod of a limited account uses that account's secrets only.
fn check_secrets(spec: &Map<String, Value>, account: &Value) -> Result<(), String> {
    let owner = text(account, "name");
    let stranger = |list: &str, secret: &str| {
        let owned = items(account.get(list)).any(|own| named(own, "/name") == secret);
        !secret.is_empty() && !owned
    };
    let refusal = |what: &str, secret: &str| {
        let why = format!("is not allowed because service account {owner} does not reference that secret");
        Err(format!("{what} secret.secretName=\"{secret}\" {why}"))
    };
    for volume in items(spec.get("volumes")) {
        let secret = named(volume, "/secret/secretName");
        if stranger("secrets", secret) {
            return refusal("volume with", secret);
        }
    }
    for (list, what) in [("initContainers", "init container"), ("containers", "container")] {
        for container in items(spec.get(list)) {
            let called = named(container, "/name");
            for env in items(container.get("env")) {
                let secret = named(env, "/valueFrom/secretKeyRef/name");
                if stranger("secrets", secret) {
                    return refusal(
                        &format!("{what} {called} with envVar {} referencing", named(env, "/name")),
                        secret,
                    );
                }
            }
            for env in items(container.get("envFrom")) {
                let secret = named(env, "/secretRef/name");
                if stranger("secrets", secret) {
                    return refusal(&format!("{what} {called} with envFrom referencing"), secret);
                }
            }
        }
    }
    for (index, pull) in items(spec.get("imagePullSecrets")).enumerate() {
        let secret = named(pull, "/name");
        if stranger("imagePullSecrets", secret) {
            return Err(format!(
                "imagePullSecrets[{index}].name=\"{secret}\" is not allowed because service account {owner} \
                 does not reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

fn named<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_over(mut spec: Value, account: &Value) -> String {
        let fields = spec.as_object_mut().unwrap();
        take_over(fields, account).map_or_else(|why| why, |()| spec.to_string())
    }

    #[test]
    fn a_pod_takes_over_the_pull_secrets_of_its_account_unless_it_has_its_own() {
        let account = json!({"metadata": {"name": "a"}, "imagePullSecrets": [{"name": "p"}]});
        assert_eq!(taken_over(json!({}), &account), r#"{"imagePullSecrets":[{"name":"p"}]}"#);
        let own = json!({"imagePullSecrets": [{"name": "q"}]});
        assert_eq!(taken_over(own.clone(), &account), own.to_string());
    }

    #[test]
    fn a_limited_account_lets_its_pods_use_its_own_secrets_only() {
        let account = json!({
            "metadata": {"name": "a", "annotations": {OWN_SECRETS_ONLY: "true"}}, "secrets": [{"name": "s"}],
        });
        let env = |secret: &str| {
            let from = json!({"secretKeyRef": {"name": secret, "key": "k"}});
            json!({"containers": [{"name": "c", "env": [{"name": "E", "valueFrom": from}]}]})
        };
        assert_eq!(taken_over(env("s"), &account), env("s").to_string());
        let why = "is not allowed because service account a does not reference that secret";
        let expected = format!(r#"container c with envVar E referencing secret.secretName="t" {why}"#);
        assert_eq!(taken_over(env("t"), &account), expected);
        let volume = json!({"volumes": [{"name": "v", "secret": {"secretName": "t"}}]});
        assert_eq!(taken_over(volume, &account), format!(r#"volume with secret.secretName="t" {why}"#));
    }
}
