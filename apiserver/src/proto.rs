//! Objects in Protocol Buffers, which Go clients send by default: decoded into the JSON that everything else works on.
//!
//! It only reads: answers are JSON, which every client accepts beside it. It knows field numbers, not kinds; what it
//! does not know it skips, as the encoding intends.

mod wire;

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use wire::{Data, Field};

/// The media type.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every encoded object begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Messages may nest this deep; Kubernetes' own stay below a third of it.
const DEPTH_MAX: usize = 64;

/// Why bytes are no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtoError {
    /// They do not begin as they should.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// They end early, or hold what no field can hold.
    #[error("unexpected EOF")]
    Malformed,
    /// They nest too deep.
    #[error("the message nests too deep")]
    TooDeep,
    /// Nothing is known about the kind.
    #[error("no message of kind {0:?} is known")]
    UnknownKind(String),
}

/// Decodes an object with its envelope. `message` names what it is, as `core/v1.Pod`, unless the envelope does.
pub(crate) fn decode(bytes: &[u8], api_version: &str, kind: &str) -> Result<Value, ProtoError> {
    let envelope = bytes.strip_prefix(MAGIC).ok_or(ProtoError::Magic)?;
    let (mut stated, mut raw) = ((String::new(), String::new()), &[][..]);
    for field in wire::fields(envelope) {
        match field? {
            Field { number: 1, data: Data::Bytes(types) } => stated = type_meta(types)?,
            Field { number: 2, data: Data::Bytes(object) } => raw = object,
            _ => {}
        }
    }
    if stated.0.is_empty() {
        api_version.clone_into(&mut stated.0);
    }
    if stated.1.is_empty() {
        kind.clone_into(&mut stated.1);
    }
    let message = MESSAGES.get(message_name(&stated.0, &stated.1).as_str());
    let message = message.ok_or_else(|| ProtoError::UnknownKind(stated.1.clone()))?;
    let mut object = Map::new();
    read_message(message, raw, &mut object, 0)?;
    object.insert("apiVersion".to_owned(), stated.0.into());
    object.insert("kind".to_owned(), stated.1.into());
    Ok(Value::Object(object))
}

fn type_meta(bytes: &[u8]) -> Result<(String, String), ProtoError> {
    let mut stated = (String::new(), String::new());
    for field in wire::fields(bytes) {
        match field? {
            Field { number: 1, data: Data::Bytes(text) } => stated.0 = utf8(text)?,
            Field { number: 2, data: Data::Bytes(text) } => stated.1 = utf8(text)?,
            _ => {}
        }
    }
    Ok(stated)
}

