//! The vocabulary that all parts of Coracle share: names, revisions, failures, limits, selectors,
//! quantities, and the few traits by which two components meet. It does no I/O and imports none of ours.
//!
//! Reading order: what things are called, what can go wrong, then where components meet.

pub mod names;
pub mod revision;
pub mod wellknown;

pub mod quantity;
pub mod quoted;
pub mod selector;

pub mod node_selector;
pub mod storage;

pub mod exposition;
pub mod failure;
pub mod field;
pub mod limits;
pub mod listed;

pub mod clock;
pub mod disruption;
pub mod duration;
pub mod event;
pub mod meet;
pub mod outside;
pub mod tasks;
