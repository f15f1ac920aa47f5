//! Options of create, update and patch: dry runs, the field manager, what to do about unknown fields.

use coracle_api::field::FieldError;
use coracle_api::quoted::is_printable;

use super::{Run, dry_run};
use crate::answer::Refused;
use crate::apply::config::Force;
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
    /// The field manager; empty if the client names none.
    pub(crate) manager: String,
    /// What an apply does to fields that others own; nothing if the client does not say.
    pub(crate) force: Option<Force>,
}

/// Reads the options of a write; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
pub(crate) fn parse(query: &str, kind: &str) -> Result<WriteOptions, Refused> {
    let (options, errors) = read(query);
    if errors.is_empty() { Ok(options) } else { Err(Refused::invalid_options(kind, errors)) }
}

/// Reads the options of an apply, which must name its manager.
pub(crate) fn parse_apply(query: &str) -> Result<WriteOptions, Refused> {
    let (options, mut errors) = read(query);
    if options.manager.is_empty() {
        errors.insert(0, FieldError::required("fieldManager", "is required for apply patch"));
    }
    if errors.is_empty() { Ok(options) } else { Err(Refused::invalid_options("PatchOptions", errors)) }
}

fn read(query: &str) -> (WriteOptions, Vec<FieldError>) {
    let (mut dry, mut validation, mut manager, mut force) = (Vec::new(), None, None, None);
    for (key, value) in pairs(query) {
        match key.as_str() {
            "dryRun" => dry.push(value),
            "fieldManager" => {
                manager.get_or_insert(value);
            }
            "fieldValidation" => {
                validation.get_or_insert(value);
            }
            "force" => {
                let no = value == "0" || value.eq_ignore_ascii_case("false");
                force.get_or_insert(if no { Force::No } else { Force::Yes });
            }
            _ => {}
        }
    }
    let manager = manager.unwrap_or_default();
    let mut errors = check_manager(&manager);
    let run = dry_run(dry.iter().map(String::as_str), &mut errors);
    let validation = match validation.unwrap_or_default().as_str() {
        "" | "Warn" => FieldValidation::Warn,
        "Ignore" => FieldValidation::Ignore,
        "Strict" => FieldValidation::Strict,
        other => {
            let supported = ["", "Ignore", "Strict", "Warn"];
            errors.push(FieldError::not_supported("fieldValidation", other, &supported));
            FieldValidation::Warn
        }
    };
    (WriteOptions { run, validation, manager, force }, errors)
}

/// The rules for a manager's name: short, and of characters that can be printed.
fn check_manager(manager: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if manager.len() > FIELD_MANAGER_BYTES_MAX {
        errors.push(FieldError::too_long("fieldManager", FIELD_MANAGER_BYTES_MAX));
    }
    for (at, c) in manager.char_indices().filter(|(_, c)| !is_printable(*c)) {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
        errors.push(FieldError::invalid("fieldManager", manager, why));
    }
    errors
}

/// What a client calls itself, as a manager: its user agent up to the first slash.
pub(crate) fn manager_of_agent(agent: &str) -> String {
    let mut manager = String::new();
    for c in agent.split('/').next().unwrap_or("").chars().filter(|c| is_printable(*c)) {
        if manager.len() + c.len_utf8() > FIELD_MANAGER_BYTES_MAX {
            break;
        }
        manager.push(c);
    }
    manager
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str) -> String {
        let message = |refused: Refused| refused.json().get("message").and_then(|m| m.as_str()).map(str::to_owned);
        parse(query, "CreateOptions").err().and_then(message).unwrap_or_default()
    }

    #[test]
    fn options_are_read() {
        let read = |query: &str| parse(query, "CreateOptions").map(|o| (o.run, o.validation)).unwrap();
        assert_eq!(read(""), (Run::Real, FieldValidation::Warn));
        assert_eq!(read("dryRun=All&fieldValidation=Strict"), (Run::Dry, FieldValidation::Strict));
        assert_eq!(read("fieldValidation=Ignore&fieldManager=me"), (Run::Real, FieldValidation::Ignore));
    }

    #[test]
    fn options_that_make_no_sense_are_all_told() {
        expect_test::expect![[r#"CreateOptions.meta.k8s.io "" is invalid: [fieldManager: Invalid value: "a\a": invalid character U+0007 (at position 1), dryRun: Unsupported value: ["Some"]: supported values: "All", fieldValidation: Unsupported value: "Foo": supported values: "", "Ignore", "Strict", "Warn"]"#]]
        .assert_eq(&refused("fieldValidation=Foo&dryRun=Some&fieldManager=a%07"));
        assert_eq!(
            refused("dryRun="),
            r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: [""]: supported values: "All""#
        );
    }

    #[test]
    fn a_client_without_a_manager_is_called_after_its_program() {
        for (agent, manager) in [
            ("kubectl/v1.32.0 (linux/amd64) kubernetes/1", "kubectl"),
            ("curl", "curl"),
            ("a b\u{7}\u{a0}c/1", "a bc"),
            ("/1", ""),
            (&"é".repeat(100), &"é".repeat(64)),
        ] {
            assert_eq!(manager_of_agent(agent), manager);
        }
    }

    #[test]
    fn the_first_of_two_options_counts() {
        let options =
            parse("fieldManager=a&fieldManager=b&fieldValidation=Ignore&fieldValidation=x&force=0", "PatchOptions");
        let options = options.unwrap();
        assert_eq!((options.manager.as_str(), options.validation), ("a", FieldValidation::Ignore));
        assert_eq!(options.force, Some(Force::No));
        assert!(parse_apply("fieldManager=").is_err() && parse_apply("fieldManager=a&force").is_ok());
    }
}
