//! What a write changed: the fields that it set, and those that it took away.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Typed;
use super::fields::{FieldSet, Node};
use super::place::{Child, Form, Items, Place};
use super::reset::Depth;
use crate::schema::Zero;

/// The difference between two states of an object.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// Fields that are new or have another value.
    pub(crate) set: FieldSet,
    /// Fields that are gone.
    pub(crate) removed: FieldSet,
}

/// Compares two states of an object; there need not have been an earlier one.
pub(crate) fn compare(typed: &Typed<'_>, old: Option<&Value>, new: &Value) -> Difference {
    let walk = Walk { typed };
    let old = old.map_or(Side::Empty, Side::Is);
    let found = walk.compare(typed.root, Depth::Root, old, Side::Is(new));
    let mut difference = Difference { set: found.set.set(), removed: found.removed.set() };
    typed.reset.filter(&mut difference.set);
    typed.reset.filter(&mut difference.removed);
    difference
}

/// One side of a comparison.
#[derive(Debug, Clone, Copy)]
enum Side<'v> {
    /// There is nothing.
    Absent,
    /// There is an object that was given nothing.
    Empty,
    /// There is this.
    Is(&'v Value),
}

static NULL: Value = Value::Null;

impl<'v> Side<'v> {
    fn fields(self) -> Option<&'v Map<String, Value>> {
        match self {
            Self::Is(value) => value.as_object(),
            Self::Absent | Self::Empty => None,
        }
    }

    fn items(self) -> &'v [Value] {
        match self {
            Self::Is(Value::Array(items)) => items,
            _ => &[],
        }
    }

    fn is_absent(self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether it holds nothing, be it there or not.
    fn is_empty(self) -> bool {
        match self {
            Self::Absent | Self::Empty | Self::Is(Value::Null) => true,
            Self::Is(Value::Object(fields)) => fields.is_empty(),
            Self::Is(Value::Array(items)) => items.is_empty(),
            Self::Is(_) => false,
        }
    }

    /// What stands in a field of it.
    fn field(self, name: &str, zero: Zero) -> Side<'v> {
        let given = self.fields().and_then(|fields| fields.get(name));
        match (given, zero) {
            (Some(value), _) => Side::Is(value),
            (None, _) if self.is_absent() => Side::Absent,
            (None, Zero::Object) => Side::Empty,
            (None, Zero::Null) => Side::Is(&NULL),
            (None, Zero::Nothing) => Side::Absent,
        }
    }
}

/// What was found at a place and below it.
#[derive(Debug, Default)]
struct Found {
    set: Node,
    removed: Node,
}

impl Found {
    fn put(&mut self, element: &str, found: Self) {
        if !found.set.is_empty() {
            self.set.put(element.to_owned(), found.set);
        }
        if !found.removed.is_empty() {
            self.removed.put(element.to_owned(), found.removed);
        }
    }

    fn put_field(&mut self, name: &str, found: Self) {
        self.set.put_field(name, found.set);
        self.removed.put_field(name, found.removed);
    }
}

struct Walk<'t> {
    typed: &'t Typed<'t>,
}

