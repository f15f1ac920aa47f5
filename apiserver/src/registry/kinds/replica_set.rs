//! ReplicaSet: so many pods of one template.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, integer, wide};
use crate::registry::check::immutable;
use crate::registry::check::numbers::not_negative;
use crate::registry::meta::NameRule;
use crate::registry::pod_spec;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    integer("Desired", "How many pods there should be."),
    integer("Current", "How many pods there are."),
    integer("Ready", "How many pods are ready."),
    AGE,
    wide("Containers", "Names of the template's containers."),
    wide("Images", "Images of the template's containers."),
    wide("Selector", "Which pods belong to it."),
];

pub(super) fn row() -> Row {
    Row {
        group: "apps",
        version: "v1",
        kind: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        short_names: &["rs"],
        categories: &["all"],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[Subresource::Scale, Subresource::Status],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &["status.replicas"],
        name_rule: NameRule::Subdomain,
        generation: Generation::OfSpec,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = ReplicaSet;

    const SCHEMA: &'static str = "io.k8s.api.apps.v1.ReplicaSet";

    fn default(object: &mut ReplicaSet) {
        object.spec.replicas.get_or_insert(1);
        pod_spec::default_template(object.spec.template.get_or_insert_default());
        object.status.get_or_insert_default();
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), json!({"replicas": 0}));
        }
    }

    fn validate(object: &ReplicaSet) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let spec = &object.spec;
        let empty = PodTemplateSpec::default();
        let template = spec.template.as_ref().unwrap_or(&empty);
        not_negative(&mut errors, "spec.replicas".to_owned(), spec.replicas.unwrap_or(1));
        not_negative(&mut errors, "spec.minReadySeconds".to_owned(), spec.min_ready_seconds.unwrap_or(0));
        pod_spec::validate_selector(&mut errors, &spec.selector, template, "replicaset");
        pod_spec::validate_template(&mut errors, "spec.template", template);
        errors
    }

    fn validate_update(new: &ReplicaSet, old: &ReplicaSet) -> Vec<FieldError> {
        let mut errors = Self::validate(new);
        immutable(&mut errors, "spec.selector", &new.spec.selector, &old.spec.selector);
        errors
    }

    fn validate_status_update(new: &ReplicaSet, _old: &ReplicaSet) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let status = new.status.clone().unwrap_or_default();
        not_negative(&mut errors, "status.replicas".to_owned(), status.replicas);
        for (field, value) in [
            ("fullyLabeledReplicas", status.fully_labeled_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ] {
            let path = format!("status.{field}");
            not_negative(&mut errors, path.clone(), value.unwrap_or(0));
            if value.unwrap_or(0) > status.replicas {
                let detail = "cannot be greater than status.replicas";
                errors.push(FieldError::invalid(path, value.unwrap_or(0), detail));
            }
        }
        errors
    }

    fn warnings(object: &ReplicaSet) -> Vec<String> {
        object.spec.template.as_ref().map_or_else(Vec::new, |t| pod_spec::template_warnings("spec.template", t))
    }

    fn cells(object: &ReplicaSet, now: Timestamp) -> Vec<Value> {
        let status = object.status.clone().unwrap_or_default();
        let [containers, images, selector] = cells::workload(object.spec.template.as_ref(), &object.spec.selector);
        vec![
            cells::name(&object.metadata),
            object.spec.replicas.unwrap_or(0).into(),
            status.replicas.into(),
            status.ready_replicas.unwrap_or(0).into(),
            cells::age(&object.metadata, now),
            containers,
            images,
            selector,
        ]
    }
}
