//! ServiceAccount: who a pod is.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, text};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[NAME, text("Secrets", "How many Secrets it names."), AGE];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short_names: &["sa"],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[Subresource::Token],
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
    type Object = ServiceAccount;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.ServiceAccount";

    fn validate(_object: &ServiceAccount) -> Vec<FieldError> {
        Vec::new()
    }

    fn cells(object: &ServiceAccount, now: Timestamp) -> Vec<Value> {
        let count = object.secrets.as_ref().map_or(0, Vec::len);
        vec![cells::name(&object.metadata), count.into(), cells::age(&object.metadata, now)]
    }
}
