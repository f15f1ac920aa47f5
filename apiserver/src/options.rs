//! The options of requests: query parameters and option bodies, parsed and checked once.
//!
//! Pure. What upstream refuses is refused here in its words, before anything is read or written.

pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod write;

use coracle_api::field::FieldError;

use crate::answer::Refused;

/// Whether a write happens or is only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Run {
    /// It happens.
    #[default]
    Real,
    /// Everything but the writing: `dryRun=All`.
    Dry,
}

/// Reads the values of `dryRun`.
pub(crate) fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Vec<FieldError>) -> Run {
    let values: Vec<&str> = values.collect();
    let run = if values.is_empty() { Run::Real } else { Run::Dry };
    if values.iter().any(|v| *v != "All") {
        errors.push(FieldError::not_supported("dryRun", values, &["All"]));
    }
    run
}

/// Parses a whole number, as upstream's Go does.
pub(crate) fn number(text: &str) -> Result<i64, Refused> {
    text.parse().map_err(|_| Refused::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))
}
