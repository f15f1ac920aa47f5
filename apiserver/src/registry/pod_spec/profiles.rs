//! The rules for seccomp and AppArmor profiles, in their fields and in the annotations that came before them.

use std::collections::BTreeMap;

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{AppArmorProfile, PodSpec, SeccompProfile};

use super::visit;
use super::volumes::relative;
use crate::registry::check::Errors;
use crate::registry::check::path::Path;

/// The annotation of a pod's seccomp profile.
pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// The beginning of the annotation of a container's seccomp profile; its name follows.
pub(super) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// The beginning of the annotation of a container's AppArmor profile; its name follows.
pub(in crate::registry) const APP_ARMOR_CONTAINER: &str = "container.apparmor.security.beta.kubernetes.io/";

const LOCALHOST: &str = "Localhost";
const RUNTIME_DEFAULT: &str = "RuntimeDefault";
const UNCONFINED: &str = "Unconfined";
const TYPES: [&str; 3] = [LOCALHOST, RUNTIME_DEFAULT, UNCONFINED];

/// How annotations name the types.
const OLD_RUNTIME_DEFAULT: &str = "runtime/default";
const OLD_DOCKER_DEFAULT: &str = "docker/default";
const OLD_UNCONFINED: &str = "unconfined";
const OLD_LOCALHOST: &str = "localhost/";

/// The longest path that the kernel takes, without its end.
const LOCALHOST_PROFILE_MAX: usize = 4095;

/// Annotations of an object.
pub(super) type Annotations = BTreeMap<String, String>;

/// The rules for a seccomp profile.
pub(super) fn validate_seccomp(errors: &mut Errors, path: Path<'_>, profile: Option<&SeccompProfile>) {
    let Some(profile) = profile else { return };
    match profile.type_.as_str() {
        "" => errors.push(FieldError::required(path.field("type"), "type is required when seccompProfile is set")),
        other if !TYPES.contains(&other) => errors.push(FieldError::not_supported(path.field("type"), other, &TYPES)),
        _ => {}
    }
    let place = path.field("localhostProfile");
    match (profile.type_ == LOCALHOST, profile.localhost_profile.as_deref()) {
        (true, None) => errors.push(FieldError::required(place, "must be set when seccomp type is Localhost")),
        (true, Some(name)) => relative(errors, place, name),
        (false, Some(_)) => {
            let shown = serde_json::to_value(profile).unwrap_or_default();
            errors.push(FieldError::invalid(place, shown, "can only be set when seccomp type is Localhost"));
        }
        (false, None) => {}
    }
}

/// The rules for an AppArmor profile.
pub(super) fn validate_app_armor(errors: &mut Errors, path: Path<'_>, profile: Option<&AppArmorProfile>) {
    let Some(profile) = profile else { return };
    let place = path.field("localhostProfile");
    match (profile.type_.as_str(), profile.localhost_profile.as_deref()) {
        (LOCALHOST, None | Some("")) => {
            errors.push(FieldError::required(place, "must be set when AppArmor type is Localhost"));
        }
        (LOCALHOST, Some(name)) => {
            if name.trim() != name {
                errors.push(FieldError::invalid(place, name, "must not be padded with whitespace"));
            }
            if name.len() > LOCALHOST_PROFILE_MAX {
                errors.push(FieldError::too_long(place, LOCALHOST_PROFILE_MAX));
            }
        }
        (RUNTIME_DEFAULT | UNCONFINED, Some(name)) => {
            errors.push(FieldError::invalid(place, name, "can only be set when AppArmor type is Localhost"));
        }
        (RUNTIME_DEFAULT | UNCONFINED, None) => {}
        ("", _) => {
            errors.push(FieldError::required(path.field("type"), "type is required when appArmorProfile is set"));
        }
        (other, _) => errors.push(FieldError::not_supported(path.field("type"), other, &TYPES)),
    }
}

/// The rules for the annotations.
pub(super) fn validate_annotations(errors: &mut Errors, path: Path<'_>, annotations: &Annotations, spec: &PodSpec) {
    let seccomp = |key: &str| key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER);
    for (key, value) in annotations.iter().filter(|(key, _)| seccomp(key)) {
        let place = path.field(key);
        match value.as_str() {
            OLD_RUNTIME_DEFAULT | OLD_DOCKER_DEFAULT | OLD_UNCONFINED => {}
            value => match value.strip_prefix(OLD_LOCALHOST) {
                Some(name) => relative(errors, place, name),
                None => errors.push(FieldError::invalid(place, value, "must be a valid seccomp profile")),
            },
        }
    }
    for (key, value) in annotations {
        let Some(name) = key.strip_prefix(APP_ARMOR_CONTAINER) else { continue };
        let place = path.key(key);
        let mut found = false;
        visit(spec, path, |container, _| found |= container.name == name);
        if !found {
            errors.push(FieldError::invalid(place, name, "container not found"));
        }
        let known = matches!(value.as_str(), "" | OLD_RUNTIME_DEFAULT | OLD_UNCONFINED);
        if !known && !value.starts_with(OLD_LOCALHOST) {
            let detail = format!("invalid AppArmor profile name: {value:?}");
            errors.push(FieldError::invalid(place, value.as_str(), detail));
        }
    }
}

