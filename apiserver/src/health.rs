//! Whether the server lives, and whether it is ready to work: `/healthz`, `/livez`, `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;

use crate::answer::text;
use crate::machine::Machine;
use crate::request::pairs;

/// What has been reached so far.
#[derive(Debug, Default)]
pub(crate) struct Health {
    bootstrapped: AtomicBool,
}

impl Health {
    /// The first objects are there.
    pub(crate) fn bootstrapped(&self) {
        self.bootstrapped.store(true, Ordering::Release);
    }
}

/// Whether the server lives and works, in one: the old path.
pub(crate) async fn healthz(State(machine): State<Arc<Machine>>, RawQuery(query): RawQuery) -> Response {
    report("healthz", &[("ping", true), bootstrap(&machine)], query.as_deref())
}

/// Whether the server lives.
pub(crate) async fn livez(State(_): State<Arc<Machine>>, RawQuery(query): RawQuery) -> Response {
    report("livez", &[("ping", true)], query.as_deref())
}

/// Whether the server is ready: the store is open, the first objects are there, and it is not about to stop.
pub(crate) async fn readyz(State(machine): State<Arc<Machine>>, RawQuery(query): RawQuery) -> Response {
    let stays = ("shutdown", !machine.stopping.is_cancelled());
    report("readyz", &[("ping", true), ("store", true), bootstrap(&machine), stays], query.as_deref())
}

fn bootstrap(machine: &Machine) -> (&'static str, bool) {
    ("bootstrap", machine.health.bootstrapped.load(Ordering::Acquire))
}

fn report(name: &str, checks: &[(&str, bool)], query: Option<&str>) -> Response {
    let well = checks.iter().all(|(_, passed)| *passed);
    let verbose = pairs(query.unwrap_or("")).any(|(key, _)| key == "verbose");
    if well && !verbose {
        return text(StatusCode::OK, "ok");
    }
    let mut lines: String =
        checks.iter().map(|(check, passed)| format!("[{}]{check} {}\n", sign(*passed), word(*passed))).collect();
    lines += &format!("{name} check {}\n", if well { "passed" } else { "failed" });
    text(if well { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, lines)
}

fn sign(passed: bool) -> char {
    if passed { '+' } else { '-' }
}

fn word(passed: bool) -> &'static str {
    if passed { "ok" } else { "failed" }
}
