//! Image manifests: which blobs an image is made of, and which of them is the WebAssembly to run.
//!
//! Pure: it is given bytes, and a way to read other manifests for an index of several.

use std::collections::BTreeMap;

use coracle_api::names::Digest;
use jiff::Timestamp;
use serde::Deserialize;

/// The largest manifest accepted: what the OCI distribution specification asks registries for.
pub const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The media types of a layer that is WebAssembly: today's, then those of older tools.
pub const WASM_LAYER_TYPES: [&str; 3] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];

/// The media type of a manifest that names none.
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A blob as a manifest refers to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    #[serde(default)]
    pub(super) size: u64,
    /// In an index: what the manifest is for.
    #[serde(default)]
    pub(super) platform: Option<Platform>,
}

/// What a manifest of an index is for: `linux/amd64`, `wasip2/wasm`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) architecture: String,
}

impl Descriptor {
    /// What it is for, as people write it; its type if it does not say.
    pub(super) fn platform_name(&self) -> String {
        self.platform.as_ref().map_or_else(|| self.media_type.clone(), |p| format!("{}/{}", p.os, p.architecture))
    }
}

/// A manifest of one image, or an index of several.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What an image comes to, once its manifest is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) layer: Digest,
    pub(super) layer_size: u64,
}

impl Manifest {
    /// Reads a manifest.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|e| format!("the manifest is not an OCI image manifest: {e}"))
    }

    /// Its media type, which a registry must give back as it came: its own word, else that of who brought it.
    pub(super) fn media_type<'a>(&'a self, said: Option<&'a str>) -> &'a str {
        self.media_type.as_deref().or(said).unwrap_or(OCI_MANIFEST)
    }

    /// The image's config.
    pub(super) fn config(&self) -> Option<&Descriptor> {
        self.config.as_ref()
    }

    /// The manifest that this one says something about.
    pub(super) fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// What kind of thing this is: its own word, else the type of its config, as the specification has it.
    pub(super) fn artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref().or_else(|| self.config.as_ref().map(|c| c.media_type.as_str()))
    }

    /// What else is said about it.
    pub(super) fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// When it says that it was made.
    pub(super) fn created(&self) -> Option<Timestamp> {
        self.annotations.get("org.opencontainers.image.created")?.parse().ok()
    }

    /// The manifests that it refers to.
    pub(super) fn manifests(&self) -> &[Descriptor] {
        &self.manifests
    }

    /// The blobs that it refers to: its config and its layers.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.config.iter().chain(&self.layers)
    }

    /// Everything that it refers to.
    pub(super) fn references(&self) -> impl Iterator<Item = &Descriptor> {
        self.blobs().chain(&self.manifests)
    }

    /// The WebAssembly in it, or what was found in its place.
    pub(super) fn content(&self, read: &dyn Fn(&Descriptor) -> Result<Self, String>) -> Result<Content, String> {
        for nested in &self.manifests {
            if let Ok(content) = read(nested).and_then(|m| m.own_content()) {
                return Ok(content);
            }
        }
        self.own_content()
    }

    fn own_content(&self) -> Result<Content, String> {
        if let Some(layer) = self.layers.iter().find(|l| WASM_LAYER_TYPES.contains(&l.media_type.as_str())) {
            let digest = Digest::new(&*layer.digest).map_err(|e| e.to_string())?;
            return Ok(Content { layer: digest, layer_size: layer.size });
        }
        let found: Vec<&str> = self.references().map(|d| d.media_type.as_str()).collect();
        let of_linux = |kind: &&str| kind.contains("image.layer.") || kind.contains("image.rootfs.");
        Err(format!(
            "{}it has no layer of type application/wasm; it has: {}. Build a WebAssembly component and push that",
            if found.iter().any(of_linux) { "it is a container image for another system, such as Linux: " } else { "" },
            if found.is_empty() { "nothing".to_owned() } else { found.join(", ") }
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<u64, String> {
        Manifest::parse(json.as_bytes())?.content(&|_| Err("none".to_owned())).map(|c| c.layer_size)
    }

    #[test]
    fn each_wasm_media_type_is_found() {
        for media_type in WASM_LAYER_TYPES {
            let digest = "a".repeat(64);
            let json = format!(
                r#"{{"layers":[{{"mediaType":"text/plain","digest":"x","size":1}},
                   {{"mediaType":"{media_type}","digest":"sha256:{digest}","size":7}}]}}"#
            );
            assert_eq!(check(&json), Ok(7));
        }
    }

    #[test]
    fn an_image_of_linux_is_named_for_what_it_is() {
        let json = r#"{"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"x","size":1}]}"#;
        let why = check(json).unwrap_err();
        assert!(why.contains("vnd.oci.image.layer.v1.tar+gzip") && why.contains("such as Linux"), "{why}");
    }
}
