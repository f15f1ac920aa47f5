//! A set of fields, as `fieldsV1` writes it, with the algebra of sets.
//!
//! It is kept in the form in which it is stored, so that reading and writing it costs nothing: a map from path elements
//! to maps of what is below them. A leaf is a member of the set; an inner field is one if it holds `.`.
//! Invariant: every value is a map, no leaf stands for nothing, and elements are in their canonical form.

use serde_json::{Map, Value};

use super::element;

/// Marks an inner field as a member.
const SELF: &str = ".";

type Below = Map<String, Value>;

/// A set of fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FieldSet(Below);

/// One field with what is below it, while a set is made.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Whether it is a member itself.
    pub(super) member: bool,
    below: Below,
}

impl Node {
    /// A member with nothing below.
    pub(super) fn leaf() -> Self {
        Self { member: true, below: Below::new() }
    }

    /// Whether it holds no member at all.
    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// Takes in what is below an element.
    pub(super) fn put(&mut self, element: String, node: Self) {
        if let Some(value) = node.value() {
            self.below.insert(element, value);
        }
    }

    /// Takes in what is below a field.
    pub(super) fn put_field(&mut self, name: &str, node: Self) {
        if !node.is_empty() {
            self.put(element::field(name), node);
        }
    }

    /// The members below.
    pub(super) fn set(self) -> FieldSet {
        FieldSet(self.below)
    }

    fn value(mut self) -> Option<Value> {
        if self.member && !self.below.is_empty() {
            self.below.insert(SELF.to_owned(), Value::Object(Map::new()));
        }
        (self.member || !self.below.is_empty()).then_some(Value::Object(self.below))
    }
}

impl FieldSet {
    /// Reads what was stored: it was canonical when it was written.
    pub(crate) fn stored(fields: Value) -> Self {
        match fields {
            Value::Object(below) => Self(below),
            _ => Self::default(),
        }
    }

    /// Reads what a client wrote.
    ///
    /// # Errors
    /// Why it is no set of fields.
    pub(crate) fn read(fields: Value) -> Result<Self, String> {
        match fields {
            Value::Null => Ok(Self::default()),
            Value::Object(below) => {
                let mut below = canonical(below)?;
                below.remove(SELF);
                Ok(Self(below))
            }
            other => Err(format!("not a map of fields: {other}")),
        }
    }

    /// As it is stored.
    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// Whether nothing is a member.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set of one field.
    pub(crate) fn of_path(path: &[&str]) -> Self {
        let mut node = Node::leaf();
        for name in path.iter().rev() {
            let mut above = Node::default();
            above.put_field(name, node);
            node = above;
        }
        node.set()
    }

    /// Whether the field at the end of the path is a member.
    pub(crate) fn has_path(&self, path: &[&str]) -> bool {
        let mut below = &self.0;
        let mut path = path.iter().peekable();
        while let Some(name) = path.next() {
            match below.get(&element::field(name)) {
                Some(node) if path.peek().is_none() => return is_member(node),
                Some(Value::Object(inner)) => below = inner,
                _ => return false,
            }
        }
        false
    }

    /// Adds the members of another set.
    pub(crate) fn add(&mut self, other: Self) {
        add(&mut self.0, other.0);
    }

    /// Takes away the members of another set; what is below them stays.
    pub(crate) fn subtract(&mut self, other: &Self) {
        subtract(&mut self.0, &other.0);
    }

    /// The members that both have.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        Self(intersection(&self.0, &other.0))
    }

    /// Keeps what is at or below the paths alone; `*` stands for any element.
    pub(crate) fn keep_below(&mut self, paths: &[&[&str]]) {
        keep_below(&mut self.0, paths);
    }

    /// The whole of it.
    pub(super) fn whole(&self) -> Part<'_> {
        Part(&self.0)
    }

    /// The elements at the top.
    pub(super) fn into_elements(self) -> impl Iterator<Item = (String, bool, Self)> {
        elements(self.0)
    }

    /// Every member's path, in upstream's order: those of a level before those below it.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        collect(&self.0, "", &mut paths);
        paths
    }
}

/// A part of a set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a>(&'a Below);

impl<'a> Part<'a> {
    /// Whether the element is a member.
    pub(super) fn has(self, element: &str) -> bool {
        self.0.get(element).is_some_and(is_member)
    }

    /// The members below the element; nothing if there are none.
    pub(super) fn below(self, element: &str) -> Option<Part<'a>> {
        let below = self.0.get(element)?.as_object()?;
        below.keys().any(|key| key != SELF).then_some(Part(below))
    }
}

