//! Reads the registries file: `--private-registry`, or `registries.yaml` in the data directory if there is one.

use std::io::ErrorKind;

use anyhow::Context;
use coracle_runtime::images::pull::{Registries, RegistriesFile};

use crate::options::Settings;

/// The name that k3s made known.
const FILE_NAME: &str = "registries.yaml";

/// The registries; none but those that images name, if there is no file.
pub(super) fn read(settings: &Settings) -> anyhow::Result<Registries> {
    let (path, named) = match &settings.private_registry {
        Some(path) => (path.clone(), true),
        None => (settings.data_dir.join(FILE_NAME), false),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !named => return Ok(Registries::default()),
        Err(error) => return Err(error).with_context(|| format!("--private-registry {}", path.display())),
    };
    let what = || format!("the registries file {}", path.display());
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Registries::default());
    }
    let file: RegistriesFile = serde_saphyr::from_str(&text).with_context(what)?;
    Registries::build(file).with_context(what)
}
