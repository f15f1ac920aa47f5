//! The rules for what a pod asks of Windows.

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::WindowsSecurityContextOptions;

use crate::registry::check::Errors;
use crate::registry::check::names::{require, subdomain};
use crate::registry::check::path::Path;

/// Credential specifications are some hundred bytes long.
const CREDENTIAL_SPEC_KIB_MAX: usize = 64;
/// The longest domain of a user.
const DOMAIN_MAX: usize = 256;
/// The longest name of a user.
const USER_MAX: usize = 104;

/// The rules for the options.
pub(super) fn validate(errors: &mut Errors, path: Path<'_>, options: Option<&WindowsSecurityContextOptions>) {
    let Some(options) = options else { return };
    if let Some(name) = &options.gmsa_credential_spec_name {
        require(errors, path.field("gmsaCredentialSpecName"), name, subdomain);
    }
    if let Some(spec) = &options.gmsa_credential_spec {
        let place = path.field("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.push(FieldError::invalid(place, "", "gmsaCredentialSpec cannot be an empty string"));
        } else if spec.len() > CREDENTIAL_SPEC_KIB_MAX * 1024 {
            let detail = format!("gmsaCredentialSpec size must be under {CREDENTIAL_SPEC_KIB_MAX} KiB");
            errors.push(FieldError::invalid(place, spec.as_str(), detail));
        }
    }
    if let Some(name) = &options.run_as_user_name {
        require(errors, path.field("runAsUserName"), name, user_name);
    }
}

/// A user of Windows: `user` or `domain\user`.
fn user_name(value: &str) -> Vec<String> {
    let told = |what: &str| vec![format!("runAsUserName{what}")];
    if value.is_empty() {
        return told(" cannot be an empty string");
    }
    if value.chars().any(|c| c.is_ascii_control()) {
        return told(" cannot contain control characters");
    }
    let (domain, user) = match value.split('\\').collect::<Vec<_>>().as_slice() {
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return told(" cannot contain more than one backslash"),
    };
    let rules = [
        (
            domain.is_none_or(|d| d.len() < DOMAIN_MAX),
            format!("'s Domain length must be under {DOMAIN_MAX} characters"),
        ),
        (
            domain.is_none_or(|d| is_net_bios(d) || is_dns(d)),
            "'s Domain doesn't match the NetBios nor the DNS format".to_owned(),
        ),
        (!user.is_empty(), "'s User cannot be empty".to_owned()),
        (user.len() <= USER_MAX, format!("'s User length must not be longer than {USER_MAX} characters")),
        (
            user.is_empty() || !user.chars().all(|c| matches!(c, '.' | ' ')),
            "'s User cannot contain only periods or spaces".to_owned(),
        ),
        (
            !user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']),
            r#"'s User cannot contain the following characters: "/\:;|=,+*?<>@[]"#.to_owned(),
        ),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| format!("runAsUserName{what}")).collect()
}

fn is_net_bios(domain: &str) -> bool {
    let length = domain.chars().count();
    (1..=15).contains(&length)
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

fn is_dns(domain: &str) -> bool {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    domain.split('.').all(label)
}
