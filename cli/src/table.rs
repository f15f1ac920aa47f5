//! Tables as kubectl prints them: the server sends `meta.k8s.io/v1` Tables, this sets them in columns.

use serde::Deserialize;
use serde_json::Value;

/// The `Accept` header that asks for Tables.
pub(crate) const ACCEPT: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// A Table of the server's.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Table {
    #[serde(default)]
    pub(crate) metadata: ListMeta,
    /// Absent from the second event of a watch on: the columns stay the same.
    pub(crate) column_definitions: Option<Vec<Column>>,
    #[serde(default)]
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListMeta {
    pub(crate) resource_version: Option<String>,
}

/// A column's heading and whether it is always shown (priority 0).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Column {
    name: String,
    #[serde(default)]
    priority: i32,
}

/// An object's cells, and its metadata.
#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    #[serde(default)]
    cells: Vec<Value>,
    #[serde(default)]
    object: Value,
}

/// What is printed beside the server's own columns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Style {
    /// All columns, not only those of priority 0.
    pub(crate) wide: bool,
    /// A first column with the namespace.
    pub(crate) namespaces: bool,
    /// A last column with the labels.
    pub(crate) labels: bool,
    /// No line of headings.
    pub(crate) bare: bool,
    /// Put before each name: `pod/`.
    pub(crate) prefix: Option<String>,
}

impl Row {
    fn metadata(&self, key: &str) -> &str {
        self.object.pointer("/metadata").and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default()
    }

    fn labels(&self) -> String {
        let map = self.object.pointer("/metadata/labels").and_then(Value::as_object);
        let pairs: Vec<String> =
            map.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
        if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
    }
}

/// The headings for these columns.
pub(crate) fn headings(columns: &[Column], style: &Style) -> Vec<String> {
    let namespace = style.namespaces.then(|| "NAMESPACE".to_owned());
    let own = columns.iter().filter(|c| style.wide || c.priority == 0).map(|c| c.name.to_uppercase());
    let labels = style.labels.then(|| "LABELS".to_owned());
    namespace.into_iter().chain(own).chain(labels).collect()
}

/// The cells of a row under these columns.
pub(crate) fn cells(row: &Row, columns: &[Column], style: &Style) -> Vec<String> {
    let namespace = style.namespaces.then(|| row.metadata("namespace").to_owned());
    let own = columns.iter().zip(&row.cells).enumerate().filter(|(_, (c, _))| style.wide || c.priority == 0).map(
        |(index, (_, cell))| match &style.prefix {
            Some(prefix) if index == 0 => format!("{prefix}{}", text(cell)),
            _ => text(cell),
        },
    );
    let labels = style.labels.then(|| row.labels());
    namespace.into_iter().chain(own).chain(labels).collect()
}

fn text(cell: &Value) -> String {
    match cell {
        Value::String(s) => s.clone(),
        Value::Null => "<none>".to_owned(),
        other => other.to_string(),
    }
}

/// Blanks between two columns.
const PADDING: usize = 3;
/// The least width of a column, its padding included: kubectl's.
const WIDTH_MIN: usize = 6;

/// Lines set in columns.
pub(crate) fn set(lines: &[Vec<String>]) -> Vec<String> {
    set_at_least(lines, &mut Vec::new())
}

/// The same with columns at least as wide as before: for lines that come one after the other.
pub(crate) fn set_at_least(lines: &[Vec<String>], widths: &mut Vec<usize>) -> Vec<String> {
    for line in lines {
        widths.resize(widths.len().max(line.len()), 0);
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count() + PADDING).max(WIDTH_MIN);
        }
    }
    let set = |line: &Vec<String>| {
        let padded = line.iter().zip(widths.iter()).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<String>().trim_end().to_owned()
    };
    lines.iter().map(set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_column_has_kubectls_least_width() {
        assert_eq!(set(&[vec!["0".to_owned(), "48s".to_owned()]]), ["0     48s"]);
    }

    #[test]
    fn a_table_is_set_as_kubectl_sets_it() {
        let table: Table = serde_json::from_value(serde_json::json!({
            "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "Ready", "priority": 0}, {"name": "IP", "priority": 1}],
            "rows": [{"cells": ["a", "1/1", null], "object": {"metadata": {"namespace": "n", "labels": {"x": "y"}}}}],
        }))
        .unwrap();
        let print = |style: &Style| {
            let columns = table.column_definitions.as_deref().unwrap_or_default();
            let mut lines = vec![headings(columns, style)];
            lines.extend(table.rows.iter().map(|r| cells(r, columns, style)));
            set(&lines)
        };
        assert_eq!(print(&Style::default()), ["NAME   READY", "a      1/1"]);
        let all = Style { wide: true, namespaces: true, labels: true, prefix: Some("pod/".into()), bare: false };
        assert_eq!(
            print(&all),
            ["NAMESPACE   NAME    READY   IP       LABELS", "n           pod/a   1/1     <none>   x=y"]
        );
    }
}
