//! The rules for volumes whose files come from the API: ConfigMaps, Secrets, the pod itself, tokens, certificates.

use std::collections::BTreeSet;

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, DownwardAPIVolumeFile, KeyToPath, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};

use super::local_path;
use crate::registry::check::labels::selector;
use crate::registry::check::names::{require, subdomain};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, required, text};
use crate::registry::pod_spec::downward;

/// The shortest life of a projected token: ten minutes.
const TOKEN_SECONDS_MIN: i64 = 600;
/// The longest.
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

pub(super) fn secret(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(secret) = &volume.secret else { return };
    required(errors, path.field("secretName"), text(&secret.secret_name));
    mode(errors, path.field("defaultMode"), secret.default_mode);
    items(errors, path.field("items"), secret.items.as_deref());
}

pub(super) fn config_map(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(map) = &volume.config_map else { return };
    required(errors, path.field("name"), &map.name);
    mode(errors, path.field("defaultMode"), map.default_mode);
    items(errors, path.field("items"), map.items.as_deref());
}

pub(super) fn downward_api(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(downward) = &volume.downward_api else { return };
    mode(errors, path.field("defaultMode"), downward.default_mode);
    for item in downward.items.iter().flatten() {
        file(errors, path, item);
    }
}

fn mode(errors: &mut Errors, path: Path<'_>, mode: Option<i32>) {
    if let Some(mode) = mode.filter(|m| !(0..=0o777).contains(m)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path, mode, detail));
    }
}

fn items(errors: &mut Errors, path: Path<'_>, items: Option<&[KeyToPath]>) {
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        required(errors, path.field("key"), &item.key);
        required(errors, path.field("path"), &item.path);
        local_path(errors, path.field("path"), &item.path);
        mode(errors, path.field("mode"), item.mode);
    }
}

/// A file of the downward API. Upstream does not say which it is.
fn file(errors: &mut Errors, path: Path<'_>, file: &DownwardAPIVolumeFile) {
    required(errors, path.field("path"), &file.path);
    local_path(errors, path.field("path"), &file.path);
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), resource) => {
            downward::validate_field(errors, path.field("fieldRef"), field, &downward::FILES);
            if resource.is_some() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", detail));
            }
        }
        (None, Some(resource)) => {
            downward::validate_resource_of(errors, path.field("resourceFieldRef"), resource);
        }
        (None, None) => {
            errors.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required"));
        }
    }
    mode(errors, path.field("mode"), file.mode);
}

pub(super) fn projected(errors: &mut Errors, path: Path<'_>, volume: &Volume) {
    let Some(projected) = &volume.projected else { return };
    mode(errors, path.field("defaultMode"), projected.default_mode);
    let list = path.field("sources");
    let mut taken = BTreeSet::new();
    for (index, source) in projected.sources.iter().flatten().enumerate() {
        Projection { volume: path, path: list.index(index), taken: &mut taken }.validate(errors, source);
    }
}

/// A projection, its place, that of its volume, and the paths that others have taken.
struct Projection<'a, 'b> {
    volume: Path<'b>,
    path: Path<'b>,
    taken: &'b mut BTreeSet<&'a str>,
}

