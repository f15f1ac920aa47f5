//! What cells of Tables have in common: ages, joined lists, the columns that most kinds share.
//!
//! Source of the forms: upstream's printers and `k8s.io/apimachinery/pkg/util/duration`.

use std::collections::BTreeMap;

use coracle_api::selector::Selector;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use serde_json::Value;

use super::Column;

/// The object's name.
pub(super) const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "The object's name, unique where it lives.",
    priority: 0,
};

/// How long it has existed.
pub(super) const AGE: Column = text("Age", "How long the object has existed.");

/// When it was made: what kinds show that nobody wrote columns for.
pub(super) const CREATED: Column = Column {
    name: "Created At",
    kind: "date",
    format: "",
    description: "When the object was made, by the server's clock.",
    priority: 0,
};

/// A column of yes or no.
pub(super) const fn boolean(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "boolean", format: "", description, priority: 0 }
}

/// A column of text that is always shown.
pub(super) const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", description, priority: 0 }
}

/// A column of text that is shown by `-o wide`.
pub(super) const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", description, priority: 1 }
}

/// A column of whole numbers.
pub(super) const fn integer(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "integer", format: "", description, priority: 0 }
}

/// What is not there.
pub(super) const NONE: &str = "<none>";
/// What nobody knows.
pub(super) const UNKNOWN: &str = "<unknown>";
/// What nobody set.
pub(super) const UNSET: &str = "<unset>";

/// The name cell.
pub(super) fn name(meta: &ObjectMeta) -> Value {
    meta.name.clone().unwrap_or_default().into()
}

/// The age cell.
pub(super) fn age(meta: &ObjectMeta, now: Timestamp) -> Value {
    since(meta.creation_timestamp.as_ref(), now).into()
}

/// The cell that says when it was made.
pub(super) fn created(meta: &ObjectMeta) -> Value {
    meta.creation_timestamp.as_ref().map_or(Value::Null, |time| time.0.to_string().into())
}

/// The time since then, or that it is not known.
pub(super) fn since(then: Option<&Time>, now: Timestamp) -> String {
    then.map_or_else(|| UNKNOWN.to_owned(), |then| duration(now.as_second() - then.0.as_second()))
}

/// A duration in seconds as people read it: `5m3s`, `2d4h`, the coarser the longer.
pub(super) fn duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit}{small}{small_unit}"),
    };
    let (minutes, hours, days, years) = (seconds / MINUTE, seconds / HOUR, seconds / DAY, seconds / YEAR);
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => two(days, "d", hours % 24, "h"),
        _ if years < 2 => format!("{days}d"),
        _ if years < 8 => two(years, "y", days % 365, "d"),
        _ => format!("{years}y"),
    }
}

/// A text, or what stands for none.
pub(super) fn or<'a>(value: Option<&'a str>, none: &'a str) -> &'a str {
    value.filter(|v| !v.is_empty()).unwrap_or(none)
}

/// A map of labels: `a=b,c=d`.
pub(super) fn label_list(labels: Option<&BTreeMap<String, String>>) -> String {
    let labels: Vec<String> = labels.into_iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
    if labels.is_empty() { NONE.to_owned() } else { labels.join(",") }
}

/// At most three items, and how many more there are.
pub(super) fn first_three(items: &[String], none: &str) -> String {
    const SHOWN_MAX: usize = 3;
    let shown: Vec<&str> = items.iter().take(SHOWN_MAX).map(String::as_str).collect();
    match items.len() {
        0 => none.to_owned(),
        n if n > SHOWN_MAX => format!("{} + {} more...", shown.join(","), n - SHOWN_MAX),
        _ => shown.join(","),
    }
}

/// Names and images of a template's containers.
pub(super) fn containers(template: Option<&PodTemplateSpec>) -> [Value; 2] {
    let containers = template.and_then(|t| t.spec.as_ref()).map(|s| s.containers.as_slice()).unwrap_or_default();
    let names: Vec<&str> = containers.iter().map(|c| c.name.as_str()).collect();
    let images: Vec<&str> = containers.iter().map(|c| c.image.as_deref().unwrap_or_default()).collect();
    [names.join(",").into(), images.join(",").into()]
}

/// The same, and the selector: what workloads show when wide.
pub(super) fn workload(template: Option<&PodTemplateSpec>, selector: &LabelSelector) -> [Value; 3] {
    let [names, images] = containers(template);
    [names, images, selector_text(selector).into()]
}

/// A structured selector as text.
pub(super) fn selector_text(selector: &LabelSelector) -> String {
    let text = Selector::from_structured(selector).map_or_else(|_| "<error>".to_owned(), |s| s.to_string());
    or(Some(&text), NONE).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_users_know_them() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (8 * 3600 + 60, "8h"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (49 * 3600, "2d1h"),
            (8 * 86400, "8d"),
            (729 * 86400, "729d"),
            (730 * 86400, "2y"),
            (731 * 86400, "2y1d"),
            (9 * 365 * 86400, "9y"),
        ] {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let items: Vec<String> = (1..=5).map(|n| n.to_string()).collect();
        assert_eq!(first_three(&items, NONE), "1,2,3 + 2 more...");
        assert_eq!(first_three(&[], NONE), NONE);
    }
}
