//! Shapes of objects that are not the objects themselves: Tables and bare metadata.
//!
//! Pure. What a cell shows is the kind's own matter.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::accept::Include;
use crate::registry::Row;

/// The metadata of an object, as `PartialObjectMetadata`.
pub(crate) fn metadata(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// Several objects' metadata, as `PartialObjectMetadataList`.
pub(crate) fn metadata_list<'a>(list_meta: Value, objects: impl Iterator<Item = &'a Value>) -> Value {
    json!({
        "kind": "PartialObjectMetadataList",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_meta,
        "items": objects.map(metadata).collect::<Vec<_>>(),
    })
}

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

/// A Table of objects.
pub(crate) fn table<'a>(
    row: &Row,
    list_meta: Value,
    objects: impl Iterator<Item = &'a Value>,
    include: Include,
    columns: Columns,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects
        .map(|object| {
            let mut table_row = Map::new();
            table_row.insert("cells".to_owned(), Value::Array(row.strategy.cells(object, now)));
            let shown = match include {
                Include::None => Value::Null,
                Include::Metadata => metadata(object),
                Include::Object => object.clone(),
            };
            table_row.insert("object".to_owned(), shown);
            Value::Object(table_row)
        })
        .collect();
    let definitions = match columns {
        Columns::Known => Value::Null,
        Columns::Stated => row.columns.iter().map(definition).collect(),
    };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_meta,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn definition(column: &crate::registry::Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}
