//! Shapes of objects that are not the objects themselves: items of lists, bare metadata, rows of Tables.
//!
//! Pure. They are written from encoded objects, which are parsed only for a Table's cells. What a cell shows is the
//! kind's own matter.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::accept::{Form, Include, Wanted};
use crate::object::members::{Members, find};
use crate::registry::{Column, Row, TableRow};

/// The name that upstream's own code has for a kind, which it tells when it cannot show one in the shape asked for.
pub(crate) fn type_name(row: &Row, kind: &str) -> String {
    let package = match row.stored_group() {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("*{package}.{kind}")
}

/// Which columns a Table states: in a watch only its first event has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Columns {
    /// All.
    Stated,
    /// None: the client has them already.
    Known,
}

/// What a list begins with, up to its first item; `}` and `]` end it.
pub(crate) fn list_head(row: &Row, wanted: Wanted, meta: &Value) -> String {
    let (kind, version, items) = match wanted.form {
        Form::Object => (row.list_kind(), row.api_version(), "\"items\""),
        Form::Metadata | Form::MetadataList => {
            ("PartialObjectMetadataList".to_owned(), wanted.meta.to_owned(), "\"items\"")
        }
        Form::Table(_) => return table_head(row, wanted, meta, Columns::Stated),
    };
    format!(r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{meta},{items}:["#)
}

fn table_head(row: &Row, wanted: Wanted, meta: &Value, columns: Columns) -> String {
    let definitions = match columns {
        Columns::Known => Value::Null,
        Columns::Stated => row.columns.iter().map(definition).collect(),
    };
    let version = wanted.meta;
    format!(r#"{{"kind":"Table","apiVersion":"{version}","metadata":{meta},"columnDefinitions":{definitions},"rows":["#)
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

/// Writes an object as an item of a list.
pub(crate) fn put_item(into: &mut Vec<u8>, row: &Row, wanted: Wanted, object: &[u8], now: Timestamp) {
    match wanted.form {
        Form::Object => put_bare(into, object),
        Form::Metadata | Form::MetadataList => put_metadata(into, wanted, object),
        Form::Table(include) => put_row(into, row, wanted, include, object, now),
    }
}

/// Writes an object as an answer of its own.
pub(crate) fn put_object(
    into: &mut Vec<u8>,
    row: &Row,
    wanted: Wanted,
    object: &[u8],
    columns: Columns,
    now: Timestamp,
) {
    match wanted.form {
        Form::Object => into.extend_from_slice(object),
        Form::Metadata | Form::MetadataList => put_metadata(into, wanted, object),
        Form::Table(include) => {
            let version = find(object, "metadata.resourceVersion").unwrap_or(b"\"\"");
            let meta = json!({"resourceVersion": serde_json::from_slice::<Value>(version).unwrap_or_default()});
            into.extend_from_slice(table_head(row, wanted, &meta, columns).as_bytes());
            put_row(into, row, wanted, include, object, now);
            into.extend_from_slice(b"]}");
        }
    }
}

/// An object without its `apiVersion` and `kind`, which a list says once and its items do not repeat.
fn put_bare(into: &mut Vec<u8>, object: &[u8]) {
    let mut kept_to = 0;
    for member in Members::of(object) {
        if member.is(b"apiVersion") || member.is(b"kind") {
            into.extend_from_slice(object.get(kept_to..member.start).unwrap_or_default());
            kept_to = member.end;
        }
        // Members are in order: those that come after say no more of this.
        if member.is(b"kind") {
            break;
        }
    }
    into.extend_from_slice(object.get(kept_to..).unwrap_or_default());
}

/// Writes the metadata of an object, as `PartialObjectMetadata`.
fn put_metadata(into: &mut Vec<u8>, wanted: Wanted, object: &[u8]) {
    into.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":""#);
    into.extend_from_slice(wanted.meta.as_bytes());
    into.extend_from_slice(br#"","metadata":"#);
    into.extend_from_slice(find(object, "metadata").unwrap_or(b"{}"));
    into.push(b'}');
}

fn put_row(into: &mut Vec<u8>, row: &Row, wanted: Wanted, include: Include, object: &[u8], now: Timestamp) {
    let TableRow { cells, completed } = row.strategy.table_row(object, now);
    into.extend_from_slice(br#"{"cells":"#);
    into.extend_from_slice(Value::Array(cells).to_string().as_bytes());
    if let Some(completed) = completed {
        let condition = json!({"type": "Completed", "status": "True", "reason": completed.reason,
            "message": completed.message});
        into.extend_from_slice(br#","conditions":["#);
        into.extend_from_slice(condition.to_string().as_bytes());
        into.push(b']');
    }
    into.extend_from_slice(br#","object":"#);
    match include {
        Include::None => into.extend_from_slice(b"null"),
        Include::Metadata => put_metadata(into, wanted, object),
        Include::Object => into.extend_from_slice(object),
    }
    into.push(b'}');
}
