//! Kubernetes quantities (`100m`, `64Mi`, `1.5Gi`, `2e3`) as whole numbers, rounded up as upstream does.
//!
//! Source: the grammar in `k8s.io/apimachinery/pkg/api/resource`.

/// A quantity that does not have the grammar's form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct InvalidQuantity;

/// Thousandths of the unit in 10⁻⁹ steps: the finest that the grammar allows.
const NANO: i128 = 1_000_000_000;

/// The value in whole units, rounded up: bytes, pods, cores.
///
/// # Errors
/// [`InvalidQuantity`] if `text` is no quantity.
pub fn units(text: &str) -> Result<i64, InvalidQuantity> {
    Ok(clamp(div_ceil(nanos(text)?, NANO)))
}

/// The value in thousandths, rounded up: millicores.
///
/// # Errors
/// [`InvalidQuantity`] if `text` is no quantity.
pub fn millis(text: &str) -> Result<i64, InvalidQuantity> {
    Ok(clamp(div_ceil(nanos(text)?, NANO / 1000)))
}

/// The exact value in billionths, for comparing two quantities written differently.
///
/// # Errors
/// [`InvalidQuantity`] if `text` is no quantity.
pub fn nanos(text: &str) -> Result<i128, InvalidQuantity> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(InvalidQuantity);
    }
    let value = scaled(whole, fraction, scale(suffix)?);
    Ok(if negative { -value } else { value })
}

/// What a suffix multiplies by: `numerator / 10^shift`.
struct Scale {
    numerator: i128,
    shift: u32,
}

fn scale(suffix: &str) -> Result<Scale, InvalidQuantity> {
    let times = |numerator: i128| Ok(Scale { numerator, shift: 0 });
    match suffix {
        "n" => Ok(Scale { numerator: 1, shift: 9 }),
        "u" => Ok(Scale { numerator: 1, shift: 6 }),
        "m" => Ok(Scale { numerator: 1, shift: 3 }),
        "" => times(1),
        "k" => times(1_000),
        "M" => times(1_000_000),
        "G" => times(1_000_000_000),
        "T" => times(1_000_000_000_000),
        "P" => times(1_000_000_000_000_000),
        "E" => times(1_000_000_000_000_000_000),
        "Ki" => times(1 << 10),
        "Mi" => times(1 << 20),
        "Gi" => times(1 << 30),
        "Ti" => times(1 << 40),
        "Pi" => times(1 << 50),
        "Ei" => times(1 << 60),
        other => exponent(other),
    }
}

fn exponent(suffix: &str) -> Result<Scale, InvalidQuantity> {
    let digits = suffix.strip_prefix(['e', 'E']).ok_or(InvalidQuantity)?;
    let power: i32 = digits.parse().map_err(|_| InvalidQuantity)?;
    match power {
        0..=18 => Ok(Scale { numerator: 10_i128.pow(power.unsigned_abs()), shift: 0 }),
        -18..=-1 => Ok(Scale { numerator: 1, shift: power.unsigned_abs() }),
        _ => Err(InvalidQuantity),
    }
}

/// `whole.fraction × scale` in billionths, rounded up, saturating far beyond any real machine.
fn scaled(whole: &str, fraction: &str, scale: Scale) -> i128 {
    // As many digits as leave room for the scale in 38, which an i128 holds.
    let room = usize::try_from(37 - scale.numerator.checked_ilog10().unwrap_or(0)).unwrap_or(0);
    let digits: String = whole.chars().chain(fraction.chars()).take(room).collect();
    let dropped = (whole.len() + fraction.len()).saturating_sub(digits.len());
    let mantissa: i128 = digits.parse().unwrap_or(0);
    let places =
        i64::try_from(fraction.len()).unwrap_or(0) - i64::try_from(dropped).unwrap_or(0) + i64::from(scale.shift) - 9;
    let product = mantissa.saturating_mul(scale.numerator);
    match u32::try_from(places) {
        Ok(down) => 10_i128.checked_pow(down).map_or(i128::from(product > 0), |d| div_ceil(product, d)),
        Err(_) => {
            let up = u32::try_from(-places).unwrap_or(38).min(38);
            product.saturating_mul(10_i128.saturating_pow(up))
        }
    }
}

fn div_ceil(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value > 0 { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_mean_what_upstream_says() {
        for (text, expected) in [
            ("0", 0),
            ("1", 1),
            ("64Mi", 64 << 20),
            ("1.5Gi", 3 << 29),
            ("100m", 1),
            ("1k", 1000),
            ("2e3", 2000),
            ("2E3", 2000),
            ("1E", 1_000_000_000_000_000_000),
            ("+5", 5),
            (".5", 1),
            ("-1.5", -1),
            ("500e-3", 1),
            ("12345678901234567890123", i64::MAX),
        ] {
            assert_eq!(units(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn millicores_round_up() {
        assert_eq!(millis("100m"), Ok(100));
        assert_eq!(millis("0.1"), Ok(100));
        assert_eq!(millis("1500u"), Ok(2));
        assert_eq!(millis("2"), Ok(2000));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for bad in ["", "Mi", "1mi", "1.2.3", "1 Gi", "0x10", "e3", "1KiB", "--1", "1e", "."] {
            assert!(nanos(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_fail_otherwise_than_by_an_error(text in "[-+]?[0-9.]{0,45}([eE][-+]?[0-9]{0,12})?[numkMGTPEKi]{0,3}", any: String) {
            let _ = nanos(&text);
            let _ = nanos(&any);
        }
    }
}
