//! Indents compact JSON as it goes by, so that what people read is neither parsed nor held.
//!
//! It reads only JSON that we wrote: objects and lists that end where they should.

/// What an indented text has come to.
#[derive(Debug, Default)]
pub(crate) struct Indenter {
    depth: usize,
    text: Text,
    /// Whether an object or a list has just begun, which may turn out to be empty.
    begun: bool,
}

/// Whether a quoted text is being copied.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Text {
    #[default]
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

impl Indenter {
    /// Writes the next piece of compact JSON, indented.
    pub(crate) fn put(&mut self, into: &mut Vec<u8>, compact: &[u8]) {
        into.reserve(compact.len() * 2);
        for &byte in compact {
            match (self.text, byte) {
                (Text::Escaped, _) => self.copy(into, byte, Text::Inside),
                (Text::Inside, b'\\') => self.copy(into, byte, Text::Escaped),
                (Text::Inside, b'"') => self.copy(into, byte, Text::Outside),
                (Text::Inside, _) => into.push(byte),
                (Text::Outside, b' ' | b'\n' | b'\r' | b'\t') => {}
                (Text::Outside, b':') => into.extend_from_slice(b": "),
                (Text::Outside, b',') => {
                    into.push(byte);
                    self.line(into);
                }
                (Text::Outside, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    if !std::mem::take(&mut self.begun) {
                        self.line(into);
                    }
                    into.push(byte);
                }
                (Text::Outside, _) => self.value(into, byte),
            }
        }
    }

    fn copy(&mut self, into: &mut Vec<u8>, byte: u8, text: Text) {
        into.push(byte);
        self.text = text;
    }

    /// The first byte of a value or of a member's name, or one of a bare value.
    fn value(&mut self, into: &mut Vec<u8>, byte: u8) {
        if std::mem::take(&mut self.begun) {
            self.line(into);
        }
        into.push(byte);
        match byte {
            b'"' => self.text = Text::Inside,
            b'{' | b'[' => {
                self.depth += 1;
                self.begun = true;
            }
            _ => {}
        }
    }

    fn line(&self, into: &mut Vec<u8>) {
        into.push(b'\n');
        into.resize(into.len() + 2 * self.depth, b' ');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..5).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_indented_as_serde_does_however_it_comes(value in any_json(), size in 1_usize..9) {
            let (mut indenter, mut indented) = (Indenter::default(), Vec::new());
            for piece in value.to_string().as_bytes().chunks(size) {
                indenter.put(&mut indented, piece);
            }
            let expected = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(String::from_utf8(indented).unwrap(), expected);
        }
    }
}