fn is_member(node: &Value) -> bool {
    node.as_object().is_none_or(|below| below.is_empty() || below.contains_key(SELF))
}

/// The elements of a level, whether each is a member, and what is below it.
fn elements(below: Below) -> impl Iterator<Item = (String, bool, FieldSet)> {
    below.into_iter().filter(|(key, _)| key != SELF).map(|(element, node)| {
        let member = is_member(&node);
        let mut set = FieldSet::stored(node);
        set.0.remove(SELF);
        (element, member, set)
    })
}

/// A node out of its parts again; nothing if nothing of it is left.
fn node(member: bool, below: Below) -> Option<Value> {
    Node { member, below }.value()
}

fn add(into: &mut Below, other: Below) {
    for (element, theirs) in other {
        match into.get_mut(&element) {
            Some(Value::Object(ours)) if element != SELF => {
                let Value::Object(mut theirs) = theirs else { continue };
                let member =
                    ours.is_empty() || theirs.is_empty() || theirs.contains_key(SELF) || ours.contains_key(SELF);
                theirs.remove(SELF);
                add(ours, theirs);
                if member && ours.keys().any(|key| key != SELF) {
                    ours.insert(SELF.to_owned(), Value::Object(Map::new()));
                }
            }
            Some(_) => {}
            None => {
                into.insert(element, theirs);
            }
        }
    }
}

fn subtract(from: &mut Below, other: &Below) {
    if from.is_empty() {
        return;
    }
    for (element, theirs) in other.iter().filter(|(element, _)| *element != SELF) {
        let Some(Value::Object(ours)) = from.get_mut(element) else { continue };
        let member = (ours.is_empty() || ours.contains_key(SELF)) && !is_member(theirs);
        ours.remove(SELF);
        if let Value::Object(theirs) = theirs {
            subtract(ours, theirs);
        }
        let left = node(member, std::mem::take(ours));
        replace(from, element, left);
    }
}

fn replace(below: &mut Below, element: &str, left: Option<Value>) {
    match left {
        Some(left) => {
            if let Some(place) = below.get_mut(element) {
                *place = left;
            }
        }
        None => {
            below.remove(element);
        }
    }
}

fn intersection(a: &Below, b: &Below) -> Below {
    let both = a.iter().filter(|(element, _)| *element != SELF);
    both.filter_map(|(element, ours)| {
        let theirs = b.get(element)?;
        let member = is_member(ours) && is_member(theirs);
        let below = match (ours, theirs) {
            (Value::Object(ours), Value::Object(theirs)) => intersection(ours, theirs),
            _ => Below::new(),
        };
        Some((element.clone(), node(member, below)?))
    })
    .collect()
}

fn keep_below(below: &mut Below, paths: &[&[&str]]) {
    let old = std::mem::take(below);
    for (element, member, mut set) in elements(old) {
        let name = element::field_of(&element).unwrap_or("");
        let rest: Vec<&[&str]> = paths
            .iter()
            .filter_map(|path| path.split_first())
            .filter(|(first, _)| **first == "*" || **first == name)
            .map(|(_, rest)| rest)
            .collect();
        if rest.is_empty() {
            continue;
        }
        if !rest.iter().any(|path| path.is_empty()) {
            keep_below(&mut set.0, &rest);
        }
        if let Some(kept) = node(member, set.0) {
            below.insert(element, kept);
        }
    }
}

fn canonical(below: Below) -> Result<Below, String> {
    let mut clean = Below::new();
    for (key, node) in below {
        let node = match node {
            Value::Null => Below::new(),
            Value::Object(node) => canonical(node)?,
            other => return Err(format!("not a map of fields: {other}")),
        };
        if key == SELF {
            clean.insert(key, Value::Object(Map::new()));
        } else if let Some(element) = element::canonical(&key)? {
            clean.insert(element, Value::Object(node));
        }
    }
    if clean.len() == 1 {
        clean.remove(SELF);
    }
    Ok(clean)
}

fn collect(below: &Below, path: &str, paths: &mut Vec<String>) {
    let mut sorted: Vec<(&String, &Value)> = below.iter().filter(|(key, _)| *key != SELF).collect();
    sorted.sort_by(|(a, _), (b, _)| element::order(a, b));
    let full = |element: &str| format!("{path}{}", element::shown(element));
    paths.extend(sorted.iter().filter(|(_, node)| is_member(node)).map(|(element, _)| full(element)));
    for (element, node) in sorted {
        if let Value::Object(node) = node {
            collect(node, &full(element), paths);
        }
    }
}
