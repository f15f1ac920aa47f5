//! PriorityClass: how much more a pod matters than others.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, boolean, integer, or, text};
use crate::registry::check::{immutable, one_of};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    integer("Value", "How much pods of this class matter."),
    boolean("Global-Default", "Whether pods that name no class are of this one."),
    AGE,
    text("PreemptionPolicy", "Whether its pods may take the place of others."),
];

/// The highest value of a class that is not the system's own.
const VALUE_MAX: i32 = 1_000_000_000;

const SYSTEM_PREFIX: &str = "system-";

/// The classes that are there from the start, for what the cluster cannot do without: name, value, meaning.
pub(crate) const SYSTEM: [(&str, i32, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

pub(super) fn row() -> Row {
    Row {
        group: "scheduling.k8s.io",
        version: "v1",
        kind: "PriorityClass",
        plural: "priorityclasses",
        singular: "priorityclass",
        short_names: &["pc"],
        categories: &[],
        scope: Scope::Cluster,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        // It is 1 for ever: what would count cannot change.
        generation: Generation::OfSpec,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = PriorityClass;

    const SCHEMA: &'static str = "io.k8s.api.scheduling.v1.PriorityClass";

    fn default(object: &mut PriorityClass) {
        object.value.get_or_insert(0);
        object.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".to_owned());
        object.global_default = object.global_default.filter(|is| *is);
        object.description = object.description.take().filter(|text| !text.is_empty());
    }

    fn validate(object: &PriorityClass) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let value = object.value.unwrap_or(0);
        if name.starts_with(SYSTEM_PREFIX) {
            if let Some(why) = unlike_the_systems_own(object, name, value) {
                let detail = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
                );
                errors.push(FieldError::forbidden("metadata.name", detail));
            }
        } else if value > VALUE_MAX {
            let detail = format!("maximum allowed value of a user defined priority is {VALUE_MAX}");
            errors.push(FieldError::forbidden("value", detail));
        }
        let policies = ["PreemptLowerPriority", "Never"];
        one_of(&mut errors, "preemptionPolicy".to_owned(), object.preemption_policy.as_deref(), &policies);
        errors
    }

    fn validate_update(new: &PriorityClass, old: &PriorityClass) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if new.value != old.value {
            errors.push(FieldError::forbidden("value", "may not be changed in an update."));
        }
        immutable(&mut errors, "preemptionPolicy", &new.preemption_policy, &old.preemption_policy);
        errors
    }

    fn cells(object: &PriorityClass, now: Timestamp) -> Vec<Value> {
        vec![
            cells::name(&object.metadata),
            object.value.unwrap_or(0).into(),
            object.global_default.unwrap_or(false).into(),
            cells::age(&object.metadata, now),
            or(object.preemption_policy.as_deref(), "").into(),
        ]
    }
}

/// Why a class may not have the name of one of the system's own.
fn unlike_the_systems_own(object: &PriorityClass, name: &str, value: i32) -> Option<String> {
    let Some((_, own, _)) = SYSTEM.iter().find(|(own, ..)| *own == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if value != *own {
        return Some(format!("value of {name} PriorityClass must be {own}"));
    }
    let default = object.global_default.unwrap_or(false);
    default.then(|| format!("globalDefault of {name} PriorityClass must be false"))
}
