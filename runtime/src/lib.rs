//! The node agent: pods as WebAssembly instances.

pub mod images;
pub mod lifecycle;
pub mod wasm;
