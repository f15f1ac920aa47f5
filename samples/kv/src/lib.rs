//! The part of kv that needs no socket: how it keeps what it is given, and how it reads a request.
//!
//! It is apart from the program so that it is tested where there is a debugger.

pub mod frame;
pub mod request;
pub mod store;

#[cfg(test)]
mod tests;
