//! The kinds of `storage.k8s.io`: what storage there is to ask for, who provides it, and where it is attached.

pub(super) mod capacity;
pub(super) mod class;
pub(super) mod driver;
pub(super) mod node;

pub(super) mod attachment;

/// The group of all of them.
const GROUP: &str = "storage.k8s.io";
