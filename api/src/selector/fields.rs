//! Field selectors: `field=value` and `field!=value`, all of which must hold.
//!
//! Source: `k8s.io/apimachinery/pkg/fields`. Which fields a kind offers is the registry's matter.

use super::InvalidSelector;

/// One `field=value` or `field!=value` of a `fieldSelector` parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    /// The field's path, for example `spec.nodeName`.
    pub path: String,
    /// Its value.
    pub value: String,
    /// Whether the field must have the value, or must not.
    pub relation: FieldRelation,
}

/// How a field must relate to the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldRelation {
    /// `=` or `==`
    Equal,
    /// `!=`
    NotEqual,
}

/// Parses the text of a `fieldSelector` parameter, sorted by the terms as they are written. In a value, a backslash
/// takes its meaning from `,`, `=` and itself.
///
/// # Errors
/// [`InvalidSelector`] with upstream's words.
pub fn parse_fields(text: &str) -> Result<Vec<FieldRequirement>, InvalidSelector> {
    let mut terms = split_terms(text);
    terms.sort_unstable();
    terms.into_iter().filter(|term| !term.is_empty()).map(|term| requirement(text, term)).collect()
}

fn requirement(text: &str, term: &str) -> Result<FieldRequirement, InvalidSelector> {
    let Some((path, value, relation)) = split_term(term) else {
        return Err(InvalidSelector(format!("invalid selector: '{text}'; can't understand '{term}'")));
    };
    Ok(FieldRequirement { path: path.to_owned(), value: unescape(value)?, relation })
}

/// The parts between commas that no backslash stands before.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    let between = |c: char| {
        let splits = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        splits
    };
    text.split(between).collect()
}

/// Path, value and relation, by the operator that comes first.
fn split_term(term: &str) -> Option<(&str, &str, FieldRelation)> {
    let operators = [("!=", FieldRelation::NotEqual), ("==", FieldRelation::Equal), ("=", FieldRelation::Equal)];
    term.char_indices().find_map(|(at, _)| {
        let (path, rest) = term.split_at_checked(at)?;
        operators.iter().find_map(|(operator, relation)| Some((path, rest.strip_prefix(operator)?, *relation)))
    })
}

fn unescape(value: &str) -> Result<String, InvalidSelector> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                Some(c) => {
                    let sequence = format!("\\{c}");
                    return Err(InvalidSelector(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    )));
                }
                None => return Err(InvalidSelector("invalid field selector: invalid escape sequence: \\".to_owned())),
            },
            ',' | '=' => {
                // Upstream tells the character as its number.
                return Err(InvalidSelector(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(c)
                )));
            }
            c => plain.push(c),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let told = |f: FieldRequirement| format!("{} {:?} {:?}", f.path, f.relation, f.value);
        match parse_fields(text) {
            Ok(fields) => fields.into_iter().map(told).collect::<Vec<_>>().join("; "),
            Err(error) => error.0,
        }
    }

    #[test]
    fn fields_are_read_as_upstream_reads_them() {
        for (text, expected) in [
            ("", ""),
            (",", ""),
            ("b=1,a!=2", "a NotEqual \"2\"; b Equal \"1\""),
            ("a==x", "a Equal \"x\""),
            ("a=", "a Equal \"\""),
            (r"a=x\,y\=z\\", r#"a Equal "x,y=z\\""#),
            ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_fail_otherwise_than_by_an_error(text: String, near in r"([a-c=!,\\.]|==|!=){0,12}") {
            let _ = parse_fields(&text);
            let _ = parse_fields(&near);
        }
    }
}
