//! What a filled volume holds: paths, contents and modes, from the objects that it names.
//!
//! Pure. A path that would lead out of the volume is refused.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ServiceAccountTokenProjection, Volume, VolumeProjection,
};

use super::VolumeError;
use crate::downward::Facts;
use crate::sources::{Fetched, Source};
use crate::tokens::Asked;

/// The mode of a file for which nobody says otherwise (Kubernetes' default).
const MODE: u32 = 0o644;

/// A file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
}

/// The files of a volume by their relative paths.
pub(super) type Payload = BTreeMap<String, File>;

/// The objects that a volume is filled from.
pub(super) fn references(volume: &Volume) -> Vec<Source> {
    parts(volume).into_iter().filter_map(|p| p.source).collect()
}

/// The tokens that a volume holds.
pub(super) fn tokens(volume: &Volume) -> Vec<Asked> {
    parts(volume).into_iter().filter_map(|p| p.token).map(Asked::of).collect()
}

/// One source of a volume.
struct Part<'a> {
    source: Option<Source>,
    items: &'a [KeyToPath],
    fields: &'a [DownwardAPIVolumeFile],
    token: Option<&'a ServiceAccountTokenProjection>,
    optional: bool,
}

impl Part<'_> {
    const EMPTY: Self = Self { source: None, items: &[], fields: &[], token: None, optional: false };
}

fn object(source: Source, items: &Option<Vec<KeyToPath>>, optional: Option<bool>) -> Part<'_> {
    Part { source: Some(source), items: slice(items), optional: optional == Some(true), ..Part::EMPTY }
}

fn parts(volume: &Volume) -> Vec<Part<'_>> {
    let mut all = Vec::new();
    if let Some(v) = &volume.config_map {
        all.push(object(Source::ConfigMap(v.name.clone()), &v.items, v.optional));
    }
    if let Some(v) = &volume.secret {
        let name = v.secret_name.clone().unwrap_or_default();
        all.push(object(Source::Secret(name), &v.items, v.optional));
    }
    if let Some(v) = &volume.downward_api {
        all.push(Part { fields: slice(&v.items), ..Part::EMPTY });
    }
    let sources = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
    all.extend(sources.filter_map(projected));
    all
}

fn projected(source: &VolumeProjection) -> Option<Part<'_>> {
    if let Some(v) = &source.config_map {
        return Some(object(Source::ConfigMap(v.name.clone()), &v.items, v.optional));
    }
    if let Some(v) = &source.secret {
        return Some(object(Source::Secret(v.name.clone()), &v.items, v.optional));
    }
    if let Some(v) = &source.service_account_token {
        return Some(Part { token: Some(v), ..Part::EMPTY });
    }
    let fields = source.downward_api.as_ref()?;
    Some(Part { fields: slice(&fields.items), ..Part::EMPTY })
}

fn slice<T>(list: &Option<Vec<T>>) -> &[T] {
    list.as_deref().unwrap_or_default()
}

fn default_mode(volume: &Volume) -> u32 {
    let of = |m: Option<i32>| m.and_then(|m| u32::try_from(m).ok());
    let modes = [
        volume.config_map.as_ref().and_then(|v| v.default_mode),
        volume.secret.as_ref().and_then(|v| v.default_mode),
        volume.downward_api.as_ref().and_then(|v| v.default_mode),
        volume.projected.as_ref().and_then(|v| v.default_mode),
    ];
    modes.into_iter().find_map(of).unwrap_or(MODE)
}

/// The files of a volume.
pub(super) fn payload(volume: &Volume, facts: &Facts<'_>, fetched: &Fetched) -> Result<Payload, VolumeError> {
    let mut files = Payload::new();
    let default = default_mode(volume);
    for part in parts(volume) {
        if let Some(source) = &part.source {
            add_object(&mut files, volume, &part, source, default, fetched)?;
        }
        if let Some(source) = part.token {
            let missing =
                || VolumeError::Missing { volume: volume.name.clone(), what: "failed to fetch token".to_owned() };
            let token = fetched.token(&Asked::of(source)).ok_or_else(missing)?;
            add(&mut files, volume, &source.path, token.as_bytes().to_vec(), None, default)?;
        }
        for item in part.fields {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(selector), _) => facts.field(selector),
                (None, Some(selector)) => facts.resource(selector, None),
                (None, None) => Ok(String::new()),
            };
            let value = value.map_err(|source| VolumeError::Field { volume: volume.name.clone(), source })?;
            add(&mut files, volume, &item.path, value.into_bytes(), item.mode, default)?;
        }
    }
    Ok(files)
}

fn add_object(
    files: &mut Payload,
    volume: &Volume,
    part: &Part<'_>,
    source: &Source,
    default: u32,
    fetched: &Fetched,
) -> Result<(), VolumeError> {
    let missing = |what| VolumeError::Missing { volume: volume.name.clone(), what };
    let Some(data) = fetched.get(source) else {
        return if part.optional { Ok(()) } else { Err(missing(source.not_found())) };
    };
    if part.items.is_empty() {
        for (key, bytes) in data {
            add(files, volume, key, bytes.clone(), None, default)?;
        }
        return Ok(());
    }
    for item in part.items {
        match data.get(&item.key) {
            Some(bytes) => add(files, volume, &item.path, bytes.clone(), item.mode, default)?,
            None if part.optional => {}
            None => {
                return Err(missing(match source {
                    Source::ConfigMap(_) => format!("configmap references non-existent config key: {}", item.key),
                    Source::Secret(_) | Source::Claim(_) => {
                        format!("references non-existent secret key: {}", item.key)
                    }
                }));
            }
        }
    }
    Ok(())
}

fn add(
    files: &mut Payload,
    volume: &Volume,
    path: &str,
    bytes: Vec<u8>,
    mode: Option<i32>,
    default: u32,
) -> Result<(), VolumeError> {
    if !is_inside(path) || path.starts_with("..") {
        return Err(VolumeError::Path { volume: volume.name.clone(), path: path.to_owned() });
    }
    let mode = mode.and_then(|m| u32::try_from(m).ok()).unwrap_or(default);
    files.insert(path.to_owned(), File { bytes, mode });
    Ok(())
}

/// Whether a path stays inside the directory that it is relative to.
pub(super) fn is_inside(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
