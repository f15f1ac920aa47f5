//! One manifest of the store: its name, what it is made of, and how it came here.
//!
//! An entry stands in `index.json` as a descriptor with annotations, so that the store stays an OCI layout that other
//! tools read. When an image was last used is the time of its manifest's file: it changes often, and the index is
//! written only when an image comes or goes.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use coracle_api::names::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::manifest::{Content, Descriptor};
use super::name::Reference;

/// The name an image has here.
const NAME: &str = "org.opencontainers.image.ref.name";
/// How it came here.
const ORIGIN: &str = "dev.coracle.image.origin";
/// When it came here.
const ARRIVED: &str = "dev.coracle.image.arrived";

/// How an image came into the store, which decides whether it may be thrown away unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Somebody pushed it: it may be nowhere else, so it stays until somebody removes it.
    Pushed,
    /// It was pulled from a registry, and can be pulled again.
    Pulled,
}

/// One manifest in the index: an image by tag, or by its digest.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its name; nothing if it is known by its digest only.
    pub(super) reference: Option<Reference>,
    pub(super) digest: Digest,
    pub(super) media_type: String,
    /// The size of the manifest itself.
    pub(super) size: u64,
    pub(super) blobs: BTreeMap<Digest, u64>,
    /// The manifests that it lists, if it is an index.
    pub(super) manifests: Vec<Digest>,
    pub(super) content: Result<Content, String>,
    pub(super) origin: Origin,
    pub(super) arrived: Timestamp,
    /// When whoever made it says that it was made.
    pub(super) created: Option<Timestamp>,
    /// The manifest that it says something about (a signature, a bill of materials).
    pub(super) subject: Option<Digest>,
    /// What kind of thing it is, if it is no image to run.
    pub(super) artifact_type: Option<String>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Entry {
    /// The bytes of the manifest and of all it refers to.
    pub(super) fn total_size(&self) -> u64 {
        self.size + self.blobs.values().sum::<u64>()
    }

    /// As `index.json` has it.
    pub(super) fn to_index(&self) -> Value {
        let mut annotations = BTreeMap::from([(ARRIVED, self.arrived.to_string())]);
        if let Some(reference) = &self.reference {
            annotations.insert(NAME, reference.familiar());
        }
        if self.origin == Origin::Pulled {
            annotations.insert(ORIGIN, "pulled".to_owned());
        }
        json!({
            "mediaType": self.media_type,
            "digest": self.digest.as_str(),
            "size": self.size,
            "annotations": annotations,
        })
    }
}

/// What `index.json` says of a manifest.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) descriptor: Descriptor,
    pub(super) name: Option<String>,
    pub(super) origin: Origin,
    /// Nothing if another tool wrote the index.
    pub(super) arrived: Option<Timestamp>,
}

impl Line {
    pub(super) fn read(value: Value) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Annotated {
            #[serde(flatten)]
            descriptor: Descriptor,
            #[serde(default)]
            annotations: BTreeMap<String, String>,
        }
        let Annotated { descriptor, mut annotations } = serde_json::from_value(value)?;
        let pulled = annotations.get(ORIGIN).is_some_and(|origin| origin == "pulled");
        Ok(Self {
            descriptor,
            name: annotations.remove(NAME),
            origin: if pulled { Origin::Pulled } else { Origin::Pushed },
            arrived: annotations.get(ARRIVED).and_then(|t| t.parse().ok()),
        })
    }
}

/// When the manifest in this file was last used.
pub(super) fn last_used(manifest: &Path) -> Option<Timestamp> {
    std::fs::metadata(manifest).and_then(|m| m.modified()).ok()?.try_into().ok()
}

/// Keeps that the manifest in this file was used at `now`.
pub(super) fn keep_last_used(manifest: &Path, now: Timestamp) -> io::Result<()> {
    File::open(manifest)?.set_times(FileTimes::new().set_modified(SystemTime::from(now)))
}