impl<'t> Walk<'t> {
    fn compare(&self, place: Place<'t>, depth: Depth, old: Side<'_>, new: Side<'_>) -> Found {
        let form = |side: Side<'_>| match side {
            Side::Is(value) => place.form(value),
            Side::Absent | Side::Empty => place.form(&NULL),
        };
        let form = match form(old) {
            Form::Whole => form(new),
            parts => parts,
        };
        let mut found = match form {
            Form::Whole => return whole(old, new),
            Form::Fields | Form::Items(_) if old.is_empty() && new.is_empty() => return whole(old, new),
            Form::Fields => self.fields(place, depth, old, new),
            Form::Items(items) => self.items(place, items, old.items(), new.items()),
        };
        found.set.member |= old.is_absent() || kind_changed(old, new);
        found.removed.member |= new.is_absent();
        found
    }

    fn fields(&self, place: Place<'t>, depth: Depth, old: Side<'_>, new: Side<'_>) -> Found {
        let mut found = Found::default();
        let mut visit = |name: &String| {
            let Some(Child { place: child, zero, .. }) = place.child(name) else { return };
            if !depth.takes(self.typed.reset, name) {
                return;
            }
            let (before, after) = (old.field(name, zero), new.field(name, zero));
            found.put_field(name, self.compare(child, depth.below(name), before, after));
        };
        let (before, after) = (old.fields(), new.fields());
        after.into_iter().flat_map(Map::keys).for_each(&mut visit);
        let gone = |name: &&String| after.is_none_or(|fields| !fields.contains_key(*name));
        before.into_iter().flat_map(Map::keys).filter(gone).for_each(&mut visit);
        found
    }

    fn items(&self, place: Place<'t>, items: Items<'t>, old: &[Value], new: &[Value]) -> Found {
        let mut found = Found::default();
        if old == new {
            return found;
        }
        if let ([], [item]) | ([item], []) = (old, new) {
            // Mostly a list has one item, and mostly an object is new.
            let sides = if old.is_empty() { (Side::Absent, Side::Is(item)) } else { (Side::Is(item), Side::Absent) };
            if let Ok(element) = items.element(item) {
                found.put(&element, self.compare(place.item(), Depth::Below, sides.0, sides.1));
            }
            return found;
        }
        let mut by_element: BTreeMap<String, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for item in old {
            if let Ok(element) = items.element(item) {
                by_element.entry(element).or_default().0.push(item);
            }
        }
        for item in new {
            if let Ok(element) = items.element(item) {
                by_element.entry(element).or_default().1.push(item);
            }
        }
        for (element, (old, new)) in &by_element {
            found.put(element, self.item(place.item(), old, new));
        }
        found
    }

    /// Compares what a list holds under one element: mostly one item. What stands there twice is owned as a whole.
    fn item(&self, place: Place<'t>, old: &[&Value], new: &[&Value]) -> Found {
        let one = |old, new| self.compare(place, Depth::Below, old, new);
        match (old, new) {
            ([], []) => Found::default(),
            ([old], [new]) => one(Side::Is(old), Side::Is(new)),
            ([], [new]) => one(Side::Absent, Side::Is(new)),
            ([old], []) => one(Side::Is(old), Side::Absent),
            ([_, _, ..], [_, _, ..]) if old == new => Found::default(),
            ([_, _, ..], [_, _, ..]) => Found { set: Node::leaf(), removed: Node::default() },
            ([_, _, ..], new) => {
                let mut found = new.first().map_or_else(Found::default, |new| one(Side::Absent, Side::Is(new)));
                found.removed.member = true;
                found
            }
            (old, [_, _, ..]) => {
                let mut found = old.first().map_or_else(Found::default, |old| one(Side::Is(old), Side::Absent));
                found.set.member = true;
                found
            }
        }
    }
}

/// Whether a map became a list, or a scalar one of them: only where no schema says what may stand there.
fn kind_changed(old: Side<'_>, new: Side<'_>) -> bool {
    match (old, new) {
        (Side::Is(old), Side::Is(new)) => {
            let kind = |value: &Value| (value.is_object() || value.is_null(), value.is_array() || value.is_null());
            let ((a, b), (c, d)) = (kind(old), kind(new));
            !(a && c || b && d)
        }
        _ => false,
    }
}

/// Compares what has one owner.
fn whole(old: Side<'_>, new: Side<'_>) -> Found {
    let mut found = Found::default();
    match (old, new) {
        (Side::Absent, Side::Absent) => {}
        (Side::Absent, _) => found.set.member = true,
        (_, Side::Absent) => found.removed.member = true,
        (Side::Is(old), Side::Is(new)) => found.set.member = !same(old, new),
        (Side::Empty, side) | (side, Side::Empty) => found.set.member = !side.is_empty(),
    }
    found
}

/// Whether two values are the same; a whole number is so however it is written.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64() && (x.is_f64() || y.is_f64()),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}
