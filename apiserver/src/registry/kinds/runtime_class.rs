//! RuntimeClass: which way of running pods a pod may ask for.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::node::v1::RuntimeClass;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, text};
use crate::registry::check::labels::labels;
use crate::registry::check::names::{self, require};
use crate::registry::check::numbers::quantity_not_negative;
use crate::registry::check::{immutable, item};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[NAME, text("Handler", "What runs the pods on a node."), AGE];

pub(super) fn row() -> Row {
    Row {
        group: "node.k8s.io",
        version: "v1",
        kind: "RuntimeClass",
        plural: "runtimeclasses",
        singular: "runtimeclass",
        short_names: &[],
        categories: &[],
        scope: Scope::Cluster,
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
    type Object = RuntimeClass;

    const SCHEMA: &'static str = "io.k8s.api.node.v1.RuntimeClass";

    fn validate(object: &RuntimeClass) -> Vec<FieldError> {
        let mut errors = Vec::new();
        require(&mut errors, "handler", &object.handler, names::label);
        let overhead = object.overhead.iter().flat_map(|overhead| overhead.pod_fixed.iter().flatten());
        for (name, quantity) in overhead {
            quantity_not_negative(&mut errors, format!("overhead.limits[{name}]"), quantity);
        }
        let Some(scheduling) = &object.scheduling else { return errors };
        if let Some(selector) = &scheduling.node_selector {
            labels(&mut errors, "scheduling.nodeSelector", selector);
        }
        let tolerations = scheduling.tolerations.as_deref().unwrap_or_default();
        for (index, toleration) in tolerations.iter().enumerate() {
            if tolerations.iter().take(index).any(|other| other == toleration) {
                let value = serde_json::to_value(toleration).unwrap_or_default();
                errors.push(FieldError::duplicate(item("scheduling", "tolerations", index), value));
            }
        }
        errors
    }

    fn validate_update(new: &RuntimeClass, old: &RuntimeClass) -> Vec<FieldError> {
        let mut errors = Vec::new();
        immutable(&mut errors, "handler", &new.handler, &old.handler);
        errors
    }

    fn cells(object: &RuntimeClass, now: Timestamp) -> Vec<Value> {
        vec![cells::name(&object.metadata), object.handler.as_str().into(), cells::age(&object.metadata, now)]
    }
}
