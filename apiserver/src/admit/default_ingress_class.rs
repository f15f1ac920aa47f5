//! `DefaultIngressClass`: an Ingress that names no class gets the default one, if there is one. Of several, the newest.

use std::cmp::Reverse;

use coracle_api::wellknown::{ANNOTATION_DEFAULT_INGRESS_CLASS, ANNOTATION_INGRESS_CLASS};
use k8s_openapi::api::networking::v1::IngressClass;
use serde_json::Value;

use super::attributes::Attributes;
use super::plugins::Plugin;
use crate::answer::Refused;
use crate::object::map_mut;

pub(super) const PLUGIN: Plugin = Plugin { mutate: Some(mutate), ..Plugin::on("DefaultIngressClass") };

fn mutate(attributes: &Attributes<'_>, ingress: &mut Value) -> Result<(), Refused> {
    if !attributes.is_of("networking.k8s.io", "ingresses") || !attributes.creates() || names_class(ingress) {
        return Ok(());
    }
    let classes = attributes.stored_holding("networking.k8s.io", "ingressclasses", ANNOTATION_DEFAULT_INGRESS_CLASS);
    let classes = classes.filter_map(|class| serde_json::from_value::<IngressClass>(class).ok());
    if let Some(name) = newest(classes.filter(is_default)).and_then(|class| class.metadata.name) {
        let spec = map_mut(ingress).entry("spec").or_insert_with(|| Value::Object(serde_json::Map::new()));
        map_mut(spec).insert("ingressClassName".to_owned(), name.into());
    }
    Ok(())
}

fn names_class(ingress: &Value) -> bool {
    let annotations = ingress.pointer("/metadata/annotations");
    let annotated = annotations.is_some_and(|all| all.get(ANNOTATION_INGRESS_CLASS).is_some());
    annotated || ingress.pointer("/spec/ingressClassName").is_some_and(|class| !class.is_null())
}

fn is_default(class: &IngressClass) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(ANNOTATION_DEFAULT_INGRESS_CLASS)).is_some_and(|text| text == "true")
}

fn newest(classes: impl Iterator<Item = IngressClass>) -> Option<IngressClass> {
    classes.min_by_key(|class| {
        let born = class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (Reverse(born), class.metadata.name.clone())
    })
}
