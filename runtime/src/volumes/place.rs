//! Where a volume is on this machine, and what guests may do there.

use std::collections::BTreeMap;
use std::path::PathBuf;

use coracle_wasm::Access;

/// How long a volume lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// As long as its pod.
    Ephemeral,
    /// Longer.
    Persistent,
}

/// Where a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A directory of the node's own, or one that its administrator allows.
    pub root: PathBuf,
    /// The way from there, on which others than the node may have put links; empty if there is none.
    pub beneath: PathBuf,
    /// What all containers may do at most.
    pub access: Access,
    /// How long it lasts.
    pub keeps: Keeps,
}

/// The volumes of a pod by their names.
pub type Places = BTreeMap<String, Place>;
