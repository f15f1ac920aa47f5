//! What a plugin is told about a request: the kind, what is done, and what else is stored.

use coracle_api::failure::Failure;
use serde_json::Value;

use super::Part;
use crate::answer::{Refused, refused};
use crate::machine::Machine;
use crate::object::text;
use crate::registry::Row;
use crate::store::{Entry, Key, Prefix};

/// A request, as plugins see it.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    /// The machinery.
    pub(crate) machine: &'a Machine,
    /// The kind.
    pub(crate) row: &'a Row,
    /// What is done.
    pub(crate) operation: Operation<'a>,
}

/// What is done to an object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation<'a> {
    /// It is made.
    Create,
    /// It is changed, in this part.
    Update {
        /// As it was.
        old: &'a Value,
        /// What may change.
        part: Part,
    },
    /// It is deleted.
    Delete,
}

impl Attributes<'_> {
    /// Whether the request is about this resource itself, and not about one of its subresources.
    pub(crate) fn is_of(&self, group: &str, plural: &str) -> bool {
        let whole = !matches!(self.operation, Operation::Update { part: Part::Status | Part::Below(_), .. });
        whole && (self.row.group, self.row.plural) == (group, plural)
    }

    /// Whether an object is made.
    pub(crate) fn creates(&self) -> bool {
        matches!(self.operation, Operation::Create)
    }

    /// A stored object.
    pub(crate) fn stored(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.machine.store.get(&Key::new(group, plural, namespace, name)).map(|entry| entry.value())
    }

    /// The stored objects of a resource, in every namespace, whose JSON holds this text: the others are not parsed.
    pub(crate) fn stored_holding(&self, group: &str, plural: &str, text: &str) -> impl Iterator<Item = Value> {
        let entries = self.machine.store.list(&Prefix::resource(group, plural)).entries;
        let holds = move |entry: &Entry| std::str::from_utf8(entry.bytes()).is_ok_and(|json| json.contains(text));
        entries.into_iter().filter(move |entry| holds(entry)).map(|entry| entry.value())
    }

    /// A refusal of the object, in the words of a plugin.
    pub(crate) fn forbidden(&self, object: &Value, why: impl Into<String>) -> Refused {
        self.forbidden_by_name(text(object, "name"), why)
    }

    /// The same where only the name is known.
    pub(crate) fn forbidden_by_name(&self, name: &str, why: impl Into<String>) -> Refused {
        Failure::Forbidden { about: refused::about(self.row, name), why: why.into() }.into()
    }
}