/// An annotation and a field that say the same thing must agree. `path` is that of the spec.
pub(super) fn validate_agreement(errors: &mut Errors, path: Path<'_>, annotations: &Annotations, spec: &PodSpec) {
    if annotations.is_empty() {
        return;
    }
    let context = spec.security_context.as_ref();
    if let (Some(value), Some(profile)) =
        (annotations.get(SECCOMP_POD), context.and_then(|c| c.seccomp_profile.as_ref()))
    {
        let path = path.field("securityContext");
        agree(errors, path.field("seccompProfile"), value, profile.into());
    }
    visit(spec, path, |container, path| {
        let own = container.security_context.as_ref().and_then(|c| c.seccomp_profile.as_ref());
        if let (Some(value), Some(profile)) = (annotations.get(&format!("{SECCOMP_CONTAINER}{}", container.name)), own)
        {
            let path = path.field("securityContext");
            agree(errors, path.field("seccompProfile"), value, profile.into());
        }
    });
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    let of_pod = context.and_then(|c| c.app_armor_profile.as_ref());
    visit(spec, path, |container, path| {
        let own = container.security_context.as_ref().and_then(|c| c.app_armor_profile.as_ref());
        let value = annotations.get(&format!("{APP_ARMOR_CONTAINER}{}", container.name));
        if let (Some(value), Some(profile)) = (value, own.or(of_pod)) {
            let path = path.field("securityContext");
            agree(errors, path.field("appArmorProfile"), value, profile.into());
        }
    });
}

/// What the two kinds of profile have in common.
struct Profile<'a> {
    name: &'static str,
    type_: &'a str,
    localhost: Option<&'a str>,
    defaults: &'static [&'static str],
}

impl<'a> From<&'a SeccompProfile> for Profile<'a> {
    fn from(p: &'a SeccompProfile) -> Self {
        let defaults = &[OLD_RUNTIME_DEFAULT, OLD_DOCKER_DEFAULT];
        Self { name: "seccomp", type_: &p.type_, localhost: p.localhost_profile.as_deref(), defaults }
    }
}

impl<'a> From<&'a AppArmorProfile> for Profile<'a> {
    fn from(p: &'a AppArmorProfile) -> Self {
        let defaults = &[OLD_RUNTIME_DEFAULT];
        Self { name: "apparmor", type_: &p.type_, localhost: p.localhost_profile.as_deref(), defaults }
    }
}

fn agree(errors: &mut Errors, path: Path<'_>, value: &str, profile: Profile<'_>) {
    let localhost = value.strip_prefix(OLD_LOCALHOST);
    let (types, names) = match profile.type_ {
        UNCONFINED => (value == OLD_UNCONFINED, true),
        RUNTIME_DEFAULT => (profile.defaults.contains(&value), true),
        LOCALHOST => (localhost.is_some(), localhost == profile.localhost),
        _ => (true, true),
    };
    let name = profile.name;
    if !types {
        let detail = format!("{name} type in annotation and field must match");
        errors.push(FieldError::forbidden(path.field("type"), detail));
    } else if !names {
        let detail = format!("{name} profile in annotation and field must match");
        errors.push(FieldError::forbidden(path.field("localhostProfile"), detail));
    }
}

/// The field that an AppArmor annotation stands for; nothing if it stands for none that is valid.
pub(in crate::registry) fn app_armor_of_annotation(value: &str) -> Option<AppArmorProfile> {
    let of = |type_: &str, name: Option<&str>| AppArmorProfile {
        type_: type_.to_owned(),
        localhost_profile: name.map(str::to_owned),
    };
    match value {
        OLD_RUNTIME_DEFAULT => Some(of(RUNTIME_DEFAULT, None)),
        OLD_UNCONFINED => Some(of(UNCONFINED, None)),
        value => {
            let profile = of(LOCALHOST, Some(value.strip_prefix(OLD_LOCALHOST)?));
            let mut errors = Vec::new();
            validate_app_armor(&mut errors, Path::from(""), Some(&profile));
            errors.is_empty().then_some(profile)
        }
    }
}
