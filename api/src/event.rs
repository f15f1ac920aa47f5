//! Events, folded: what a component says about an object becomes one `v1` Event whose count grows.
//!
//! A pure core. The components' shells send what [`EventLog::record`] returns; it keeps at most
//! [`REMEMBERED_EVENTS_MAX`] of what was said, so that a flood of events cannot grow memory.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

/// How many different events a log remembers for folding: some thousand pods with a few each.
pub const REMEMBERED_EVENTS_MAX: usize = 4096;

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
    },
}

/// Remembers what a component said, so that saying it again makes a count and not another object.
#[derive(Debug)]
pub struct EventLog {
    component: String,
    host: Option<String>,
    seen: BTreeMap<String, Event>,
    serial: u64,
}

impl EventLog {
    /// A log for a component (`deployment-controller`, `default-scheduler`, `kubelet`), on a node if it has one.
    #[must_use]
    pub fn new(component: impl Into<String>, host: Option<String>) -> Self {
        Self { component: component.into(), host, seen: BTreeMap::new(), serial: 0 }
    }

    /// Folds what is said at `now` into the log and tells what to write.
    pub fn record(&mut self, said: &Said, now: Timestamp) -> EventWrite {
        let about = &said.about;
        let text = |s: &Option<String>| s.clone().unwrap_or_default();
        let identity = [
            text(&about.kind),
            text(&about.namespace),
            text(&about.name),
            text(&about.uid),
            text(&about.field_path),
            said.reason.clone(),
            said.message.clone(),
        ]
        .join("\u{0}");
        if let Some(event) = self.seen.get_mut(&identity) {
            event.count = Some(event.count.unwrap_or(1).saturating_add(1));
            event.last_timestamp = Some(Time(crate::clock::whole_seconds(now)));
            let namespace = text(&event.metadata.namespace);
            let name = text(&event.metadata.name);
            return EventWrite::Repeat { event: Box::new(event.clone()), namespace, name };
        }
        if self.seen.len() >= REMEMBERED_EVENTS_MAX {
            self.seen.clear();
        }
        let event = self.create(said, now);
        self.seen.insert(identity, event.clone());
        EventWrite::Create(Box::new(event))
    }

    fn create(&mut self, said: &Said, now: Timestamp) -> Event {
        self.serial += 1;
        let namespace = said.about.namespace.clone().filter(|n| !n.is_empty());
        let name = said.about.name.clone().unwrap_or_default();
        let unique = u64::try_from(now.as_nanosecond()).unwrap_or(0).wrapping_add(self.serial);
        let time = Some(Time(crate::clock::whole_seconds(now)));
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{unique:016x}")),
                namespace: Some(namespace.unwrap_or_else(|| crate::wellknown::NAMESPACE_DEFAULT.to_owned())),
                ..ObjectMeta::default()
            },
            involved_object: said.about.clone(),
            type_: Some(said.kind.as_str().to_owned()),
            reason: Some(said.reason.clone()),
            message: Some(said.message.clone()),
            source: Some(EventSource { component: Some(self.component.clone()), host: self.host.clone() }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.host.clone().unwrap_or_default()),
            first_timestamp: time.clone(),
            last_timestamp: time,
            count: Some(1),
            ..Event::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> Said {
        let about = ObjectReference {
            kind: Some("Pod".into()),
            namespace: Some("default".into()),
            name: Some("p".into()),
            ..ObjectReference::default()
        };
        Said { about, kind: Kind::Normal, reason: "Started".into(), message: message.into() }
    }

    #[test]
    fn saying_the_same_twice_counts() {
        let mut log = EventLog::new("kubelet", None);
        let now = Timestamp::UNIX_EPOCH;
        assert!(matches!(log.record(&said("a"), now), EventWrite::Create(_)));
        assert!(matches!(log.record(&said("b"), now), EventWrite::Create(_)));
        let EventWrite::Repeat { event, .. } = log.record(&said("a"), now) else { panic!("folded") };
        assert_eq!(event.count, Some(2));
    }
}
