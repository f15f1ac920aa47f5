//! `NamespaceExists`: nothing is written where there is no namespace. `NamespaceLifecycle` says the same for what is
//! made, and more; this one is of use where that is disabled.

use serde_json::Value;

use super::attributes::Attributes;
use super::lifecycle;
use super::plugins::Plugin;
use crate::answer::Refused;
use crate::object::text;
use crate::registry::Scope;

pub(super) const PLUGIN: Plugin = Plugin { mutate: Some(mutate), ..Plugin::off("NamespaceExists") };

fn mutate(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Refused> {
    let namespace = text(object, "namespace");
    match attributes.row.scope {
        Scope::Namespaced if attributes.stored("", "namespaces", "", namespace).is_none() => {
            Err(lifecycle::absent(namespace))
        }
        Scope::Namespaced | Scope::Cluster => Ok(()),
    }
}
