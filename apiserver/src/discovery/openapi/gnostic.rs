//! The document of version 2 in Protocol Buffers, the form in which Go clients ask for it.
//!
//! It knows field numbers (`messages.txt`), not what they mean; what has no number is left out.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

/// What a field holds.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Text,
    Bool,
    /// Any value, written as YAML, of which JSON is a part.
    Any,
    /// A parameter, whose message depends on where it stands.
    Parameter,
    /// A parameter, or a reference to one.
    Item,
    Message(&'static str),
    List(Box<Shape>),
    /// A message around, which holds it as a field of this number.
    Inside(u32, Box<Shape>),
    /// A message around, with named entries as fields of this number.
    Entries(u32, Box<Shape>),
}

type Message = Vec<(u32, &'static str, Shape)>;

static MESSAGES: LazyLock<HashMap<&'static str, Message>> = LazyLock::new(|| {
    let lines = include_str!("messages.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(": ")).map(|(name, fields)| (name, message(fields))).collect()
});

fn message(fields: &'static str) -> Message {
    let field = |text: &'static str| {
        let mut parts = text.split(' ');
        Some((parts.next()?.parse().ok()?, parts.next()?, shape(parts.next()?)))
    };
    fields.split(", ").filter_map(field).collect()
}

fn shape(text: &'static str) -> Shape {
    if let Some(of) = text.strip_prefix('[') {
        return Shape::List(Box::new(shape(of)));
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = text.split_at(digits);
    match (number.parse(), rest.strip_prefix('/'), rest.strip_prefix('{')) {
        (Ok(number), Some(of), _) => Shape::Inside(number, Box::new(shape(of))),
        (Ok(number), _, Some(of)) => Shape::Entries(number, Box::new(shape(of))),
        _ => match text {
            "string" => Shape::Text,
            "bool" => Shape::Bool,
            "any" => Shape::Any,
            "parameter" => Shape::Parameter,
            "item" => Shape::Item,
            message => Shape::Message(message),
        },
    }
}

/// Encodes a document.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write_message(&mut out, "Document", document);
    out
}

fn write_message(out: &mut Vec<u8>, name: &str, value: &Value) {
    let Some(object) = value.as_object() else { return };
    for (number, field, shape) in MESSAGES.get(name).into_iter().flatten() {
        if *field == "x-*" {
            for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
                inside(out, *number, |out| entry(out, name, shape, value));
            }
        } else if let Some(value) = object.get(*field) {
            write(out, *number, shape, value);
        }
    }
}

/// Writes a field. Inside of `Inside` and `Entries` the order is that of the messages around: outermost first.
fn write(out: &mut Vec<u8>, number: u32, shape: &Shape, value: &Value) {
    match shape {
        Shape::Text => text(out, number, value.as_str().unwrap_or_default()),
        Shape::Bool => {
            varint(out, u64::from(number) << 3);
            varint(out, value.as_bool().unwrap_or_default().into());
        }
        Shape::Any => inside(out, number, |out| text(out, 2, &value.to_string())),
        Shape::Parameter => inside(out, number, |out| parameter(out, value)),
        Shape::Item if value.get("$ref").is_some() => {
            inside(out, number, |out| inside(out, 2, |out| write_message(out, "Reference", value)));
        }
        Shape::Item => inside(out, number, |out| inside(out, 1, |out| parameter(out, value))),
        Shape::Message(name) => inside(out, number, |out| write_message(out, name, value)),
        Shape::List(of) => match value {
            Value::Array(items) => items.iter().for_each(|item| write(out, number, of, item)),
            single => write(out, number, of, single),
        },
        Shape::Inside(inner, of) => inside(out, number, |out| write(out, *inner, of, value)),
        Shape::Entries(inner, of) => inside(out, number, |out| {
            for (name, value) in value.as_object().into_iter().flatten() {
                inside(out, *inner, |out| entry(out, name, of, value));
            }
        }),
    }
}

/// A name and what it names.
fn entry(out: &mut Vec<u8>, name: &str, shape: &Shape, value: &Value) {
    text(out, 1, name);
    write(out, 2, shape, value);
}

/// The alternatives of a parameter: in the body, or else in the query or the path.
fn parameter(out: &mut Vec<u8>, value: &Value) {
    match value.get("in").and_then(Value::as_str) {
        Some("body") => inside(out, 1, |out| write_message(out, "Body", value)),
        Some("path") => {
            inside(out, 2, |out| inside(out, 4, |out| write_message(out, "PathParameter", value)));
        }
        _ => inside(out, 2, |out| inside(out, 3, |out| write_message(out, "QueryParameter", value))),
    }
}

/// Writes a message: its length stands before it, so it is written aside first.
fn inside(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    bytes(out, number, &inner);
}

fn text(out: &mut Vec<u8>, number: u32, text: &str) {
    bytes(out, number, text.as_bytes());
}

fn bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    varint(out, u64::from(number) << 3 | 2);
    varint(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(document: &Value, expected: &[u8]) {
        assert_eq!(encode(document), expected, "{document}");
    }

    #[test]
    fn messages_nest_as_gnostic_numbers_them() {
        check(&json!({"swagger": "2.0"}), b"\x0a\x032.0");
        check(&json!({"info": {"title": "K"}}), b"\x12\x03\x0a\x01K");
        let definitions = json!({"definitions": {"A": {"type": "object"}}});
        check(&definitions, b"\x4a\x12\x0a\x10\x0a\x01A\x12\x0b\xb2\x01\x08\x0a\x06object");
        check(&json!({"security": [{"B": []}]}), b"\x62\x07\x0a\x05\x0a\x01B\x12\x00");
    }

    #[test]
    fn every_message_that_is_named_is_there() {
        fn named<'a>(shape: &'a Shape, into: &mut Vec<&'a str>) {
            match shape {
                Shape::Message(name) => into.push(name),
                Shape::List(of) | Shape::Inside(_, of) | Shape::Entries(_, of) => named(of, into),
                Shape::Text | Shape::Bool | Shape::Any | Shape::Parameter | Shape::Item => {}
            }
        }
        let mut names = vec!["Body", "PathParameter", "QueryParameter", "Reference"];
        MESSAGES.values().flatten().for_each(|(_, _, shape)| named(shape, &mut names));
        for name in names {
            assert!(MESSAGES.contains_key(name), "no message {name}");
        }
    }

    #[test]
    fn long_numbers_take_more_bytes() {
        let mut out = Vec::new();
        varint(&mut out, 300);
        assert_eq!(out, [0xac, 0x02]);
    }
}
