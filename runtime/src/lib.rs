//! The node agent: pods as WebAssembly instances.

pub mod images;
