//! CustomResourceDefinition: which further kinds there are. None can be defined yet, so it is read only and its list is
//! empty: clients that look for a kind they do not know (kubectl does before it says so) get their answer.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use crate::registry::cells::{self, CREATED, NAME};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[NAME, CREATED];

pub(super) fn row() -> Row {
    Row {
        group: "apiextensions.k8s.io",
        version: "v1",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        short_names: &["crd", "crds"],
        categories: &["api-extensions"],
        scope: Scope::Cluster,
        verbs: &["get", "list", "watch"],
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
    type Object = CustomResourceDefinition;

    const SCHEMA: &'static str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";

    fn validate(_object: &CustomResourceDefinition) -> Vec<FieldError> {
        Vec::new()
    }

    fn cells(object: &CustomResourceDefinition, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&object.metadata), cells::created(&object.metadata)]
    }
}
