//! Ingress: which host and path of the outside leads to which Service.

mod validate;

use std::sync::Arc;

use coracle_api::field::FieldError;
use coracle_api::wellknown::ANNOTATION_INGRESS_CLASS as CLASS;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, NONE, first_three, or, text};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Class", "The class of controllers that see to it."),
    text("Hosts", "The hosts it is about."),
    text("Address", "The addresses at which it is reached."),
    text("Ports", "The ports it is reached on."),
    AGE,
];

pub(super) fn row() -> Row {
    Row {
        group: "networking.k8s.io",
        version: "v1",
        kind: "Ingress",
        plural: "ingresses",
        singular: "ingress",
        short_names: &["ing"],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[Subresource::Status],
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
    type Object = Ingress;

    const SCHEMA: &'static str = "io.k8s.api.networking.v1.Ingress";

    fn default(object: &mut Ingress) {
        let spec = object.spec.get_or_insert_default();
        let rules = spec.rules.iter_mut().flatten().filter_map(|rule| rule.http.as_mut());
        let backends = rules.flat_map(|http| &mut http.paths).map(|path| &mut path.backend);
        for service in backends.chain(&mut spec.default_backend).filter_map(|backend| backend.service.as_mut()) {
            service.port.get_or_insert_default();
        }
        object.status.get_or_insert_default().load_balancer.get_or_insert_default();
    }

    fn prepare_for_create(object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), json!({"loadBalancer": {}}));
        }
    }

    fn validate(object: &Ingress) -> Vec<FieldError> {
        let mut errors = validate::spec(&object.spec.clone().unwrap_or_default());
        let annotated = object.metadata.annotations.as_ref().and_then(|all| all.get(CLASS));
        let class = object.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref());
        if let (Some(annotated), Some(class)) = (annotated, class)
            && annotated != class
        {
            let detail = "must match `ingressClassName` when both are specified";
            errors.push(FieldError::invalid(format!("annotations.{CLASS}"), annotated.as_str(), detail));
        }
        errors
    }

    fn validate_update(new: &Ingress, _old: &Ingress) -> Vec<FieldError> {
        validate::spec(&new.spec.clone().unwrap_or_default())
    }

    fn validate_status_update(new: &Ingress, _old: &Ingress) -> Vec<FieldError> {
        validate::status(new)
    }

    fn warnings(object: &Ingress) -> Vec<String> {
        let annotated = object.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(CLASS));
        let deprecated = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use \
                          'spec.ingressClassName' instead";
        annotated.then(|| deprecated.to_owned()).into_iter().collect()
    }

    fn cells(object: &Ingress, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let hosts = spec.rules.iter().flatten().filter_map(|rule| rule.host.clone()).filter(|host| !host.is_empty());
        let balancer = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let points = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
        let addresses: Vec<String> =
            points.iter().filter_map(|point| point.ip.clone().or_else(|| point.hostname.clone())).collect();
        let secured = spec.tls.as_ref().is_some_and(|tls| !tls.is_empty());
        vec![
            cells::name(&object.metadata),
            or(spec.ingress_class_name.as_deref(), NONE).into(),
            first_three(&hosts.collect::<Vec<_>>(), "*").into(),
            addresses.join(",").into(),
            (if secured { "80, 443" } else { "80" }).into(),
            cells::age(&object.metadata, now),
        ]
    }
}
