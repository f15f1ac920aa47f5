//! Event as `events.k8s.io/v1` shows it: the same with other names for some fields, and stricter rules.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::events::v1::Event;
use serde::Deserialize as _;
use serde_json::Value;

use super::validate;
use crate::object::map_mut;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Row, Strategy as _};
use crate::store::Conversion;

/// What can be selected, by the names that this version has for it.
const FIELDS: &[&str] = &[
    "reason",
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reportingController",
    "type",
];

pub(in crate::registry::kinds) fn row() -> Row {
    Row {
        group: "events.k8s.io",
        schema: Strategy::SCHEMA,
        fields: FIELDS,
        strategy: Arc::new(Typed::<Strategy>::new()),
        ..super::row()
    }
}

struct Strategy;

/// Fields by their names in the core group and here.
const NAMES: [(&str, &str); 7] = [
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("involvedObject", "regarding"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
];

impl Kind for Strategy {
    type Object = Event;

    const SCHEMA: &'static str = "io.k8s.api.events.v1.Event";

    const CONVERSION: Option<Conversion> = Some(Conversion { group: "", version: "v1", to_stored, from_stored });

    const NULLS: &'static [&'static str] = &["deprecatedFirstTimestamp", "deprecatedLastTimestamp", "eventTime"];

    fn default(object: &mut Event) {
        object.regarding.get_or_insert_default();
        object.deprecated_source.get_or_insert_default();
        object.deprecated_count = object.deprecated_count.filter(|count| *count != 0);
        for text in [&mut object.reporting_controller, &mut object.reporting_instance, &mut object.note] {
            *text = text.take().filter(|text| !text.is_empty());
        }
    }

    fn validate(object: &Event) -> Vec<FieldError> {
        validate::strict(&stored(object))
    }

    fn validate_update(new: &Event, old: &Event) -> Vec<FieldError> {
        validate::strict_update(&stored(new), &stored(old))
    }

    fn cells(object: &Event, now: Timestamp) -> Vec<Value> {
        super::Strategy::cells(&stored(object), now)
    }
}

fn stored(object: &Event) -> core::Event {
    let object = to_stored(serde_json::to_value(object).unwrap_or_default());
    core::Event::deserialize(object).unwrap_or_default()
}

fn renamed(mut object: Value, version: &str, names: impl Iterator<Item = (&'static str, &'static str)>) -> Value {
    let fields = map_mut(&mut object);
    fields.insert("apiVersion".to_owned(), version.into());
    for (from, to) in names {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
    object
}

fn to_stored(object: Value) -> Value {
    let converted = renamed(object, "v1", NAMES.iter().map(|(kept, seen)| (*seen, *kept)));
    Typed::<super::Strategy>::new().default(converted.clone()).unwrap_or(converted)
}

fn from_stored(object: Value) -> Value {
    let converted = renamed(object, "events.k8s.io/v1", NAMES.iter().copied());
    Typed::<Strategy>::new().default(converted.clone()).unwrap_or(converted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(more: &Value) -> Value {
        let mut object = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": "e", "namespace": "n"}, "eventTime": "2001-02-03T04:05:06.000000Z",
            "reportingController": "example.com/c", "reportingInstance": "i", "action": "A", "reason": "R",
            "type": "Normal", "regarding": {"kind": "Pod", "name": "p", "namespace": "n"}});
        map_mut(&mut object).extend(more.as_object().unwrap().clone());
        Typed::<Strategy>::new().default(object).unwrap()
    }

    #[test]
    fn both_versions_show_the_same_event() {
        let seen = event(&json!({"note": "happened"}));
        let kept = to_stored(seen.clone());
        expect_test::expect![[r#"{"action":"A","apiVersion":"v1","eventTime":"2001-02-03T04:05:06.000000Z","firstTimestamp":null,"involvedObject":{"kind":"Pod","name":"p","namespace":"n"},"kind":"Event","lastTimestamp":null,"message":"happened","metadata":{"name":"e","namespace":"n"},"reason":"R","reportingComponent":"example.com/c","reportingInstance":"i","source":{},"type":"Normal"}"#]]
            .assert_eq(&kept.to_string());
        assert_eq!(from_stored(kept), seen);
    }

    #[test]
    fn the_rules_are_stricter_here() {
        let told = |object: &Value| -> String {
            let errors = Typed::<Strategy>::new().validate(object);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(told(&event(&json!({}))), "");
        expect_test::expect![[r#"
            reportingController: Required value
            reportingController: Invalid value: "": name part must be non-empty
            reportingController: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            action: Required value
            series.count: Invalid value: "": should be at least 2
            type: Invalid value: "": has invalid value: X
            count: Invalid value: "": needs to be unset
            source: Invalid value: "": needs to be unset"#]]
        .assert_eq(&told(&event(&json!({"reportingController": "", "action": "", "type": "X", "deprecatedCount": 1,
            "deprecatedSource": {"host": "h"},
            "series": {"count": 1, "lastObservedTime": "2001-02-03T04:05:06.000000Z"}}))));
        let (old, new) = (event(&json!({})), event(&json!({"note": "another"})));
        let errors = Typed::<Strategy>::new().validate_update(&new, &old);
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [r#"message: Invalid value: "another": field is immutable"#]
        );
    }
}
