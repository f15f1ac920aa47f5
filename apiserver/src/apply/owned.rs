//! Which fields an object states, and so owns if somebody applied it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Typed;
use super::fields::{FieldSet, Node};
use super::place::{Form, Items, Place, Role};
use super::reset::Depth;

/// The fields that a configuration states, without those that cannot be owned.
pub(super) fn stated(typed: &Typed<'_>, config: &Value) -> FieldSet {
    let walk = Walk { takes: &|depth, name| depth.takes(typed.reset, name) };
    let mut set = walk.node(typed.root, Depth::Root, config).set();
    typed.reset.filter(&mut set);
    set
}

/// The fields that a configuration states, even those that the server keeps: what it names stays.
pub(super) fn named(typed: &Typed<'_>, config: &Value) -> FieldSet {
    let walk = Walk { takes: &|depth, name| depth.writes(typed.reset, name) };
    walk.node(typed.root, Depth::Root, config).set()
}

/// All fields that an object has.
pub(super) fn all(place: Place<'_>, object: &Value) -> FieldSet {
    Walk { takes: &|_, _| true }.node(place, Depth::Root, object).set()
}

struct Walk<'a> {
    takes: &'a dyn Fn(Depth, &str) -> bool,
}

impl Walk<'_> {
    fn node(&self, place: Place<'_>, depth: Depth, value: &Value) -> Node {
        match (place.form(value), value) {
            (Form::Whole, _) => Node::leaf(),
            (Form::Fields, Value::Object(fields)) => self.fields(place, depth, fields),
            (Form::Items(items), Value::Array(list)) => self.items(place, items, list),
            // What is of a wrong type was refused before; null says that there is nothing.
            (Form::Fields | Form::Items(_), _) => Node::default(),
        }
    }

    fn fields(&self, place: Place<'_>, depth: Depth, fields: &Map<String, Value>) -> Node {
        let mut node = Node::default();
        for (name, value) in fields {
            let Some(child) = place.child(name) else { continue };
            if !(self.takes)(depth, name) {
                continue;
            }
            let mut below = self.node(child.place, depth.below(name), value);
            let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
            below.member |= empty || child.role == Role::Entry;
            node.put_field(name, below);
        }
        node
    }

    fn items(&self, place: Place<'_>, items: Items<'_>, list: &[Value]) -> Node {
        let mut by_element: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
        for item in list {
            if let Ok(element) = items.element(item) {
                by_element.entry(element).or_default().push(item);
            }
        }
        let mut node = Node::default();
        for (element, found) in by_element {
            let mut below = match found.as_slice() {
                [item] => self.node(place.item(), Depth::Below, item),
                // What stands there twice is owned as a whole.
                _ => Node::default(),
            };
            below.member = true;
            node.put(element, below);
        }
        node
    }
}
