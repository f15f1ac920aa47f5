//! Texts in quotation marks, as the messages of Kubernetes print them.
//!
//! Source of the rules: Go's `strconv.Quote`. What is printable stands as it is, all else is escaped, so that no text
//! of a client can forge a line of a log or of a terminal.

use std::fmt::{self, Write};

/// A text that prints in quotation marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted<'a>(pub &'a str);

/// Whether a character can be seen, or is a space.
#[must_use]
pub fn is_printable(c: char) -> bool {
    if c.is_ascii() { !c.is_ascii_control() } else { c.escape_debug().len() == 1 }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\u{7}' => f.write_str("\\a")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{b}' => f.write_str("\\v")?,
                '\u{c}' => f.write_str("\\f")?,
                c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
                c if is_printable(c) => f.write_char(c)?,
                c if u32::from(c) < 0x1_0000 => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "\\U{:08x}", u32::from(c))?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_go_quotes_them() {
        for (text, expected) in [
            ("", r#""""#),
            ("a b'c", r#""a b'c""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\0\u{1b}\u{7f}\n\r\t\u{7}\u{8}\u{b}\u{c}", r#""\x00\x1b\x7f\n\r\t\a\b\v\f""#),
            ("é✓😀", r#""é✓😀""#),
            ("\u{a0}\u{200b}\u{e0001}", r#""\u00a0\u200b\U000e0001""#),
        ] {
            assert_eq!(Quoted(text).to_string(), expected);
        }
    }
}
