//! Two states of an object, told by the places where they differ.

use serde_json::Value;

/// A line for each value that is gone, and one for each that has come.
pub(super) fn shown(old: &Value, new: &Value) -> String {
    let mut lines = Vec::new();
    compare(&mut lines, "", Some(old), Some(new));
    lines.join("\n")
}

fn compare(lines: &mut Vec<String>, path: &str, old: Option<&Value>, new: Option<&Value>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let place = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(lines, &place, old.get(key), new.get(key));
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(lines, &format!("{path}[{index}]"), old.get(index), new.get(index));
            }
        }
        (old, new) if old == new => {}
        (old, new) => {
            lines.extend(old.map(|value| format!("- \t{path}: {value}")));
            lines.extend(new.map(|value| format!("+ \t{path}: {value}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let old = json!({"a": 1, "b": [{"c": "x"}, 2], "d": true});
        let new = json!({"a": 1, "b": [{"c": "y"}], "e": {"f": null}});
        expect![[r#"
            - 	b[0].c: "x"
            + 	b[0].c: "y"
            - 	b[1]: 2
            - 	d: true
            + 	e: {"f":null}"#]]
        .assert_eq(&shown(&old, &new));
    }
}
