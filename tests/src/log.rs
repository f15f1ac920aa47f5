//! The server's log: an unlisted error or warning in it fails the test.
//!
//! Invariant: the list is short, and each line of it has a reason; a test that provokes more says so itself.

use std::path::Path;

/// What may stand in any server's log, and why.
const ALLOWED: &[(&str, &str)] = &[];

/// A warning or error that a test expects: words in its line, and why they are right there.
pub type Expected = (&'static str, &'static str);

/// Fails if the log holds a panic, or an error or a warning that is not expected.
#[track_caller]
pub fn check(path: &Path, expected: &[Expected]) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let bad: Vec<&str> = text.lines().filter(|line| is_bad(line) && !is_listed(line, expected)).collect();
    let (bad, end) = (bad.join("\n"), tail(path));
    assert!(bad.is_empty(), "the server's log holds what nobody expected:\n{bad}\n--- its end:\n{end}");
}

/// The end of the log, for a test that failed.
pub fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// A line is `TIME LEVEL TARGET: …`; a panic is Rust's own line.
fn is_bad(line: &str) -> bool {
    let level = line.split_whitespace().nth(1).unwrap_or_default();
    matches!(level, "ERROR" | "WARN") || (line.starts_with("thread '") && line.contains("panicked"))
}

fn is_listed(line: &str, expected: &[Expected]) -> bool {
    ALLOWED.iter().chain(expected).any(|(words, _)| line.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_or_a_panic_is_bad_and_the_words_alone_are_not() {
        assert!(is_bad("2026-01-01T00:00:00Z  WARN coracle: x"));
        assert!(is_bad("2026-01-01T00:00:00Z ERROR coracle: x"));
        assert!(is_bad("thread 'main' panicked at src/x.rs:1:1:"));
        assert!(!is_bad("2026-01-01T00:00:00Z  INFO coracle: no ERROR"));
        assert!(is_listed("2026-01-01T00:00:00Z  WARN coracle: x y z", &[("y z", "asked for")]));
    }
}
