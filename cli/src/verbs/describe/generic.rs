//! Any other kind: its head, then all its fields, named as people write words.

use serde_json::Value;

use super::page::Page;

pub(super) fn describe(page: &mut Page, object: &Value) {
    page.head(object);
    let top = object.as_object().into_iter().flatten();
    for (key, value) in top.filter(|(key, _)| key.as_str() != "metadata") {
        show(page, 0, &words(key), value);
    }
}

fn show(page: &mut Page, depth: usize, label: &str, value: &Value) {
    match value {
        Value::Object(map) if map.is_empty() => page.nested(depth, label, "<none>"),
        Value::Object(map) => {
            page.nested(depth, label, "");
            for (key, inner) in map {
                // Keys of data (ConfigMaps, labels) are not field names: they stay as they are.
                let name = if key.chars().all(char::is_alphanumeric) { words(key) } else { key.clone() };
                show(page, depth + 1, &name, inner);
            }
        }
        Value::Array(items) if items.is_empty() => page.nested(depth, label, "<none>"),
        Value::Array(items) => {
            page.nested(depth, label, "");
            for item in items {
                match item {
                    Value::Object(map) => {
                        for (key, inner) in map {
                            show(page, depth + 1, &words(key), inner);
                        }
                    }
                    scalar => page.nested(depth + 1, "-", plain(scalar)),
                }
            }
        }
        scalar => page.nested(depth, label, plain(scalar)),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `resourceVersion` → `Resource Version`.
fn words(key: &str) -> String {
    let mut label = String::new();
    for (index, c) in key.chars().enumerate() {
        if index == 0 {
            label.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() && !label.ends_with(char::is_uppercase) {
                label.push(' ');
            }
            label.push(c);
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_words() {
        assert_eq!(words("resourceVersion"), "Resource Version");
        assert_eq!(words("clusterIP"), "Cluster IP");
    }
}
