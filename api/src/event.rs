//! Events, folded: what a component says about an object becomes one `v1` Event whose count grows.
//!
//! As client-go's correlator: the same again raises the count; ten similar ones (all but the message alike) within
//! ten minutes become one, "(combined from similar events)"; and a component that says ever more about one object
//! is no longer written down.
//! A pure core: the components' shells send what [`EventLog::record`] returns. Of each sort of thing it keeps at most
//! [`REMEMBERED_EVENTS_MAX`], so that a flood of events cannot grow memory.

mod budget;
mod recent;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};

use budget::Budget;
pub use budget::{EVENT_PER_OBJECT_EVERY, EVENTS_PER_OBJECT_BURST};
use recent::Recent;

/// How many different events a log remembers for folding: some thousand pods with a few each. As in client-go.
pub const REMEMBERED_EVENTS_MAX: usize = 4096;

/// How many events that differ in their message alone are written before they are combined: client-go's figure.
pub const SIMILAR_EVENTS_MAX: usize = 10;

/// For how long after the last one events count as similar: client-go's figure.
pub const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// How long a sentence waits to be written. Writing an event costs as much as the step that it tells of, and what
/// happens has the machine first: who waits for a pod does not wait for its events.
pub const LINGER: Duration = Duration::from_millis(25);

/// What stands before the message of a combined event, as in client-go.
const COMBINED: &str = "(combined from similar events): ";

/// The `type` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Things go as they should.
    Normal,
    /// A person may want to look.
    Warning,
}

impl Kind {
    /// As written in `Event.type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// What is said about an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The object.
    pub about: ObjectReference,
    /// Normal or Warning.
    pub kind: Kind,
    /// One CamelCase word: `Scheduled`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// What is to be written for something said.
#[derive(Debug, Clone, PartialEq)]
pub enum EventWrite {
    /// A new event.
    Create(Box<Event>),
    /// The same was said before: the event of this namespace and name gets this merge patch
    /// (if it is gone by now, create `event` instead).
    Repeat {
        /// The whole event, for creating it anew.
        event: Box<Event>,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What has changed of it: count, time and message.
        patch: Value,
    },
}

/// Remembers what a component said, so that saying it again makes a count and not another object.
#[derive(Debug)]
pub struct EventLog {
    component: String,
    host: Option<String>,
    /// What was written, by everything that tells an event from another.
    written: Recent<Written>,
    /// What was said, by everything but the message.
    similar: Recent<Similar>,
    /// What may still be said, by object.
    budgets: Recent<Budget>,
    serial: u64,
}

/// An event that is there, as far as saying it again needs to know.
#[derive(Debug, Clone)]
struct Written {
    name: String,
    first: Time,
    count: i32,
}

/// The messages of events that are otherwise alike.
#[derive(Debug)]
struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

impl EventLog {
    /// A log for a component (`deployment-controller`, `default-scheduler`, `kubelet`), on a node if it has one.
    #[must_use]
    pub fn new(component: impl Into<String>, host: Option<String>) -> Self {
        let (written, similar, budgets) = (Recent::new(), Recent::new(), Recent::new());
        Self { component: component.into(), host, written, similar, budgets, serial: 0 }
    }

    /// Folds what is said at `now` into the log and tells what to write; nothing where too much is said of the object.
    pub fn record(&mut self, said: &Said, now: Timestamp) -> Option<EventWrite> {
        let object = key_of(&said.about);
        let (key, message) = self.combined(&object, said, now);
        let time = Time(crate::clock::whole_seconds(now));
        let next = self.next_name(said, now);
        let fresh = || Written { name: next, first: time.clone(), count: 0 };
        let written = self.written.of(key, fresh);
        written.count = written.count.saturating_add(1);
        let written = written.clone();
        if !self.budgets.of(object, || Budget::full(now)).take(now) {
            return None;
        }
        let event = Box::new(self.event(said, &message, &written, time));
        if written.count == 1 {
            return Some(EventWrite::Create(event));
        }
        let patch = json!({ "count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message });
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        Some(EventWrite::Repeat { event, namespace, name: written.name, patch })
    }

    /// By what the event is remembered, and its message: its own, or that of all similar ones once they are many.
    fn combined(&mut self, object: &str, said: &Said, now: Timestamp) -> (String, String) {
        let alike = [object, said.kind.as_str(), &said.reason].join(SEPARATOR);
        let fresh = || Similar { messages: BTreeSet::new(), last: now };
        let similar = self.similar.of(alike.clone(), fresh);
        if now.duration_since(similar.last) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.last = now;
        similar.messages.insert(said.message.clone());
        if similar.messages.len() < SIMILAR_EVENTS_MAX {
            let field = said.about.field_path.as_deref().unwrap_or_default();
            return ([&alike, field, &said.message].join(SEPARATOR), said.message.clone());
        }
        // One place is kept for the next message; the others stay, so that it is combined as well.
        similar.messages.remove(&said.message);
        (alike, format!("{COMBINED}{}", said.message))
    }

    fn next_name(&mut self, said: &Said, now: Timestamp) -> String {
        self.serial += 1;
        let unique = u64::try_from(now.as_nanosecond()).unwrap_or(0).wrapping_add(self.serial);
        format!("{}.{unique:016x}", said.about.name.as_deref().unwrap_or_default())
    }

    fn event(&self, said: &Said, message: &str, written: &Written, last: Time) -> Event {
        let namespace = said.about.namespace.clone().filter(|n| !n.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(written.name.clone()),
                namespace: Some(namespace.unwrap_or_else(|| crate::wellknown::NAMESPACE_DEFAULT.to_owned())),
                ..ObjectMeta::default()
            },
            involved_object: said.about.clone(),
            type_: Some(said.kind.as_str().to_owned()),
            reason: Some(said.reason.clone()),
            message: Some(message.to_owned()),
            source: Some(EventSource { component: Some(self.component.clone()), host: self.host.clone() }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.host.clone().unwrap_or_default()),
            first_timestamp: Some(written.first.clone()),
            last_timestamp: Some(last),
            count: Some(written.count),
            ..Event::default()
        }
    }
}

/// What parts the pieces of a key: no field of an object can hold it.
const SEPARATOR: &str = "\u{0}";

/// What tells an object from all others.
fn key_of(about: &ObjectReference) -> String {
    let parts = [&about.api_version, &about.kind, &about.namespace, &about.name, &about.uid];
    parts.map(|part| part.as_deref().unwrap_or_default()).join(SEPARATOR)
}

#[cfg(test)]
mod tests;
