//! The harness of the cluster tests: a whole cluster as one process of the real binary, in a place of its own.
//!
//! Invariant: no process, socket or file outlives the test that made it, and any number of tests run side by side.
//! It knows nothing of the crates inside; it has what a person has: the binary, kubectl, the files and the network.
//!
//! Before it: `cargo build -p coracle` and `scripts/samples`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all of this is test code: a broken assumption ends the test, with a message"
)]

pub mod api;
pub mod block;
pub mod cluster;
pub mod dns;
pub mod http;
pub mod load;
pub mod log;
pub mod namespace;
pub mod paths;
pub mod registry;
pub mod said;
pub mod server;
pub mod stream;
pub mod terminal;
pub mod wait;

pub use api::Api;
pub use cluster::{Builder, Cluster};
pub use said::{Said, words};
pub use wait::eventually;
