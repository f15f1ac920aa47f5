//! Lease: who does something at the moment, and until when. A heartbeat, not worth a flash write of its own.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, or, text};
use crate::registry::check::numbers::not_negative;
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[NAME, text("Holder", "Who holds it at the moment."), AGE];

pub(super) fn row() -> Row {
    Row {
        group: "coordination.k8s.io",
        version: "v1",
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::Never,
        durability: Durability::Volatile,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = Lease;

    const SCHEMA: &'static str = "io.k8s.api.coordination.v1.Lease";

    fn default(object: &mut Lease) {
        object.spec.get_or_insert_default();
    }

    fn validate(object: &Lease) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let Some(spec) = &object.spec else { return errors };
        if let Some(seconds) = spec.lease_duration_seconds.filter(|s| *s <= 0) {
            errors.push(FieldError::invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"));
        }
        if let Some(count) = spec.lease_transitions {
            not_negative(&mut errors, "spec.leaseTransitions".to_owned(), count);
        }
        errors
    }

    fn cells(object: &Lease, now: Timestamp) -> Vec<Value> {
        let holder = or(object.spec.as_ref().and_then(|s| s.holder_identity.as_deref()), "");
        vec![cells::name(&object.metadata), holder.into(), cells::age(&object.metadata, now)]
    }
}
