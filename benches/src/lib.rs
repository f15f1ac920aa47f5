//! What the benches share: medians, a table, and what the kernel says about a process.
//!
//! Invariant: a figure is never printed without how it was taken; each bench says so at its top.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench that cannot measure ends with a message; nobody's data depends on it"
)]

pub mod process;
pub mod spread;
pub mod table;

pub use process::Process;
pub use spread::Spread;
pub use table::Table;
