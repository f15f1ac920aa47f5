//! The Kubernetes REST API over a store: a registry of kinds, and one generic machinery that knows rows, never kinds.
//!
//! Reading order: how a server is built, the chain that a request walks, what the verbs do, what they work with.

mod authenticator;
mod authorizer;
mod config;
mod fairness;
mod identity;
mod server;

mod bootstrap;
mod expiry;
mod pki;
mod tls;
mod tokens;

mod chain;
mod request;

mod reviews;
mod subresource;
mod usage;
mod verbs;

mod answer;
mod body;
mod machine;
mod object;
mod options;
mod policy;
mod proto;

mod discovery;
mod health;
mod metrics;

pub mod admit;
mod apply;
pub mod patch;
pub mod registry;
pub mod scale;
pub mod schema;
pub mod store;

pub use admit::plugins::PluginError;
pub use authenticator::token_file::{ParseError, TokenFileError};
pub use authorizer::{AuthorizationMode, ModeError};
pub use config::{Config, StoreKind};
pub use identity::{Extra, Identity};
pub use pki::PkiError;
pub use server::{Apiserver, BuildError, Mounts};
pub use tls::TlsError;
