//! Service: one address for many pods.

pub mod addresses;
mod cells;
mod defaults;
mod validate;
mod warnings;

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::ALL_VERBS;
use crate::registry::cells::{AGE, NAME, text, wide};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Type", "From where it can be reached."),
    text("Cluster-IP", "Its address inside the cluster."),
    text("External-IP", "Its address outside of the cluster."),
    text("Port(s)", "The ports it answers on."),
    AGE,
    wide("Selector", "The labels of the pods that answer."),
];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "Service",
        plural: "services",
        singular: "service",
        short_names: &["svc"],
        categories: &["all"],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[Subresource::Proxy, Subresource::Status],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &["spec.clusterIP", "spec.type"],
        name_rule: NameRule::Dns1035,
        generation: Generation::Never,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = Service;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.Service";

    fn default(object: &mut Service) {
        defaults::default(object);
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), json!({"loadBalancer": {}}));
        }
        defaults::families(object);
    }

    fn prepare_for_update(new: &mut Value, old: &Value) {
        crate::registry::typed::keep(new, old, "status");
        defaults::take_over(new, old);
        defaults::families(new);
    }

    fn validate(object: &Service) -> Vec<FieldError> {
        validate::validate(object)
    }

    fn validate_update(new: &Service, old: &Service) -> Vec<FieldError> {
        validate::validate_update(new, old)
    }

    fn validate_status_update(new: &Service, _old: &Service) -> Vec<FieldError> {
        validate::validate_status(new)
    }

    fn warnings(object: &Service) -> Vec<String> {
        warnings::warnings(object)
    }

    fn cells(object: &Service, now: Timestamp) -> Vec<Value> {
        cells::cells(object, now)
    }
}