/// `apps/v1` and `Deployment` are `apps/v1.Deployment`; groups are named by their first part.
fn message_name(api_version: &str, kind: &str) -> String {
    if kind == "DeleteOptions" {
        return "meta/v1.DeleteOptions".to_owned();
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let group = group.split('.').next().unwrap_or(group);
    format!("{group}/{version}.{kind}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalar {
    Text,
    Bytes,
    Int,
    Bool,
    Double,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    Raw,
    Message(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    One(Scalar),
    /// Go sends it always; zero and an empty text mean that it is absent.
    OneUnlessZero(Scalar),
    List(Scalar),
    Map(Scalar),
    Inlined(&'static str),
}

type Message = HashMap<u32, (&'static str, Shape)>;

static MESSAGES: LazyLock<HashMap<&'static str, Message>> = LazyLock::new(|| {
    let lines = include_str!("proto/messages.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(": ")).map(|(name, fields)| (name, message(fields))).collect()
});

fn message(fields: &'static str) -> Message {
    let field = |text: &'static str| {
        let mut parts = text.split(' ');
        let (number, name, shape) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?);
        let shape = match (name, shape.strip_prefix('['), shape.strip_prefix('{')) {
            ("*", _, _) => Shape::Inlined(shape),
            (_, Some(of), _) => Shape::List(scalar(of)),
            (_, _, Some(of)) => Shape::Map(scalar(of)),
            (_, None, None) => match shape.strip_suffix('~') {
                Some(of) => Shape::OneUnlessZero(scalar(of)),
                None => Shape::One(scalar(shape)),
            },
        };
        Some((number, (name, shape)))
    };
    fields.split(", ").filter_map(field).collect()
}

fn scalar(text: &'static str) -> Scalar {
    match text {
        "string" => Scalar::Text,
        "bytes" => Scalar::Bytes,
        "int" => Scalar::Int,
        "bool" => Scalar::Bool,
        "double" => Scalar::Double,
        "time" => Scalar::Time,
        "microtime" => Scalar::MicroTime,
        "quantity" => Scalar::Quantity,
        "intstr" => Scalar::IntOrString,
        "raw" | "rawext" => Scalar::Raw,
        message => Scalar::Message(message),
    }
}

fn read_message(
    message: &Message,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtoError> {
    if depth > DEPTH_MAX {
        return Err(ProtoError::TooDeep);
    }
    for field in wire::fields(bytes) {
        let Field { number, data } = field?;
        let Some((name, shape)) = message.get(&number) else { continue };
        match shape {
            Shape::Inlined(inner) => {
                if let (Some(inner), Data::Bytes(bytes)) = (MESSAGES.get(inner), data) {
                    read_message(inner, bytes, object, depth + 1)?;
                }
            }
            Shape::One(scalar) => {
                let value = read(*scalar, data, depth)?;
                if !value.is_null() {
                    object.insert((*name).to_owned(), value);
                }
            }
            Shape::OneUnlessZero(scalar) => {
                let value = read(*scalar, data, depth)?;
                if !is_zero(&value) {
                    object.insert((*name).to_owned(), value);
                }
            }
            Shape::List(scalar) => {
                let list = object.entry(*name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    read_element(*scalar, data, list, depth)?;
                }
            }
            Shape::Map(scalar) => {
                let Data::Bytes(entry) = data else { return Err(ProtoError::Malformed) };
                let map = object.entry(*name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = map {
                    read_entry(*scalar, entry, map, depth)?;
                }
            }
        }
    }
    Ok(())
}

fn is_zero(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || value.as_str() == Some("") || value.as_i64() == Some(0)
}

/// One element, or several packed numbers.
fn read_element(scalar: Scalar, data: Data<'_>, list: &mut Vec<Value>, depth: usize) -> Result<(), ProtoError> {
    match (scalar, data) {
        (Scalar::Int, Data::Bytes(packed)) => {
            for number in wire::packed(packed) {
                list.push(number?.cast_signed().into());
            }
        }
        (scalar, data) => list.push(read(scalar, data, depth)?),
    }
    Ok(())
}

fn read_entry(scalar: Scalar, entry: &[u8], map: &mut Map<String, Value>, depth: usize) -> Result<(), ProtoError> {
    let (mut key, mut value) = (String::new(), None);
    for field in wire::fields(entry) {
        match field? {
            Field { number: 1, data: Data::Bytes(text) } => key = utf8(text)?,
            Field { number: 2, data } => value = Some(read(scalar, data, depth)?),
            _ => {}
        }
    }
    map.insert(key, value.unwrap_or_else(|| Value::String(String::new())));
    Ok(())
}

fn read(scalar: Scalar, data: Data<'_>, depth: usize) -> Result<Value, ProtoError> {
    match (scalar, data) {
        (Scalar::Int, Data::Number(number)) => Ok(number.cast_signed().into()),
        (Scalar::Bool, Data::Number(number)) => Ok((number != 0).into()),
        (Scalar::Double, Data::Fixed(bits)) => Ok(f64::from_bits(bits).into()),
        (Scalar::Text, Data::Bytes(text)) => utf8(text).map(Value::String),
        (Scalar::Bytes, Data::Bytes(bytes)) => Ok(STANDARD.encode(bytes).into()),
        (Scalar::Time, Data::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%SZ"),
        (Scalar::MicroTime, Data::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%S.%6fZ"),
        (Scalar::Quantity, Data::Bytes(bytes)) => match numbered(bytes, 1)? {
            Some(Data::Bytes(text)) => utf8(text).map(Value::String),
            _ => Ok(Value::String("0".to_owned())),
        },
        (Scalar::IntOrString, Data::Bytes(bytes)) => int_or_string(bytes),
        (Scalar::Raw, Data::Bytes(bytes)) => match numbered(bytes, 1)? {
            Some(Data::Bytes(json)) => serde_json::from_slice(json).map_err(|_| ProtoError::Malformed),
            _ => Ok(Value::Null),
        },
        (Scalar::Message(name), Data::Bytes(bytes)) => {
            let mut object = Map::new();
            if let Some(message) = MESSAGES.get(name) {
                read_message(message, bytes, &mut object, depth + 1)?;
            }
            Ok(Value::Object(object))
        }
        _ => Err(ProtoError::Malformed),
    }
}

fn int_or_string(bytes: &[u8]) -> Result<Value, ProtoError> {
    match (numbered(bytes, 1)?, numbered(bytes, 2)?, numbered(bytes, 3)?) {
        (Some(Data::Number(1)), _, Some(Data::Bytes(text))) => utf8(text).map(Value::String),
        (_, Some(Data::Number(number)), _) => Ok(number.cast_signed().into()),
        _ => Ok(0.into()),
    }
}

/// Seconds and nanoseconds. A time that was never set is sent as an empty message.
fn time(bytes: &[u8], format: &str) -> Result<Value, ProtoError> {
    let Some(Data::Number(seconds)) = numbered(bytes, 1)? else { return Ok(Value::Null) };
    let nanos = match numbered(bytes, 2)? {
        Some(Data::Number(nanos)) => i32::try_from(nanos).map_err(|_| ProtoError::Malformed)?,
        _ => 0,
    };
    let at = Timestamp::new(seconds.cast_signed(), nanos).map_err(|_| ProtoError::Malformed)?;
    Ok(at.strftime(format).to_string().into())
}

/// The last field of this number, if any.
fn numbered(bytes: &[u8], number: u32) -> Result<Option<Data<'_>>, ProtoError> {
    let mut found = None;
    for field in wire::fields(bytes) {
        let field = field?;
        if field.number == number {
            found = Some(field.data);
        }
    }
    Ok(found)
}

fn utf8(bytes: &[u8]) -> Result<String, ProtoError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| ProtoError::Malformed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_config_map_as_kubectl_sends_it_is_read() {
        let sent = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x1b\x0a\x11\x0a\x01a\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x06\x0a\x01x\x12\x01y\x1a\x00\"\x00";
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a"}, "data": {"x": "y"}});
        assert_eq!(decode(sent, "v1", "ConfigMap"), Ok(expected));
    }

    #[test]
    fn every_message_that_is_named_is_known() {
        for (name, fields) in MESSAGES.iter() {
            for (_, shape) in fields.values() {
                let inner = match shape {
                    Shape::One(s) | Shape::OneUnlessZero(s) | Shape::List(s) | Shape::Map(s) => match s {
                        Scalar::Message(inner) => inner,
                        _ => continue,
                    },
                    Shape::Inlined(inner) => inner,
                };
                assert!(MESSAGES.contains_key(inner), "{name} names {inner}");
            }
        }
    }

    #[test]
    fn every_kind_that_is_served_is_read() {
        for row in crate::registry::Registry::builtin().rows().iter().filter(|row| row.verbs.contains(&"create")) {
            let name = message_name(&row.api_version(), row.kind);
            assert!(MESSAGES.contains_key(name.as_str()), "there is no message {name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_fail_otherwise_than_by_an_error(bytes: Vec<u8>) {
            let sent = [MAGIC, &[0x12, u8::try_from(bytes.len() % 128).unwrap()], &bytes[..bytes.len() % 128]].concat();
            let _ = decode(&sent, "v1", "Pod");
        }
    }
}
