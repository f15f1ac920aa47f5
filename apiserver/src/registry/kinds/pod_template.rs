//! PodTemplate: what pods are to be made like.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodTemplate;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, NAME, label_list, text};
use crate::registry::check::path::Path;
use crate::registry::meta::NameRule;
use crate::registry::pod_spec;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Containers", "Names of the containers."),
    text("Images", "Images of the containers."),
    text("Pod Labels", "Labels that its pods have."),
];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "PodTemplate",
        plural: "podtemplates",
        singular: "podtemplate",
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::OfContent,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = PodTemplate;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.PodTemplate";

    fn default(object: &mut PodTemplate) {
        pod_spec::default_template(object.template.get_or_insert_default());
    }

    fn validate(object: &PodTemplate) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let template = object.template.clone().unwrap_or_default();
        pod_spec::validate_any_template(&mut errors, Path::from("template"), &template);
        errors
    }

    fn warnings(object: &PodTemplate) -> Vec<String> {
        object.template.as_ref().map_or_else(Vec::new, |template| pod_spec::template_warnings("template", template))
    }

    fn cells(object: &PodTemplate, _now: Timestamp) -> Vec<Value> {
        let [containers, images] = cells::containers(object.template.as_ref());
        let meta = object.template.as_ref().and_then(|template| template.metadata.as_ref());
        let labels = label_list(meta.and_then(|meta| meta.labels.as_ref()));
        vec![cells::name(&object.metadata), containers, images, labels.into()]
    }
}
