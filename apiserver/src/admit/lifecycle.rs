//! `NamespaceLifecycle`: the life of namespaces and of what is in them. Nothing is made where a namespace is absent or going,
//! and the first namespaces stay.

use coracle_api::failure::{About, Failure};
use coracle_api::wellknown::{NAMESPACE_DEFAULT, NAMESPACE_KUBE_PUBLIC, NAMESPACE_KUBE_SYSTEM};
use serde_json::Value;

use super::attributes::Attributes;
use super::plugins::Plugin;
use crate::answer::Refused;
use crate::object::{is_terminating, text};
use crate::registry::Scope;

/// The namespaces that may not be deleted, as upstream.
const IMMORTAL: [&str; 3] = [NAMESPACE_DEFAULT, NAMESPACE_KUBE_SYSTEM, NAMESPACE_KUBE_PUBLIC];

pub(super) const PLUGIN: Plugin =
    Plugin { mutate: Some(mutate), delete: Some(delete), ..Plugin::on("NamespaceLifecycle") };

/// Whether an object may be made in its namespace: it is there and stays.
fn mutate(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Refused> {
    if !attributes.creates() || attributes.row.scope == Scope::Cluster {
        return Ok(());
    }
    let namespace = text(object, "namespace");
    let Some(stored) = attributes.stored("", "namespaces", "", namespace) else { return Err(absent(namespace)) };
    if !is_terminating(&stored) {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let cause = format!("namespace {namespace} is being terminated");
    let refused = attributes.forbidden(object, why);
    Err(refused.because("NamespaceTerminating", cause, "metadata.namespace"))
}

/// A refusal because there is no such namespace.
pub(super) fn absent(namespace: &str) -> Refused {
    let about = About { group: String::new(), kind: "namespaces".to_owned(), name: namespace.to_owned() };
    Failure::NotFound { about }.into()
}

/// Whether an object may be deleted.
fn delete(attributes: &Attributes<'_>, name: &str) -> Result<(), Refused> {
    if attributes.is_of("", "namespaces") && IMMORTAL.contains(&name) {
        return Err(attributes.forbidden_by_name(name, "this namespace may not be deleted"));
    }
    Ok(())
}
