//! ControllerRevision: a state of a workload that a controller can go back to. It never changes.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, NONE, text};
use crate::registry::check::numbers::not_negative;
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Controller", "The controller whose state it is."),
    text("Revision", "Which of its states it is."),
    AGE,
];

pub(super) fn row() -> Row {
    Row {
        group: "apps",
        version: "v1",
        kind: "ControllerRevision",
        plural: "controllerrevisions",
        singular: "controllerrevision",
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::Never,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = ControllerRevision;

    const SCHEMA: &'static str = "io.k8s.api.apps.v1.ControllerRevision";

    fn default(object: &mut ControllerRevision) {
        object.revision.get_or_insert(0);
    }

    fn validate(object: &ControllerRevision) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if object.data.0.is_null() {
            errors.push(FieldError::required("data", "data is mandatory"));
        }
        not_negative(&mut errors, "revision".to_owned(), object.revision.unwrap_or(0));
        errors
    }

    fn validate_update(new: &ControllerRevision, old: &ControllerRevision) -> Vec<FieldError> {
        let mut errors = Self::validate(new);
        if new.data != old.data {
            errors.push(FieldError::invalid("data", new.data.0.clone(), "field is immutable"));
        }
        errors
    }

    fn cells(object: &ControllerRevision, now: Timestamp) -> Vec<Value> {
        let owners = object.metadata.owner_references.as_deref().unwrap_or_default();
        let controller = owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| {
            let group = owner.api_version.split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
            format!("{}{group}/{}", owner.kind.to_lowercase(), owner.name)
        });
        vec![
            cells::name(&object.metadata),
            controller.as_deref().unwrap_or(NONE).into(),
            object.revision.unwrap_or(0).into(),
            cells::age(&object.metadata, now),
        ]
    }
}
