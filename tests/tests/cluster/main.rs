//! Whole clusters, driven from outside: what a person does, and what happens.
//!
//! Invariant: each test has a cluster of its own and tells one story; none looks inside the process.
//! What needs the real kubectl is in `kubectl`, so that it can be left out where there is none.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all of this is test code: a broken assumption ends the test, with a message"
)]

mod access;
mod addresses;
mod claims;
mod clients;
mod durability;
mod evictions;
mod guests;
mod heads;
mod hooks;
mod http;
mod images;
mod ingress;
mod kube_rs;
mod kubectl;
mod kv;
mod lifecycle;
mod metrics;
mod names;
mod neighbours;
mod network;
mod policies;
mod probes;
mod protocols;
mod proxies;
mod pull;
mod refusals;
mod run;
mod services;
mod streams;
mod terminal;
mod tokens;
mod toolbox;
mod toolchains;
mod verbs;
mod volumes;
mod zero;
