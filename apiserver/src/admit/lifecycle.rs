//! The life of namespaces and of what is in them: nothing is made where a namespace is absent or going,
//! the first namespaces stay, and what is going cannot be held by something new.

use std::collections::BTreeSet;

use coracle_api::failure::Failure;
use coracle_api::field::FieldError;
use coracle_api::wellknown::{NAMESPACE_DEFAULT, NAMESPACE_KUBE_PUBLIC, NAMESPACE_KUBE_SYSTEM};
use serde_json::Value;

use crate::answer::{Refused, refused};
use crate::machine::Machine;
use crate::object::{finalizers, is_terminating, text};
use crate::registry::{Row, Scope};
use crate::store::Key;

/// The namespaces that may not be deleted, as upstream.
const IMMORTAL: [&str; 3] = [NAMESPACE_DEFAULT, NAMESPACE_KUBE_SYSTEM, NAMESPACE_KUBE_PUBLIC];

/// Whether an object may be made in its namespace.
pub(crate) fn admit_create(machine: &Machine, row: &Row, object: &Value) -> Result<(), Refused> {
    match row.scope {
        Scope::Cluster => Ok(()),
        Scope::Namespaced => check_namespace(machine, row, text(object, "namespace"), text(object, "name")),
    }
}

/// Whether the namespace is there and stays.
pub(crate) fn check_namespace(machine: &Machine, row: &Row, namespace: &str, name: &str) -> Result<(), Refused> {
    let Some(entry) = machine.store.get(&Key::new("", "namespaces", "", namespace)) else {
        let about = coracle_api::failure::About {
            group: String::new(),
            kind: "namespaces".to_owned(),
            name: namespace.to_owned(),
        };
        return Err(Failure::NotFound { about }.into());
    };
    if !is_terminating(&entry.value()) {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let refused = Refused::from(Failure::Forbidden { about: refused::about(row, name), why });
    let cause = format!("namespace {namespace} is being terminated");
    Err(refused.because("NamespaceTerminating", cause, "metadata.namespace"))
}

/// Whether an object may be deleted.
pub(crate) fn admit_delete(row: &Row, name: &str) -> Result<(), Refused> {
    if (row.group, row.plural) == ("", "namespaces") && IMMORTAL.contains(&name) {
        let why = "this namespace may not be deleted".to_owned();
        return Err(Failure::Forbidden { about: refused::about(row, name), why }.into());
    }
    Ok(())
}

/// An object that is going may lose finalizers, and gain none.
pub(crate) fn finalizers_added(new: &Value, old: &Value) -> Option<FieldError> {
    if !is_terminating(old) {
        return None;
    }
    let before: BTreeSet<&str> = finalizers(old).collect();
    let added: Vec<&str> = finalizers(new).filter(|f| !before.contains(f)).collect();
    let why = format!("no new finalizers can be added if the object is being deleted, found new finalizers {added:?}");
    (!added.is_empty()).then(|| FieldError::forbidden("metadata.finalizers", why))
}
