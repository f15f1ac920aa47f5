//! ReplicationController: so many pods of one template, in the form of the first days.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::field::FieldError;
use coracle_api::selector::Selector;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ReplicationController, ReplicationControllerSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::{ALL_VERBS, workload};
use crate::registry::cells::{self, AGE, NAME, integer, label_list, wide};
use crate::registry::check::numbers::not_negative;
use crate::registry::check::path::Path;
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
        group: "",
        version: "v1",
        kind: "ReplicationController",
        plural: "replicationcontrollers",
        singular: "replicationcontroller",
        short_names: &["rc"],
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
    type Object = ReplicationController;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.ReplicationController";

    fn default(object: &mut ReplicationController) {
        let spec = object.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        if let Some(template) = &mut spec.template {
            pod_spec::default_template(template);
            let labels = workload::own_labels(template);
            let empty = |map: &Option<BTreeMap<String, String>>| map.as_ref().is_none_or(BTreeMap::is_empty);
            if !labels.is_empty() && empty(&spec.selector) {
                spec.selector = Some(labels.clone());
            }
            if !labels.is_empty() && empty(&object.metadata.labels) {
                object.metadata.labels = Some(labels);
            }
        }
        object.status.get_or_insert_default();
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), json!({"replicas": 0}));
        }
    }

    fn validate(object: &ReplicationController) -> Vec<FieldError> {
        validate(&object.spec.clone().unwrap_or_default())
    }

    fn validate_status_update(new: &ReplicationController, _old: &ReplicationController) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let status = new.status.clone().unwrap_or_default();
        let parts = [
            ("fullyLabeledReplicas", status.fully_labeled_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ];
        workload::counted(&mut errors, &[("replicas", status.replicas.into())]);
        workload::counted(&mut errors, &parts.map(|(field, count)| (field, count.unwrap_or(0).into())));
        workload::counted(&mut errors, &[("observedGeneration", status.observed_generation.unwrap_or(0))]);
        workload::parts(&mut errors, status.replicas, &parts);
        if status.available_replicas.unwrap_or(0) > status.ready_replicas.unwrap_or(0) {
            let count = status.available_replicas.unwrap_or(0);
            errors.push(FieldError::invalid("status.availableReplicas", count, "cannot be greater than readyReplicas"));
        }
        errors
    }

    fn warnings(object: &ReplicationController) -> Vec<String> {
        let template = object.spec.as_ref().and_then(|spec| spec.template.as_ref());
        template.map_or_else(Vec::new, |template| pod_spec::template_warnings("spec.template", template))
    }

    fn cells(object: &ReplicationController, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
        let [containers, images] = cells::containers(spec.template.as_ref());
        vec![
            cells::name(&object.metadata),
            spec.replicas.unwrap_or(0).into(),
            status.replicas.into(),
            status.ready_replicas.unwrap_or(0).into(),
            cells::age(&object.metadata, now),
            containers,
            images,
            label_list(spec.selector.as_ref()).into(),
        ]
    }
}

fn validate(spec: &ReplicationControllerSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let replicas = spec.replicas.unwrap_or(1);
    not_negative(&mut errors, "spec.minReadySeconds".to_owned(), spec.min_ready_seconds.unwrap_or(0));
    let labels = spec.selector.clone().unwrap_or_default();
    if labels.is_empty() {
        errors.push(FieldError::required("spec.selector", ""));
    }
    not_negative(&mut errors, "spec.replicas".to_owned(), replicas);
    let Some(template) = &spec.template else {
        errors.push(FieldError::required("spec.template", ""));
        return errors;
    };
    let selector = LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
    if let Ok(selector) = Selector::from_structured(&selector) {
        workload::finds(&mut errors, &selector, template);
    }
    pod_spec::validate_any_template(&mut errors, Path::from("spec.template"), template);
    workload::always(&mut errors, template, "ReplicationController");
    errors
}
