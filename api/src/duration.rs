//! Durations as Go writes them: `1m30s`, `500ms`, `1.5h`. Kubernetes' switches and queries have them.

use std::time::Duration;

/// A text that is no duration, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// There is no sense in it.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {0:?}")]
    NoUnit(String),
    /// A unit that there is not.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The text.
        text: String,
    },
}

/// Nanoseconds in each unit.
const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// Reads a duration. What is below nothing counts as nothing, as no one can wait for it.
///
/// # Errors
/// [`InvalidDuration`], with what is wrong.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration::Invalid(text.to_owned());
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = digits;
    let mut nanoseconds = 0.0;
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        if unit.is_empty() {
            return Err(InvalidDuration::NoUnit(text.to_owned()));
        }
        let known = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size);
        let unknown = || InvalidDuration::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() };
        nanoseconds += number * known.ok_or_else(unknown)?;
        rest = after;
    }
    let length = Duration::try_from_secs_f64(nanoseconds / 1e9).map_err(|_| invalid())?;
    Ok(if negative { Duration::ZERO } else { length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, milliseconds) in [
            ("0", 0),
            ("1m0s", 60_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("500ms", 500),
            ("+2s", 2_000),
            ("-2s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        let told = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(told("x"), r#"time: invalid duration "x""#);
        assert_eq!(told(""), r#"time: invalid duration """#);
        assert_eq!(told("5"), r#"time: missing unit in duration "5""#);
        assert_eq!(told("5y"), r#"time: unknown unit "y" in duration "5y""#);
        assert_eq!(told("99999999999999999999h"), r#"time: invalid duration "99999999999999999999h""#);
    }
}
