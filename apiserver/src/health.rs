//! Whether the server lives, and whether it is ready to work: `/healthz`, `/livez`, `/readyz`, and each of their checks
//! below them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, StatusCode};

use crate::answer::text;
use crate::chain::dispatch::no_such_page;
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

/// One thing that must be well. Names are upstream's where it has one: tools ask for them.
#[derive(Debug, Clone, Copy)]
struct Check {
    name: &'static str,
    passes: fn(&Machine) -> bool,
}

const PING: Check = Check { name: "ping", passes: |_| true };
const LOG: Check = Check { name: "log", passes: |_| true };
/// The store; upstream calls it by what it is there. A store that cannot write stops the server.
const STORE: Check = Check { name: "etcd", passes: |_| true };
const STORE_READY: Check = Check { name: "etcd-readiness", passes: |_| true };
const BOOTSTRAP: Check = Check {
    name: "poststarthook/start-system-namespaces-controller",
    passes: |machine| machine.health.bootstrapped.load(Ordering::Acquire),
};
const SHUTDOWN: Check = Check { name: "shutdown", passes: |machine| !machine.stopping.is_cancelled() };

const LIVE: &[Check] = &[PING, LOG, STORE, BOOTSTRAP];
const READY: &[Check] = &[PING, LOG, STORE, STORE_READY, BOOTSTRAP, SHUTDOWN];

/// The paths under which health is told, and what is checked there.
const ENDPOINTS: [(&str, &[Check]); 3] = [("healthz", LIVE), ("livez", LIVE), ("readyz", READY)];

/// All paths: of the endpoints and of each check.
pub(crate) fn paths() -> impl Iterator<Item = String> {
    ENDPOINTS.into_iter().flat_map(|(endpoint, checks)| {
        let each = checks.iter().map(move |check| format!("/{endpoint}/{}", check.name));
        std::iter::once(format!("/{endpoint}")).chain(each)
    })
}

/// `/healthz` and the others: all checks but those that the client leaves out.
pub(crate) async fn all(State(machine): State<Arc<Machine>>, uri: http::Uri, RawQuery(query): RawQuery) -> Response {
    let name = uri.path().trim_matches('/');
    let Some((_, checks)) = ENDPOINTS.iter().find(|(endpoint, _)| *endpoint == name) else { return no_such_page() };
    plain(report(name, checks, query.as_deref().unwrap_or(""), &machine))
}

/// `/readyz/etcd`: one check.
pub(crate) async fn one(State(machine): State<Arc<Machine>>, uri: http::Uri) -> Response {
    let (endpoint, check) = uri.path().trim_matches('/').split_once('/').unwrap_or_default();
    let checks = ENDPOINTS.iter().find(|(name, _)| *name == endpoint).map(|(_, checks)| *checks);
    let Some(check) = checks.into_iter().flatten().find(|c| c.name == check) else { return no_such_page() };
    plain(if (check.passes)(&machine) {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {} failed\n", check.name))
    })
}

fn report(name: &str, checks: &[Check], query: &str, machine: &Machine) -> (StatusCode, String) {
    let excluded: BTreeSet<String> = pairs(query).filter(|(key, _)| key == "exclude").map(|(_, check)| check).collect();
    let mut lines = String::new();
    let mut well = true;
    for check in checks {
        let line = if excluded.contains(check.name) {
            format!("[+]{} excluded: ok", check.name)
        } else if (check.passes)(machine) {
            format!("[+]{} ok", check.name)
        } else {
            well = false;
            format!("[-]{} failed: reason withheld", check.name)
        };
        let _ = writeln!(lines, "{line}");
    }
    let unknown = excluded.iter().filter(|name| checks.iter().all(|check| check.name != name.as_str()));
    let unknown: Vec<String> = unknown.map(|name| format!("{name:?}")).collect();
    if !unknown.is_empty() {
        let _ = writeln!(lines, "warn: some health checks cannot be excluded: no matches for {}", unknown.join(","));
    }
    if !well {
        return (StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{name} check failed\n"));
    }
    let verbose = pairs(query).any(|(key, _)| key == "verbose");
    (StatusCode::OK, if verbose { format!("{lines}{name} check passed\n") } else { "ok".to_owned() })
}

fn plain((code, said): (StatusCode, String)) -> Response {
    let mut response = text(code, said);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
