//! The Kubernetes REST API over a store: a registry of kinds, and one generic machinery that knows rows, never kinds.

pub mod admit;
pub mod patch;
pub mod registry;
pub mod scale;
pub mod schema;
pub mod store;
