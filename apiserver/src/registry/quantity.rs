//! Quantities in the form that upstream stores: `0.1` becomes `100m`, `1024Mi` becomes `1Gi`.
//!
//! A quantity keeps the family of its suffix (binary, decimal or exponent) and gets the largest suffix that
//! leaves no fraction.

use std::borrow::Cow;

use coracle_api::quantity::{InvalidQuantity, nanos};

/// Binary suffixes from the largest on.
const BINARY: [(&str, u32); 6] = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];

/// Decimal suffixes from the largest on, as powers of ten of the nano.
const DECIMAL: [(&str, u32); 10] =
    [("E", 27), ("P", 24), ("T", 21), ("G", 18), ("M", 15), ("k", 12), ("", 9), ("m", 6), ("u", 3), ("n", 0)];

const NANO: i128 = 1_000_000_000;
const MILLI: i128 = NANO / 1000;

/// The canonical form of a quantity; borrowed if it has it already.
pub(super) fn canonical(text: &str) -> Result<Cow<'_, str>, InvalidQuantity> {
    Ok(as_text(nanos(text)?, text))
}

/// The canonical form of a quantity of a resource, of which there are no finer parts than thousandths.
pub(super) fn canonical_amount(text: &str) -> Result<Cow<'_, str>, InvalidQuantity> {
    let value = nanos(text)?;
    let rest = value.rem_euclid(MILLI);
    Ok(as_text(if rest == 0 { value } else { value - rest + MILLI }, text))
}

fn as_text(value: i128, text: &str) -> Cow<'_, str> {
    let written = written(value, text);
    if written == text { Cow::Borrowed(text) } else { Cow::Owned(written) }
}

/// A value, in billionths, in the family of suffixes of another quantity; what is small or no whole number has a
/// decimal suffix, so that nothing is lost.
pub(super) fn written(value: i128, like: &str) -> String {
    if value == 0 {
        "0".to_owned()
    } else if like.ends_with('i') && value.abs() >= 1024 * NANO && value % NANO == 0 {
        in_binary(value)
    } else if is_exponent(like) {
        in_exponent(value)
    } else {
        in_decimal(value)
    }
}

fn is_exponent(text: &str) -> bool {
    text.char_indices().any(|(at, c)| matches!(c, 'e' | 'E') && at + 1 < text.len())
}

fn in_binary(value: i128) -> String {
    let whole = value / NANO;
    let (suffix, shift) = BINARY.iter().find(|(_, shift)| whole % (1 << shift) == 0).copied().unwrap_or(("", 0));
    format!("{}{suffix}", whole >> shift)
}

fn in_decimal(value: i128) -> String {
    let unit = |power: u32| 10_i128.pow(power);
    let (suffix, power) = DECIMAL.iter().find(|(_, power)| value % unit(*power) == 0).copied().unwrap_or(("n", 0));
    format!("{}{suffix}", value / unit(power))
}

fn in_exponent(value: i128) -> String {
    let (_, power) = DECIMAL.iter().find(|(_, power)| value % 10_i128.pow(*power) == 0).copied().unwrap_or(("n", 0));
    let exponent = i64::from(power) - 9;
    let mantissa = value / 10_i128.pow(power);
    if exponent == 0 { mantissa.to_string() } else { format!("{mantissa}e{exponent}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_upstream_writes_them() {
        for (given, expected) in [
            ("0.1", "100m"),
            ("2000m", "2"),
            ("1536Mi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1e3", "1e3"),
            ("0.5Gi", "512Mi"),
            ("2147483648", "2147483648"),
            ("1000", "1k"),
            ("1G", "1G"),
            ("1.5", "1500m"),
            ("0.1Gi", "107374182400m"),
            ("0", "0"),
            ("0Mi", "0"),
            ("-1", "-1"),
            ("1E", "1E"),
            ("512Ki", "512Ki"),
            ("100", "100"),
        ] {
            assert_eq!(canonical(given).map(Cow::into_owned), Ok(expected.to_owned()), "{given}");
        }
    }

    #[test]
    fn amounts_of_resources_are_rounded_up_to_thousandths() {
        for (given, expected) in [("1n", "1m"), ("0.0001", "1m"), ("1500u", "2m"), ("1.5", "1500m"), ("0", "0")] {
            assert_eq!(canonical_amount(given).map(Cow::into_owned), Ok(expected.to_owned()), "{given}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_canonical_stays_and_means_the_same(text in "-?[0-9]{1,12}([.][0-9]{0,9})?(e[0-9]|e-[0-9]|[numkMGTP]|[KMGTP]i)?") {
            if let Ok(once) = canonical(&text) {
                let twice = canonical(&once).map(Cow::into_owned);
                proptest::prop_assert_eq!(twice, Ok(once.clone().into_owned()), "{}", text);
                proptest::prop_assert_eq!(nanos(&once), nanos(&text), "{}", text);
            }
        }
    }
}
