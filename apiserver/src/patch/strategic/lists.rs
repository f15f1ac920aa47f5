//! Lists of a strategic patch: what their elements are, and in which order merged ones stand.
//!
//! Elements that the patch speaks of stand in its order, the others in theirs; where both orders leave it open,
//! those of the patch come first. Nothing here takes more than linear time but for sorting: lists may be long.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{PATCH, directive, printed, unknown};
use crate::patch::PatchError;

/// What the elements of lists are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elements {
    Objects,
    Scalars,
}

/// What the elements of two lists that shall merge are: all the same, and no lists.
pub(super) fn elements(old: &[Value], new: &[Value]) -> Result<Elements, PatchError> {
    let mut found = None;
    for element in old.iter().chain(new) {
        let kind = printed::kind(element);
        if element.is_array() {
            return Err(PatchError::Unfit("lists of lists are not supported".to_owned()));
        }
        if *found.get_or_insert(kind) != kind {
            let shown = format!("[{} {}]", printed::list(old), printed::list(new));
            return directive(format!("list element types are not identical: {shown}"));
        }
    }
    Ok(if found == Some("object") { Elements::Objects } else { Elements::Scalars })
}

/// What tells an element apart: the value of its merge key, or itself.
pub(super) fn identity(element: &Value, key: Option<&str>) -> Value {
    match key {
        Some(key) => element.get(key).cloned().unwrap_or_default(),
        None => element.clone(),
    }
}

/// The value of an element's merge key.
pub(super) fn merge_key<'a>(element: &'a Map<String, Value>, key: &str) -> Result<&'a Value, PatchError> {
    match element.get(key) {
        Some(value) => Ok(value),
        None => {
            let shown = printed::map(element);
            directive(format!("map: {shown} does not contain declared merge key: {key}"))
        }
    }
}

/// What a patch says about a list whose elements merge by key.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The elements that are no directive.
    pub(super) elements: Vec<Map<String, Value>>,
    /// The keys of elements that shall go.
    pub(super) deleted: HashSet<Value>,
    /// Whether the elements shall be the whole list.
    pub(super) replaces: bool,
}

/// Reads the elements of a patch's list.
pub(super) fn sent(new: Vec<Value>, key: &str) -> Result<Sent, PatchError> {
    let mut sent = Sent::default();
    for element in new {
        let Value::Object(element) = element else { continue };
        match element.get(PATCH).map(|what| (what, what.as_str())) {
            None => sent.elements.push(element),
            Some((_, Some("replace"))) => sent.replaces = true,
            Some((_, Some("delete"))) => {
                sent.deleted.insert(merge_key(&element, key)?.clone());
            }
            Some((_, Some("merge"))) => return directive("merging lists cannot yet be specified in the patch"),
            Some((what, _)) => return unknown(what, &element),
        }
    }
    Ok(sent)
}

/// The scalars of both lists, each once.
pub(super) fn union(old: Vec<Value>, new: Vec<Value>) -> Vec<Value> {
    let (was, order) = (old.clone(), new.clone());
    let mut seen = HashSet::new();
    let merged = old.into_iter().chain(new).filter(|value| seen.insert(value.clone())).collect();
    arrange(merged, &order, &was, None)
}

/// Takes scalars out of a list; null takes the list away.
pub(super) fn take_out(target: &mut Map<String, Value>, field: &str, values: &Value) {
    match (target.get_mut(field), values) {
        (Some(_), Value::Null) => drop(target.remove(field)),
        (Some(Value::Array(list)), Value::Array(values)) => {
            let values: HashSet<&Value> = values.iter().collect();
            list.retain(|value| !values.contains(value));
        }
        _ => {}
    }
}

/// Where each of these stands first.
fn places(list: &[Value]) -> HashMap<&Value, usize> {
    let mut places = HashMap::with_capacity(list.len());
    for (at, value) in list.iter().enumerate() {
        places.entry(value).or_insert(at);
    }
    places
}

/// Puts elements in order: those named in `order` as it says, the others as they stood in `was`.
pub(super) fn arrange(elements: Vec<Value>, order: &[Value], was: &[Value], key: Option<&str>) -> Vec<Value> {
    let (order, was) = (places(order), places(was));
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for element in elements {
        let own = identity(&element, key);
        let before = was.get(&own).copied();
        match order.get(&own) {
            Some(at) => named.push((*at, before, element)),
            None => others.push((before, element)),
        }
    }
    named.sort_by_key(|(at, ..)| *at);
    others.sort_by_key(|(before, _)| before.unwrap_or(usize::MAX));
    let mut arranged = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, before, element) in named {
        let goes_first = |(other, _): &(Option<usize>, Value)| matches!((other, before), (Some(o), Some(b)) if *o < b);
        while let Some((_, other)) = others.next_if(goes_first) {
            arranged.push(other);
        }
        arranged.push(element);
    }
    arranged.extend(others.map(|(_, other)| other));
    arranged
}

/// Whether what the patch has in its list stands in the order that it asks for.
pub(super) fn check_order(new: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if new.is_empty() || order.is_empty() {
        return Ok(());
    }
    let is_directive = |value: &&Value| value.get(PATCH).is_some();
    let mut rest = order.iter();
    for value in new.iter().filter(|v| !is_directive(v)) {
        if let (Some(key), Value::Object(element)) = (key, value) {
            merge_key(element, key)?;
        }
        let own = identity(value, key);
        if !rest.any(|o| identity(o, key) == own) {
            let (sent, asked) = (printed::list(new), printed::list(order));
            let what = format!("{sent}\n doesn't match $setElementOrder list:\n{asked}\n");
            return directive(format!("The order in patch list:\n{what}"));
        }
    }
    Ok(())
}
