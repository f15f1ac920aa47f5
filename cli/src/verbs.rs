//! The kubectl-like verbs: the same names, flags and output as kubectl for what they cover.

pub(crate) mod apply;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod get;
pub(crate) mod image;
pub(crate) mod logs;
pub(crate) mod run;
pub(crate) mod scale;
pub(crate) mod version;

use std::future::Future;

use anyhow::Context;

/// Runs a verb on a small runtime of its own: a client needs one thread.
pub(crate) fn block_on(verb: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the async runtime does not start")?.block_on(verb)
}
