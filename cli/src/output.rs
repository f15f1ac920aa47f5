//! What a person sees: answers on standard output, logs and errors on standard error. Nothing else in Coracle prints.

use std::io::{IsTerminal, Write};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Writes a line to standard output. A closed pipe (`coracle get pods | head`) ends the process quietly, as for any tool.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes bytes to standard output as they are.
pub(crate) fn bytes(data: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(data).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes a line to standard error.
pub(crate) fn error(text: &str) {
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Asks a person at a terminal something; the answer is typed behind it.
pub(crate) fn ask(question: &str) {
    let mut err = std::io::stderr().lock();
    // Who cannot be asked will not answer either.
    let _ = write!(err, "{question}").and_then(|()| err.flush());
}

/// Shows how far something long has come, on a terminal only: each call replaces the line before.
pub(crate) fn progress(text: &str) {
    let mut err = std::io::stderr().lock();
    if err.is_terminal() {
        let _ = write!(err, "\r\u{1b}[K{text}").and_then(|()| err.flush());
    }
}

/// Ends the line of [`progress`].
pub(crate) fn progress_done() {
    progress("");
}

/// Sends the log to standard error, filtered.
pub(crate) fn log_to_stderr(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("--log {filter:?} is no filter; write for example --log=debug"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}
