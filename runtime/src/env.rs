//! A container's environment and arguments, from its spec and what that refers to.
//!
//! Pure: everything referred to is fetched before. What is missing and not optional is told in upstream's words.

mod api;
mod expand;

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource};

use crate::downward::{Facts, NoSuchField};
use crate::names;
use crate::sources::{Fetched, Source};

pub use api::Api;
use expand::expand;

/// Why an environment cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// An object that it refers to does not exist, or lacks the key.
    #[error("{0}")]
    Missing(String),
    /// A variable that is not defined.
    #[error("missing value for {0:?}")]
    Unknown(String),
    /// A field of the downward API that there is not.
    #[error(transparent)]
    Field(#[from] NoSuchField),
    /// A sort of reference that this node does not know.
    #[error(
        "environment variable {0:?} takes its value from a source that this node does not support; use a ConfigMap, Secret or field"
    )]
    Unsupported(String),
}

/// What a container's program is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The arguments, the program's name first.
    pub args: Vec<String>,
    /// The environment.
    pub env: Vec<(String, String)>,
}

/// The objects that a container's environment refers to.
#[must_use]
pub fn references(container: &Container) -> BTreeSet<Source> {
    let from = container.env_from.iter().flatten().flat_map(|from| {
        let map = from.config_map_ref.iter().map(|r| Source::ConfigMap(r.name.clone()));
        map.chain(from.secret_ref.iter().map(|r| Source::Secret(r.name.clone())))
    });
    let values = container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()).flat_map(|v| {
        let map = v.config_map_key_ref.iter().map(|r| Source::ConfigMap(r.name.clone()));
        map.chain(v.secret_key_ref.iter().map(|r| Source::Secret(r.name.clone())))
    });
    from.chain(values).collect()
}

/// The arguments and environment of `container`; `program` is its name if no command is given.
///
/// # Errors
/// [`EnvError`] if something that is not optional is missing.
pub fn given(
    container: &Container,
    program: &str,
    facts: &Facts<'_>,
    fetched: &Fetched,
    api: Option<&Api>,
) -> Result<Given, EnvError> {
    let env = environment(container, facts, fetched, api)?;
    let value = |name: &str| env.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let expanded =
        |texts: &Option<Vec<String>>| -> Vec<String> { texts.iter().flatten().map(|t| expand(t, &value)).collect() };
    let mut args = expanded(&container.command);
    if args.is_empty() {
        args.push(program.to_owned());
    }
    args.extend(expanded(&container.args));
    Ok(Given { args, env })
}

/// `text` with every `$(NAME)` replaced by its value in `env`.
///
/// # Errors
/// [`EnvError::Unknown`] if there is no such variable.
pub fn expand_known(text: &str, env: &[(String, String)]) -> Result<String, EnvError> {
    let missing = std::cell::RefCell::new(None);
    let value = |name: &str| {
        let found = env.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        if found.is_none() {
            missing.borrow_mut().get_or_insert(name.to_owned());
        }
        found
    };
    let expanded = expand(text, &value);
    missing.into_inner().map_or(Ok(expanded), |name| Err(EnvError::Unknown(name)))
}

fn environment(
    container: &Container,
    facts: &Facts<'_>,
    fetched: &Fetched,
    api: Option<&Api>,
) -> Result<Vec<(String, String)>, EnvError> {
    let mut env: Vec<(String, String)> = Vec::new();
    set(&mut env, "HOSTNAME", names::hostname(facts.pod));
    for (name, value) in api.into_iter().flat_map(Api::variables) {
        set(&mut env, &name, value);
    }
    for from in container.env_from.iter().flatten() {
        let (source, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(r), _) => (Source::ConfigMap(r.name.clone()), r.optional),
            (None, Some(r)) => (Source::Secret(r.name.clone()), r.optional),
            (None, None) => continue,
        };
        match fetched.get(&source) {
            Some(data) => {
                let prefix = from.prefix.as_deref().unwrap_or_default();
                for (key, bytes) in data.iter().filter(|(k, _)| !k.contains('=')) {
                    set(&mut env, &format!("{prefix}{key}"), String::from_utf8_lossy(bytes).into_owned());
                }
            }
            None if optional == Some(true) => {}
            None => return Err(EnvError::Missing(source.not_found())),
        }
    }
    for var in container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (_, Some(from)) => match referred(var, from, container, facts, fetched)? {
                Some(value) => value,
                None => continue,
            },
            (text, None) => {
                let known = |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
                expand(text.as_deref().unwrap_or_default(), &known)
            }
        };
        set(&mut env, &var.name, value);
    }
    Ok(env)
}

