//! What the benches share: medians, a table, a load of many clients, and what the kernel says about a process.
//!
//! Invariant: a figure is never printed without how it was taken; each bench says so at its top.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench that cannot measure ends with a message; nobody's data depends on it"
)]

pub mod load;
pub mod objects;
pub mod process;
pub mod spread;
pub mod table;

/// An API server and nothing else: no controllers, so no accounts for pods either.
pub const API_ALONE: &str =
    "--disable=node,scheduler,controllers,dns,network --disable-admission-plugins=ServiceAccount";

pub use load::{Ask, Target, load};
pub use process::Process;
pub use spread::Spread;
pub use table::Table;
