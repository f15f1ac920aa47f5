//! A page of `describe`: labelled lines at depths, with the values set in one column per block, as kubectl's.

use jiff::Timestamp;
use serde_json::Value;

use crate::table;

/// Text at a JSON pointer; empty where there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A scalar at a JSON pointer as text; `<none>` where there is none.
pub(super) fn scalar(object: &Value, pointer: &str) -> String {
    match object.pointer(pointer) {
        None | Some(Value::Null) => "<none>".to_owned(),
        Some(Value::String(s)) if s.is_empty() => "<none>".to_owned(),
        Some(Value::String(s)) => s.clone(),
        Some(other) => other.to_string(),
    }
}

/// A list at a JSON pointer; empty where there is none.
pub(super) fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// A map at a JSON pointer as `key<glue>value` lines.
pub(super) fn pairs(object: &Value, pointer: &str, glue: &str) -> Vec<String> {
    let map = object.pointer(pointer).and_then(Value::as_object);
    let shown = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    map.into_iter().flatten().map(|(k, v)| format!("{k}{glue}{}", shown(v))).collect()
}

/// Lines collected for one object.
pub(super) struct Page {
    now: Timestamp,
    lines: Vec<Line>,
}

enum Line {
    Labelled { depth: usize, label: String, value: String },
    Plain(String),
}

impl Page {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now, lines: Vec::new() }
    }

    /// `Label:   value` at the left edge.
    pub(super) fn field(&mut self, label: &str, value: impl Into<String>) {
        self.nested(0, label, value);
    }

    /// `Label:   value` at a depth.
    pub(super) fn nested(&mut self, depth: usize, label: &str, value: impl Into<String>) {
        self.lines.push(Line::Labelled { depth, label: format!("{label}:"), value: value.into() });
    }

    /// A label with several values, one a line; `<none>` if there are none.
    pub(super) fn values(&mut self, label: &str, values: Vec<String>) {
        let mut values = values.into_iter();
        self.field(label, values.next().unwrap_or_else(|| "<none>".to_owned()));
        for value in values {
            self.lines.push(Line::Labelled { depth: 0, label: String::new(), value });
        }
    }

    /// Name, namespace, labels and annotations: the head of most pages.
    pub(super) fn head(&mut self, object: &Value) {
        self.field("Name", text(object, "/metadata/name"));
        if !text(object, "/metadata/namespace").is_empty() {
            self.field("Namespace", text(object, "/metadata/namespace"));
        }
        self.values("Labels", pairs(object, "/metadata/labels", "="));
        let applied = format!("{}: ", coracle_api::wellknown::ANNOTATION_LAST_APPLIED);
        let mut annotations = pairs(object, "/metadata/annotations", ": ");
        annotations.retain(|a| !a.starts_with(&applied));
        self.values("Annotations", annotations);
    }

    /// A heading, then a table with a line of dashes under its headings.
    pub(super) fn table(&mut self, heading: &str, titles: &[&str], rows: Vec<Vec<String>>) {
        if rows.is_empty() {
            self.field(heading, "<none>");
            return;
        }
        self.lines.push(Line::Plain(format!("{heading}:")));
        let mut all = vec![
            titles.iter().map(|t| (*t).to_owned()).collect(),
            titles.iter().map(|t| "-".repeat(t.len())).collect::<Vec<_>>(),
        ];
        all.extend(rows);
        self.lines.extend(table::set(&all).into_iter().map(|l| Line::Plain(format!("  {l}"))));
    }

    /// Conditions: type, status and reason.
    pub(super) fn conditions(&mut self, object: &Value, columns: &[(&str, &str)]) {
        let row = |c: &Value| columns.iter().map(|(_, pointer)| scalar(c, pointer)).collect();
        let rows: Vec<Vec<String>> = list(object, "/status/conditions").map(row).collect();
        let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
        self.table("Conditions", &titles, rows);
    }

    /// The events about the object, as the last block.
    pub(super) fn events(&mut self, events: &[Value]) {
        let row = |event: &Value| {
            let age = self.age(event);
            let from = match (text(event, "/source/component"), text(event, "/source/host")) {
                ("", _) => text(event, "/reportingComponent").to_owned(),
                (component, "") => component.to_owned(),
                (component, host) => format!("{component}, {host}"),
            };
            vec![text(event, "/type").into(), text(event, "/reason").into(), age, from, text(event, "/message").into()]
        };
        let rows = events.iter().map(row).collect();
        self.table("Events", &["Type", "Reason", "Age", "From", "Message"], rows);
    }

    /// `5s`, or `5s (x3 over 2m)` for what happened several times.
    fn age(&self, event: &Value) -> String {
        let since = |pointer: &str| text(event, pointer).parse::<Timestamp>().ok().map(|t| age(self.now, t));
        let last = since("/lastTimestamp").or_else(|| since("/eventTime")).unwrap_or_else(|| "<unknown>".into());
        match event.pointer("/count").and_then(Value::as_u64) {
            Some(count) if count > 1 => {
                format!("{last} (x{count} over {})", since("/firstTimestamp").unwrap_or_default())
            }
            _ => last,
        }
    }

    /// The page as text, ending in a newline.
    pub(super) fn finish(self) -> String {
        let width = |line: &Line| match line {
            Line::Labelled { depth, label, .. } => depth * 2 + label.chars().count(),
            Line::Plain(_) => 0,
        };
        let column = self.lines.iter().map(width).max().unwrap_or(0) + 2;
        let mut page = String::new();
        for line in &self.lines {
            match line {
                Line::Plain(text) => page.push_str(text),
                Line::Labelled { depth, label, value } => {
                    let head = format!("{}{label}", "  ".repeat(*depth));
                    page.push_str(format!("{head:<column$}{value}").trim_end());
                }
            }
            page.push('\n');
        }
        page
    }
}

/// How long ago, in the two largest fitting units, as kubectl's short form.
fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 > 0 => format!("{}m{}s", seconds / 60, seconds % 60),
        120..10_800 => format!("{}m", seconds / 60),
        10_800..28_800 if seconds % 3600 >= 60 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        10_800..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_and_values_stand_in_two_columns() {
        let mut page = Page::new(Timestamp::UNIX_EPOCH);
        page.head(&json!({"metadata": {"name": "web", "namespace": "n", "labels": {"a": "1", "b": "2"}}}));
        page.nested(1, "Port", "80");
        page.events(&[]);
        let expected = "Name:         web\nNamespace:    n\nLabels:       a=1\n              b=2\nAnnotations:  <none>\n  Port:       80\nEvents:       <none>\n";
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn ages_are_kubectls() {
        let at = |s: i64| Timestamp::from_second(s).unwrap();
        for (seconds, expected) in
            [(5, "5s"), (119, "119s"), (125, "2m5s"), (660, "11m"), (11_000, "3h3m"), (100_000, "27h"), (200_000, "2d")]
        {
            assert_eq!(age(at(seconds), at(0)), expected);
        }
    }
}
