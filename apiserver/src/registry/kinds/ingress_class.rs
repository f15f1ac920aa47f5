//! IngressClass: who sees to Ingresses, and with which parameters.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IngressClass, IngressClassParametersReference};
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, NONE, or, text};
use crate::registry::check::domains;
use crate::registry::check::names::{self, path_segment, require};
use crate::registry::check::{Errors, at, immutable};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Controller", "The controller that sees to its Ingresses."),
    text("Parameters", "What it is set up with."),
    AGE,
];

/// The longest name of a controller.
const CONTROLLER_BYTES_MAX: usize = 250;

const CLUSTER: &str = "Cluster";
const NAMESPACE: &str = "Namespace";

pub(super) fn row() -> Row {
    Row {
        group: "networking.k8s.io",
        version: "v1",
        kind: "IngressClass",
        plural: "ingressclasses",
        singular: "ingressclass",
        short_names: &[],
        categories: &[],
        scope: Scope::Cluster,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::OfSpec,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = IngressClass;

    const SCHEMA: &'static str = "io.k8s.api.networking.v1.IngressClass";

    fn default(object: &mut IngressClass) {
        if let Some(parameters) = &mut object.spec.get_or_insert_default().parameters {
            parameters.scope.get_or_insert_with(|| CLUSTER.to_owned());
        }
    }

    fn validate(object: &IngressClass) -> Vec<FieldError> {
        const PATH: &str = "spec.controller";
        let mut errors = Vec::new();
        let spec = object.spec.clone().unwrap_or_default();
        match spec.controller.as_deref().unwrap_or_default() {
            "" => errors.push(FieldError::required(PATH, "")),
            controller => {
                if controller.len() > CONTROLLER_BYTES_MAX {
                    errors.push(FieldError::too_long(PATH, CONTROLLER_BYTES_MAX));
                }
                domains::prefixed_path(&mut errors, PATH, controller);
            }
        }
        if let Some(parameters) = &spec.parameters {
            validate_parameters(&mut errors, "spec.parameters", parameters);
        }
        errors
    }

    fn validate_update(new: &IngressClass, old: &IngressClass) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let controller = |class: &IngressClass| class.spec.as_ref().and_then(|spec| spec.controller.clone());
        immutable(&mut errors, "spec.controller", &controller(new), &controller(old));
        errors.extend(Self::validate(new));
        errors
    }

    fn cells(object: &IngressClass, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let parameters = spec.parameters.map(|p| match p.api_group.filter(|group| !group.is_empty()) {
            Some(group) => format!("{}.{group}/{}", p.kind, p.name),
            None => format!("{}/{}", p.kind, p.name),
        });
        vec![
            cells::name(&object.metadata),
            or(spec.controller.as_deref(), "").into(),
            or(parameters.as_deref(), NONE).into(),
            cells::age(&object.metadata, now),
        ]
    }
}

fn validate_parameters(errors: &mut Errors, path: &str, parameters: &IngressClassParametersReference) {
    if let Some(group) = &parameters.api_group {
        require(errors, &at(path, "apiGroup"), group, names::subdomain);
    }
    for (field, value) in [("kind", &parameters.kind), ("name", &parameters.name)] {
        if value.is_empty() {
            errors.push(FieldError::required(at(path, field), ""));
        } else {
            require(errors, &at(path, field), value, path_segment);
        }
    }
    let place = at(path, "namespace");
    match (parameters.scope.as_deref(), &parameters.namespace) {
        (None, _) => errors.push(FieldError::required(at(path, "scope"), "")),
        (Some(NAMESPACE), None) => {
            errors.push(FieldError::required(place, "`parameters.scope` is set to 'Namespace'"));
        }
        (Some(NAMESPACE), Some(namespace)) => require(errors, &place, namespace, names::label),
        (Some(CLUSTER), Some(_)) => {
            errors.push(FieldError::forbidden(place, "`parameters.scope` is set to 'Cluster'"));
        }
        (Some(CLUSTER), None) => {}
        (Some(other), _) => {
            errors.push(FieldError::not_supported(at(path, "scope"), other, &[CLUSTER, NAMESPACE]));
        }
    }
}
