//! Options of create, update and patch: dry runs, the field manager, what to do about unknown fields.

use coracle_api::field::FieldError;

use super::{Run, dry_run};
use crate::answer::Refused;
use crate::request::pairs;

/// A field manager's name may have so many bytes (upstream's bound).
const FIELD_MANAGER_BYTES_MAX: usize = 128;

/// What to do about fields that the kind does not have, and fields that stand twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and say so.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// The options of a write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct WriteOptions {
    /// Whether it happens.
    pub(crate) run: Run,
    /// What to do about unknown fields.
    pub(crate) validation: FieldValidation,
}

/// Reads the options of a write; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
pub(crate) fn parse(query: &str, kind: &str) -> Result<WriteOptions, Refused> {
    let (mut dry, mut validation, mut errors) = (Vec::new(), FieldValidation::default(), Vec::new());
    for (key, value) in pairs(query) {
        match key.as_str() {
            "dryRun" => dry.push(value),
            "fieldManager" if value.len() > FIELD_MANAGER_BYTES_MAX => {
                errors.push(FieldError::too_long("fieldManager", FIELD_MANAGER_BYTES_MAX));
            }
            "fieldValidation" => match value.as_str() {
                "" | "Warn" => validation = FieldValidation::Warn,
                "Ignore" => validation = FieldValidation::Ignore,
                "Strict" => validation = FieldValidation::Strict,
                other => {
                    let supported = ["", "Ignore", "Strict", "Warn"];
                    errors.push(FieldError::not_supported("fieldValidation", other, &supported));
                }
            },
            _ => {}
        }
    }
    let run = dry_run(dry.iter().map(String::as_str), &mut errors);
    if errors.is_empty() { Ok(WriteOptions { run, validation }) } else { Err(Refused::invalid_options(kind, errors)) }
}