impl<'a> Projection<'a, '_> {
    fn validate(mut self, errors: &mut Errors, source: &'a VolumeProjection) {
        let path = self.path;
        if let Some(secret) = &source.secret {
            let path = path.field("secret");
            required(errors, path.field("name"), &secret.name);
            self.keys(errors, path.field("items"), secret.items.as_deref(), &secret.name);
        }
        if let Some(map) = &source.config_map {
            let path = path.field("configMap");
            required(errors, path.field("name"), &map.name);
            self.keys(errors, path.field("items"), map.items.as_deref(), &map.name);
        }
        if let Some(downward) = &source.downward_api {
            for item in downward.items.iter().flatten() {
                file(errors, path.field("downwardAPI"), item);
                if !item.path.is_empty() {
                    self.take(errors, &item.path, &item.path);
                }
            }
        }
        if let Some(projected) = &source.service_account_token {
            token(errors, path.field("serviceAccountToken"), self.volume, projected);
        }
        if let Some(bundle) = &source.cluster_trust_bundle {
            trust_bundle(errors, path.field("clusterTrustBundle"), bundle);
            self.take(errors, &bundle.path, &bundle.path);
        }
        let there = [
            source.secret.is_some(),
            source.config_map.is_some(),
            source.downward_api.is_some(),
            source.service_account_token.is_some(),
            source.cluster_trust_bundle.is_some(),
            source.pod_certificate.is_some(),
        ];
        if there.into_iter().filter(|there| *there).count() > 1 {
            errors.push(FieldError::forbidden(path, "may not specify more than 1 volume type per source"));
        }
    }

    fn keys(&mut self, errors: &mut Errors, path: Path<'_>, given: Option<&'a [KeyToPath]>, name: &str) {
        for (index, item) in given.unwrap_or_default().iter().enumerate() {
            let path = path.index(index);
            required(errors, path.field("key"), &item.key);
            required(errors, path.field("path"), &item.path);
            local_path(errors, path.field("path"), &item.path);
            mode(errors, path.field("mode"), item.mode);
            if !item.path.is_empty() {
                self.take(errors, &item.path, name);
            }
        }
    }

    fn take(&mut self, errors: &mut Errors, path: &'a str, shown: &str) {
        if !self.taken.insert(path) {
            errors.push(FieldError::invalid(self.volume, shown, "conflicting duplicate paths"));
        }
    }
}

fn token(errors: &mut Errors, path: Path<'_>, volume: Path<'_>, token: &ServiceAccountTokenProjection) {
    let seconds = token.expiration_seconds.unwrap_or(TOKEN_SECONDS_MIN);
    let detail = if seconds < TOKEN_SECONDS_MIN {
        Some("may not specify a duration less than 10 minutes")
    } else if seconds > TOKEN_SECONDS_MAX {
        Some("may not specify a duration larger than 2^32 seconds")
    } else {
        None
    };
    if let Some(detail) = detail {
        errors.push(FieldError::invalid(path.field("expirationSeconds"), seconds, detail));
    }
    // Upstream names the volume here.
    if token.path.is_empty() {
        errors.push(FieldError::required(volume.field("path"), ""));
    } else {
        local_path(errors, volume.field("path"), &token.path);
    }
}

fn trust_bundle(errors: &mut Errors, path: Path<'_>, bundle: &ClusterTrustBundleProjection) {
    match (&bundle.name, &bundle.signer_name) {
        (Some(_), Some(_)) => {
            let shown = serde_json::to_value(bundle).unwrap_or_default();
            errors.push(FieldError::invalid(path, shown, "only one of name and signerName may be used"));
        }
        (Some(name), None) => {
            let place = path.field("name");
            if name.is_empty() {
                errors.push(FieldError::required(place, "must be a valid object name"));
            }
            let own = name.rsplit_once(':').map_or(name.as_str(), |(_, own)| own);
            for rule in subdomain(own) {
                let detail = format!("not a valid clustertrustbundlename: {rule}");
                errors.push(FieldError::invalid(place, name.as_str(), detail));
            }
            if let Some(selected) = &bundle.label_selector {
                let shown = serde_json::to_value(selected).unwrap_or_default();
                let detail = "labelSelector must be unset if name is specified";
                errors.push(FieldError::invalid(path.field("labelSelector"), shown, detail));
            }
        }
        (None, Some(signer)) => {
            let place = path.field("signerName");
            if signer.is_empty() {
                errors.push(FieldError::required(place, "must be a valid signer name"));
            }
            require(errors, place, signer, signer_name);
            if let Some(selected) = &bundle.label_selector {
                selector(errors, path.field("labelSelector"), selected);
            }
        }
        (None, None) => errors.push(FieldError::required(path, "either name or signerName must be specified")),
    }
    required(errors, path.field("path"), &bundle.path);
    local_path(errors, path.field("path"), &bundle.path);
}

/// A signer: `example.com/name`.
fn signer_name(value: &str) -> Vec<String> {
    match value.split_once('/') {
        Some((domain, rest)) if !rest.is_empty() => subdomain(domain),
        _ => vec!["must be a fully qualified domain and path of the form 'example.com/signer-name'".to_owned()],
    }
}