fn set(env: &mut Vec<(String, String)>, name: &str, value: String) {
    match env.iter_mut().find(|(k, _)| k == name) {
        Some(pair) => pair.1 = value,
        None => env.push((name.to_owned(), value)),
    }
}

fn referred(
    var: &EnvVar,
    from: &EnvVarSource,
    container: &Container,
    facts: &Facts<'_>,
    fetched: &Fetched,
) -> Result<Option<String>, EnvError> {
    if let Some(selector) = &from.field_ref {
        return Ok(Some(facts.field(selector)?));
    }
    if let Some(selector) = &from.resource_field_ref {
        return Ok(Some(facts.resource(selector, Some(container))?));
    }
    let (source, key, optional) = match (&from.config_map_key_ref, &from.secret_key_ref) {
        (Some(r), _) => (Source::ConfigMap(r.name.clone()), &r.key, r.optional),
        (None, Some(r)) => (Source::Secret(r.name.clone()), &r.key, r.optional),
        (None, None) => return Err(EnvError::Unsupported(var.name.clone())),
    };
    let namespace = facts.pod.metadata.namespace.as_deref().unwrap_or_default();
    let missing = match fetched.get(&source) {
        Some(data) => match data.get(key) {
            Some(bytes) => return Ok(Some(String::from_utf8_lossy(bytes).into_owned())),
            None => source.lacks(key, namespace),
        },
        None => source.not_found(),
    };
    if optional == Some(true) { Ok(None) } else { Err(EnvError::Missing(missing)) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::downward::tests::{facts, pod};

    fn check(container: Value) -> Result<Given, String> {
        let pod = pod(json!({"containers": [container]}));
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let fetched = Fetched::from_iter([
            (
                Source::ConfigMap("cm".to_owned()),
                Some([("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.as_bytes().to_vec())).into()),
            ),
            (Source::Secret("gone".to_owned()), None),
        ]);
        given(container, "hello", &facts(&pod), &fetched, None).map_err(|e| e.to_string())
    }

    #[test]
    fn each_source_gives_its_value_and_later_ones_win() {
        let given = check(json!({"name": "c",
        "args": ["$(a)", "$$(a)", "$(none)", "x$(NAME)y"],
        "envFrom": [{"configMapRef": {"name": "cm"}}, {"prefix": "P_", "configMapRef": {"name": "cm"}}],
        "env": [
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "b", "value": "$(a)$(NAME)"},
            {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "a"}}},
            {"name": "O", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "a", "optional": true}}}
        ]}))
        .unwrap();
        assert_eq!(given.args, ["hello", "1", "$(a)", "$(none)", "xpy"]);
        let env: Vec<String> = given.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(env, ["HOSTNAME=p", "a=1", "b=1p", "P_a=1", "P_b=2", "NAME=p", "K=1"]);
    }

    #[test]
    fn what_is_missing_is_told_in_upstreams_words() {
        for (from, message) in [
            (json!({"configMapKeyRef": {"name": "cm", "key": "z"}}), "couldn't find key z in ConfigMap ns/cm"),
            (json!({"configMapKeyRef": {"name": "x", "key": "z"}}), "configmap \"x\" not found"),
            (json!({"secretKeyRef": {"name": "gone", "key": "z"}}), "secret \"gone\" not found"),
        ] {
            let result = check(json!({"name": "c", "env": [{"name": "A", "valueFrom": from}]}));
            assert_eq!(result, Err(message.to_owned()));
        }
    }
}
