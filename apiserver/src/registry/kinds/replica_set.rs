//! ReplicaSet: so many pods of one template.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, integer, wide};
use crate::registry::check::immutable;
use crate::registry::check::numbers::{at_most, not_negative};
use crate::registry::check::path::Path;
use crate::registry::meta::NameRule;
use crate::registry::pod_spec;
use crate::registry::typed::{Kind, Typed, is_stated};
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

const SELECTOR: &str = "spec.selector";

impl Kind for Strategy {
    type Object = ReplicaSet;

    const SCHEMA: &'static str = "io.k8s.api.apps.v1.ReplicaSet";

    const NULLS: &'static [&'static str] = &["status.conditions[].lastTransitionTime"];

    const STATED: &'static [&'static str] = &[SELECTOR];

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
        validate(object, Some(&object.spec.selector))
    }

    fn validate_stated(object: &ReplicaSet, stated: &Value) -> Vec<FieldError> {
        validate(object, is_stated(stated, SELECTOR).then_some(&object.spec.selector))
    }

    fn validate_update_stated(new: &ReplicaSet, old: &ReplicaSet, stated: &Value) -> Vec<FieldError> {
        let mut errors = Self::validate_stated(new, stated);
        immutable(&mut errors, SELECTOR, &new.spec.selector, &old.spec.selector);
        errors
    }

    fn validate_status_update(new: &ReplicaSet, _old: &ReplicaSet) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = ReplicaSetStatus::default();
        let (status, path) = (new.status.as_ref().unwrap_or(&empty), Path::from("status"));
        let count = |value: Option<i32>| value.unwrap_or(0);
        let (ready, available) = (count(status.ready_replicas), count(status.available_replicas));
        let of_all = [
            ("fullyLabeledReplicas", count(status.fully_labeled_replicas)),
            ("readyReplicas", ready),
            ("availableReplicas", available),
        ];
        not_negative(&mut errors, path.field("replicas"), status.replicas);
        for (field, value) in of_all {
            not_negative(&mut errors, path.field(field), value);
        }
        not_negative(&mut errors, path.field("observedGeneration"), status.observed_generation.unwrap_or(0));
        not_negative(&mut errors, path.field("terminatingReplicas"), count(status.terminating_replicas));
        for (field, value) in of_all {
            let detail = "cannot be greater than status.replicas";
            at_most(&mut errors, path.field(field), value, status.replicas, detail);
        }
        at_most(&mut errors, path.field("availableReplicas"), available, ready, "cannot be greater than readyReplicas");
        errors
    }

    fn warnings(object: &ReplicaSet) -> Vec<String> {
        let mut found: Vec<String> =
            pod_spec::name_warning(&object.metadata, "Pod names and hostnames").into_iter().collect();
        found.extend(template_warnings(object));
        found
    }

    fn update_warnings(new: &ReplicaSet, old: &ReplicaSet) -> Vec<String> {
        if new.spec == old.spec { Vec::new() } else { template_warnings(new) }
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

fn template_warnings(object: &ReplicaSet) -> Vec<String> {
    object.spec.template.as_ref().map_or_else(Vec::new, |t| pod_spec::template_warnings("spec.template", t))
}

fn validate(object: &ReplicaSet, selector: Option<&LabelSelector>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (spec, path) = (&object.spec, Path::from("spec"));
    let empty = PodTemplateSpec::default();
    let template = spec.template.as_ref().unwrap_or(&empty);
    let replicas = spec.replicas.unwrap_or(1);
    not_negative(&mut errors, path.field("replicas"), replicas);
    not_negative(&mut errors, path.field("minReadySeconds"), spec.min_ready_seconds.unwrap_or(0));
    // Upstream says of a ReplicaSet too that it is a deployment.
    let selector = pod_spec::validate_selector(&mut errors, path.field("selector"), selector, "deployment");
    pod_spec::validate_template(&mut errors, path.field("template"), template, selector.as_ref(), replicas);
    errors
}
