//! The members of an encoded object, found without parsing what they hold.
//!
//! It reads only what our own encoder wrote: compact JSON, whose objects end where they should.

/// A member of the outermost object: where it begins, and where the one after it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    name: &'a [u8],
    /// What it holds, encoded.
    pub(crate) value: &'a [u8],
    /// Its first byte.
    pub(crate) start: usize,
    /// The byte after its comma, or after its value if it is the last.
    pub(crate) end: usize,
}

impl Member<'_> {
    /// Whether it has this name.
    pub(crate) fn is(&self, name: &[u8]) -> bool {
        self.name == name
    }
}

/// The members of the outermost object, in order.
pub(crate) struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Members<'a> {
    /// The members of this object.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 1 }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    /// The byte after the text that begins at `at`.
    fn after_text(&self, at: usize) -> Option<usize> {
        let mut at = at + 1;
        loop {
            at += self.bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            match self.byte(at)? {
                b'"' => return Some(at + 1),
                _ => at += 2,
            }
        }
    }

    /// The byte after the value that begins at `at`.
    fn after_value(&self, mut at: usize) -> Option<usize> {
        let mut depth = 0_usize;
        loop {
            match self.byte(at)? {
                b'"' => {
                    at = self.after_text(at)?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => return Some(at),
                b'}' | b']' => depth -= 1,
                b',' if depth == 0 => return Some(at),
                _ => {}
            }
            at += 1;
        }
    }
}

/// What the member at a dotted path holds, encoded.
pub(crate) fn find<'a>(object: &'a [u8], path: &str) -> Option<&'a [u8]> {
    path.split('.').try_fold(object, |object, name| {
        let mut members = if object.first() == Some(&b'{') { Members::of(object) } else { Members::of(b"{}") };
        members.find(|member| member.is(name.as_bytes())).map(|member| member.value)
    })
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let start = self.at;
        if self.byte(start)? != b'"' {
            return None;
        }
        let name_end = self.after_text(start)?;
        let name = self.bytes.get(start + 1..name_end - 1)?;
        let value_end = self.after_value(name_end + 1)?;
        let value = self.bytes.get(name_end + 1..value_end)?;
        let end = if self.byte(value_end)? == b',' { value_end + 1 } else { value_end };
        self.at = end;
        Some(Member { name, value, start, end })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};

    use super::*;

    #[test]
    fn members_are_found_whatever_they_hold() {
        let object = br#"{"a":{"kind":"x","b":[1,{"c":"}"}]},"kind":"K","t":"\"kind\":\"K\",","z":3}"#;
        let names: Vec<_> =
            Members::of(object).map(|m| std::str::from_utf8(&object[m.start..m.end]).unwrap().to_owned()).collect();
        let expected =
            [r#""a":{"kind":"x","b":[1,{"c":"}"}]},"#, r#""kind":"K","#, r#""t":"\"kind\":\"K\",","#, r#""z":3"#];
        assert_eq!(names, expected);
    }

    proptest::proptest! {
        #[test]
        fn members_put_together_are_the_object(
            object in btree_map(r#"[a-z"\\{}:,]{0,8}"#, vec(r#"[a-z"\\\[\]{}:,]{0,8}"#, 0..4), 0..6)
        ) {
            let bytes = serde_json::to_vec(&object).unwrap();
            let members: Vec<_> = Members::of(&bytes).collect();
            assert_eq!(members.len(), object.len());
            let inside = members.iter().flat_map(|m| &bytes[m.start..m.end]).copied().collect::<Vec<u8>>();
            assert_eq!(inside, &bytes[1..bytes.len() - 1]);
        }
    }

    #[test]
    fn a_member_is_found_by_its_path() {
        let object = br#"{"metadata":{"name":"x"},"spec":{"on":true,"list":["a"],"text":"{\"on\":1}"}}"#;
        for (path, expected) in [
            ("spec.on", Some(&b"true"[..])),
            ("metadata", Some(br#"{"name":"x"}"#)),
            ("metadata.name.first", None),
            ("spec.list.a", None),
            ("spec.text.on", None),
            ("status", None),
        ] {
            assert_eq!(find(object, path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        for bytes in [&b""[..], b"{}", b"[]", b"{\"a\"", b"{\"a\":"] {
            assert_eq!(Members::of(bytes).count(), 0);
        }
    }
}
