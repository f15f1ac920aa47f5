//! An element of a field path, as `fieldsV1` writes it: `f:name`, `k:{"name":"c"}`, `v:"a"`, `i:3`.
//!
//! Elements are texts in one canonical form, so that two are the same if their texts are.

use std::cmp::Ordering;

use coracle_api::quoted::Quoted;
use serde_json::{Map, Value};

use crate::schema::MapKey;

/// The element of a field.
pub(super) fn field(name: &str) -> String {
    format!("f:{name}")
}

/// The field that an element names, if it names one.
pub(super) fn field_of(element: &str) -> Option<&str> {
    element.strip_prefix("f:")
}

/// The element of an object in a list, told apart by its keys.
///
/// # Errors
/// Why the item has no place in such a list.
pub(super) fn keyed(keys: &[MapKey], item: &Value) -> Result<String, String> {
    let item = match item {
        Value::Object(item) => item,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut text = String::with_capacity(48);
    text.push_str("k:{");
    for key in keys {
        let Some(value) = item.get(&*key.name).or(key.default.as_ref()) else {
            let name = Quoted(&key.name);
            return Err(format!(
                "associative list with keys has an element that omits key field {name} (and doesn't have default value)"
            ));
        };
        if text.len() > 3 {
            text.push(',');
        }
        push_text(&mut text, &key.name);
        text.push(':');
        match value {
            Value::String(value) => push_text(&mut text, value),
            other => text.push_str(&json(other)),
        }
    }
    text.push('}');
    Ok(text)
}

/// The element of a scalar in a set.
///
/// # Errors
/// Why the item has no place in a set.
pub(super) fn scalar(item: &Value) -> Result<String, String> {
    match item {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(format!("v:{}", json(item))),
    }
}

/// An element that a client wrote, in its canonical form; nothing if its kind is not known.
///
/// # Errors
/// Why it is none.
pub(super) fn canonical(text: &str) -> Result<Option<String>, String> {
    let Some((kind, rest)) = text.split_at_checked(2) else {
        return Err("key must be 2 characters long:".to_owned());
    };
    let parse = || serde_json::from_str::<Value>(rest).map_err(|error| error.to_string());
    match kind {
        "f:" => Ok(Some(text.to_owned())),
        "v:" => Ok(Some(format!("v:{}", json(&parse()?)))),
        "k:" => match parse()? {
            Value::Object(keys) => Ok(Some(format!("k:{}", json(&Value::Object(keys))))),
            _ => Err(format!("not a map of keys: {rest}")),
        },
        "i:" => match rest.parse::<i64>() {
            Ok(index) => Ok(Some(format!("i:{index}"))),
            Err(error) => Err(error.to_string()),
        },
        other if other.ends_with(':') => Ok(None),
        _ => Err(format!("missing colon: {text}")),
    }
}

/// Writes a text in quotation marks; most texts need nothing else.
fn push_text(into: &mut String, text: &str) {
    if text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b':')) {
        into.push('"');
        into.push_str(text);
        into.push('"');
    } else {
        into.push_str(&json(&Value::String(text.to_owned())));
    }
}

/// JSON as Go writes it: safe to stand in HTML.
fn json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => safe.push(c),
        }
    }
    safe
}

/// As people are told where a conflict is: `.name`, `[name="c"]`, `[="a"]`, `[3]`.
pub(super) fn shown(element: &str) -> String {
    let Some((kind, rest)) = element.split_at_checked(2) else { return element.to_owned() };
    match kind {
        "f:" => format!(".{rest}"),
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
            format!("[{}]", keys.join(","))
        }
        "v:" => format!("[={}]", plain(&serde_json::from_str(rest).unwrap_or_default())),
        _ => format!("[{rest}]"),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => Quoted(text).to_string(),
        other => other.to_string(),
    }
}

/// The order in which upstream keeps elements: fields, keys, values, indices; each by what it says.
pub(super) fn order(a: &str, b: &str) -> Ordering {
    let rank = |element: &str| match element.get(..2) {
        Some("f:") => 0,
        Some("k:") => 1,
        Some("v:") => 2,
        _ => 3,
    };
    let said = |element: &str| serde_json::from_str::<Value>(element.get(2..).unwrap_or("")).unwrap_or_default();
    rank(a).cmp(&rank(b)).then_with(|| match rank(a) {
        0 => a.cmp(b),
        1 => match (said(a), said(b)) {
            (Value::Object(a), Value::Object(b)) => {
                let both = a.iter().zip(&b).map(|((m, x), (n, y))| m.cmp(n).then_with(|| compare(x, y)));
                both.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
            }
            _ => a.cmp(b),
        },
        _ => compare(&said(a), &said(b)),
    })
}

fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    };
    rank(a).cmp(&rank(b)).then_with(|| match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => a.to_string().cmp(&b.to_string()),
    })
}
