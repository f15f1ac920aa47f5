//! Event: what happened, for people to read. Kept in memory first: it is not worth a flash write. Kept as the core
//! group has it; `events.k8s.io/v1` is another view of the same objects.

pub(super) mod v1;
mod validate;

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, or, since, text, wide};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    text("Last Seen", "How long ago it last happened."),
    text("Type", "Whether it is Normal or a Warning."),
    text("Reason", "Why it happened, in one word."),
    text("Object", "The object that it is about."),
    wide("Subobject", "Which part of the object."),
    wide("Source", "Who saw it happen, and where."),
    text("Message", "What happened, in a sentence."),
    wide("First Seen", "How long ago it first happened."),
    wide("Count", "How often it happened."),
    Column { name: "Name", kind: "string", format: "name", description: "The name of the event itself.", priority: 1 },
];

/// What events are about, and how they came to be, can be selected.
const FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: FIELDS,
        name_rule: NameRule::Subdomain,
        generation: Generation::Never,
        durability: Durability::Volatile,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = Event;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.Event";

    const NULLS: &'static [&'static str] = &["eventTime", "firstTimestamp", "lastTimestamp"];

    fn default(object: &mut Event) {
        object.source.get_or_insert_default();
        object.reporting_component.get_or_insert_default();
        object.reporting_instance.get_or_insert_default();
    }

    fn validate(object: &Event) -> Vec<FieldError> {
        validate::old_rules(object, "reportingComponent")
    }

    fn cells(object: &Event, now: Timestamp) -> Vec<Value> {
        let happened = object.event_time.as_ref().map(|t| Time(t.0));
        let first = object.first_timestamp.clone().or(happened);
        let series = object.series.as_ref();
        let last = match series {
            Some(series) => series.last_observed_time.as_ref().map(|t| Time(t.0)),
            None => object.last_timestamp.clone().or_else(|| first.clone()),
        };
        let count = match series {
            Some(series) => series.count.unwrap_or(0),
            None => object.count.filter(|count| *count != 0).unwrap_or(1),
        };
        let about = &object.involved_object;
        let kind = or(about.kind.as_deref(), "").to_lowercase();
        let name = about.name.as_deref().filter(|name| !name.is_empty());
        let target = name.map_or_else(|| kind.clone(), |name| format!("{kind}/{name}"));
        vec![
            since(last.as_ref(), now).into(),
            or(object.type_.as_deref(), "").into(),
            or(object.reason.as_deref(), "").into(),
            target.into(),
            or(about.field_path.as_deref(), "").into(),
            source(object).into(),
            or(object.message.as_deref(), "").trim().into(),
            since(first.as_ref(), now).into(),
            count.into(),
            cells::name(&object.metadata),
        ]
    }
}

/// `component, host`.
fn source(event: &Event) -> String {
    let given = event.source.as_ref();
    let component = or(given.and_then(|s| s.component.as_deref()), or(event.reporting_component.as_deref(), ""));
    let host = or(given.and_then(|s| s.host.as_deref()), or(event.reporting_instance.as_deref(), ""));
    if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") }
}
