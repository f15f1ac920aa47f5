//! The rules for Events: those of old, and the stricter ones for clients of `events.k8s.io`.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Event, EventSource};

use crate::registry::check::labels::qualified_name;
use crate::registry::check::names::{self, require};
use crate::registry::check::{Errors, immutable};

/// The longest words that say who saw what, and the longest sentence.
const WORD_MAX: usize = 128;
const MESSAGE_MAX: usize = 1024;

/// The rules for all Events; `reporter` is what the client calls the one who saw it.
pub(super) fn old_rules(event: &Event, reporter: &str) -> Errors {
    let mut errors = Vec::new();
    let own = event.metadata.namespace.as_deref().unwrap_or_default();
    let about = event.involved_object.namespace.as_deref().unwrap_or_default();
    let fits = match (event.event_time.is_some(), about.is_empty()) {
        (false, true) => own == "default",
        (false, false) => about == own,
        (true, true) => matches!(own, "default" | "kube-system"),
        (true, false) => true,
    };
    if !fits {
        errors.push(FieldError::invalid("involvedObject.namespace", about, "does not match event.namespace"));
    }
    if event.event_time.is_some() {
        words(&mut errors, event, reporter);
    }
    require(&mut errors, "namespace", own, names::subdomain);
    errors
}

fn words(errors: &mut Errors, event: &Event, reporter: &str) {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let component = text(&event.reporting_component);
    if component.is_empty() {
        errors.push(FieldError::required(reporter, ""));
    }
    require(errors, reporter, &component, qualified_name);
    for (path, word) in [
        ("reportingInstance", text(&event.reporting_instance)),
        ("action", text(&event.action)),
        ("reason", text(&event.reason)),
    ] {
        if word.is_empty() {
            errors.push(FieldError::required(path, ""));
        }
        bounded(errors, path, &word, WORD_MAX);
    }
    bounded(errors, "message", &text(&event.message), MESSAGE_MAX);
}

fn bounded(errors: &mut Errors, path: &str, text: &str, max: usize) {
    if text.len() > max {
        errors.push(FieldError::invalid(path, "", format!("can have at most {max} characters")));
    }
}

/// The rules for a new Event of `events.k8s.io`.
pub(super) fn strict(event: &Event) -> Errors {
    let mut errors = old_rules(event, "reportingController");
    series(&mut errors, event);
    if event.event_time.is_none() {
        errors.push(FieldError::required("eventTime", ""));
    }
    let kind = event.type_.as_deref().unwrap_or_default();
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(FieldError::invalid("type", "", format!("has invalid value: {kind}")));
    }
    let source = event.source.as_ref().is_some_and(|source| *source != EventSource::default());
    for (path, is_set) in [
        ("firstTimestamp", event.first_timestamp.is_some()),
        ("lastTimestamp", event.last_timestamp.is_some()),
        ("count", event.count.is_some_and(|count| count != 0)),
        ("source", source),
    ] {
        if is_set {
            errors.push(FieldError::invalid(path, "", "needs to be unset"));
        }
    }
    errors
}

/// The rules for a change of an Event of `events.k8s.io`: only its series may change.
pub(super) fn strict_update(new: &Event, old: &Event) -> Errors {
    let mut errors = old_rules(new, "reportingController");
    if new.series != old.series {
        series(&mut errors, new);
    }
    let e = &mut errors;
    immutable(e, "involvedObject", &new.involved_object, &old.involved_object);
    immutable(e, "reason", &new.reason, &old.reason);
    immutable(e, "message", &new.message, &old.message);
    immutable(e, "source", &new.source, &old.source);
    immutable(e, "firstTimestamp", &new.first_timestamp, &old.first_timestamp);
    immutable(e, "lastTimestamp", &new.last_timestamp, &old.last_timestamp);
    immutable(e, "count", &new.count, &old.count);
    immutable(e, "type", &new.type_, &old.type_);
    immutable(e, "eventTime", &new.event_time, &old.event_time);
    immutable(e, "action", &new.action, &old.action);
    immutable(e, "related", &new.related, &old.related);
    immutable(e, "reportingController", &new.reporting_component, &old.reporting_component);
    immutable(e, "reportingInstance", &new.reporting_instance, &old.reporting_instance);
    errors
}

fn series(errors: &mut Errors, event: &Event) {
    let Some(series) = &event.series else { return };
    if series.count.unwrap_or(0) < 2 {
        errors.push(FieldError::invalid("series.count", "", "should be at least 2"));
    }
    if series.last_observed_time.is_none() {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
}
