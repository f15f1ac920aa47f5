//! What the server has done, counted: `/metrics` in the text format that Prometheus reads, under upstream's names.
//!
//! Counting takes no lock. Labels come from closed sets (verbs, known resources, codes), so that clients cannot grow
//! them.

mod asked;
mod family;
mod process;

use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::answer::text;
use crate::discovery::version;
use crate::machine::Machine;
use crate::registry::Row;
use crate::store::Prefix;

pub(crate) use asked::Asked;
use coracle_api::exposition::Histogram;
use family::Family;

/// The bounds of the durations of requests, in seconds: upstream's.
const DURATIONS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// The bounds of the sizes of answers, in bytes: upstream's.
const SIZES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Group, version and resource.
type Place = (&'static str, &'static str, &'static str);

/// The counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    started: jiff::Timestamp,
    requests: Family<(Asked, u16), AtomicU64>,
    durations: Family<Asked, Histogram<{ DURATIONS.len() }>>,
    sizes: Family<Asked, Histogram<{ SIZES.len() }>>,
    terminations: Family<(Asked, u16), AtomicU64>,
    long_running: Family<Asked, AtomicI64>,
    watch_events: Family<Place, AtomicU64>,
    reading: AtomicI64,
    writing: AtomicI64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: coracle_api::clock::now(),
            requests: Family::default(),
            durations: Family::default(),
            sizes: Family::default(),
            terminations: Family::default(),
            long_running: Family::default(),
            watch_events: Family::default(),
            reading: AtomicI64::new(0),
            writing: AtomicI64::new(0),
        }
    }
}

impl Metrics {
    /// The events that watches of a kind have told.
    pub(crate) fn watch_events(&self, row: &Row) -> Arc<AtomicU64> {
        self.watch_events.of(&(row.group, row.version, row.plural))
    }

    /// A request was given up by the server, with this code.
    pub(crate) fn terminated(&self, asked: &Asked, code: StatusCode) {
        self.terminations.of(&(*asked, code.as_u16())).fetch_add(1, Ordering::Relaxed);
    }
}

/// How long a request may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// It is answered and done.
    Short,
    /// Its answer goes on: a watch, a stream.
    Long,
}

/// A request under way: counted while it is, and once when it ends.
pub(crate) struct Counted {
    machine: Arc<Machine>,
    asked: Asked,
    lasting: Lasting,
    started: Instant,
    /// How large the answer is so far.
    bytes: u64,
}

impl Counted {
    /// It begins.
    pub(crate) fn begin(machine: &Arc<Machine>, asked: Asked, lasting: Lasting) -> Self {
        let counted = Self { machine: Arc::clone(machine), asked, lasting, started: Instant::now(), bytes: 0 };
        counted.under_way(1);
        counted
    }

    /// It is answered: an answer that goes on keeps it under way until its end.
    pub(crate) fn answered(mut self, response: Response) -> Response {
        let (metrics, code) = (&self.machine.metrics, response.status());
        metrics.requests.of(&(self.asked, code.as_u16())).fetch_add(1, Ordering::Relaxed);
        // An eviction that has to wait for its budget is told so with the code of an overload.
        if code == StatusCode::TOO_MANY_REQUESTS && self.asked.subresource != "eviction" {
            metrics.terminated(&self.asked, code);
        }
        match http_body::Body::size_hint(response.body()).exact() {
            Some(size) => {
                self.bytes = size;
                response
            }
            None => response.map(|body| Body::new(Streamed { body, counted: self })),
        }
    }

    /// How long it has taken so far.
    pub(crate) fn took(&self) -> Duration {
        self.started.elapsed()
    }

    fn under_way(&self, by: i64) {
        let metrics = &self.machine.metrics;
        match (self.lasting, self.asked.verb) {
            (Lasting::Long, _) => metrics.long_running.of(&self.asked).fetch_add(by, Ordering::Relaxed),
            (Lasting::Short, "GET" | "LIST") => metrics.reading.fetch_add(by, Ordering::Relaxed),
            (Lasting::Short, _) => metrics.writing.fetch_add(by, Ordering::Relaxed),
        };
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.under_way(-1);
        let metrics = &self.machine.metrics;
        metrics.durations.of(&self.asked).took(&DURATIONS, self.took());
        if self.asked.reads() {
            metrics.sizes.of(&self.asked).measured(&SIZES, self.bytes);
        }
    }
}

/// An answer that goes on, and with it the request.
struct Streamed {
    body: Body,
    counted: Counted,
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            self.counted.bytes += u64::try_from(data.len()).unwrap_or_default();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// `/metrics`: all of it.
pub(crate) async fn metrics(State(machine): State<Arc<Machine>>) -> Response {
    let mut out = String::new();
    print_requests(&mut out, &machine.metrics);
    print_store(&mut out, &machine);
    head(&mut out, "kubernetes_build_info", "gauge", "Which version this is.");
    let _ = writeln!(out, "kubernetes_build_info{{{}}} 1", version::labels());
    process::print(&mut out, machine.metrics.started);
    out += &machine.figures.figures();
    let mut response = text(StatusCode::OK, out);
    let media = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, media);
    response
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn print_requests(out: &mut String, metrics: &Metrics) {
    let name = "apiserver_current_inflight_requests";
    head(out, name, "gauge", "Requests under way, of those that are no watches and streams.");
    for (kind, count) in [("mutating", &metrics.writing), ("readOnly", &metrics.reading)] {
        let _ = writeln!(out, "{name}{{request_kind=\"{kind}\"}} {}", count.load(Ordering::Relaxed));
    }
    let name = "apiserver_longrunning_requests";
    head(out, name, "gauge", "Watches and streams under way.");
    for (asked, count) in metrics.long_running.all() {
        let _ = writeln!(out, "{name}{{{}}} {}", asked.labels(), count.load(Ordering::Relaxed));
    }
    let name = "apiserver_request_total";
    head(out, name, "counter", "Requests answered.");
    for ((asked, code), count) in metrics.requests.all() {
        let (labels, count) = (asked.labels(), count.load(Ordering::Relaxed));
        let _ = writeln!(out, "{name}{{code=\"{code}\",dry_run=\"{}\",{labels}}} {count}", asked.dry_run);
    }
    let name = "apiserver_request_terminations_total";
    head(out, name, "counter", "Requests that the server gave up.");
    for ((asked, code), count) in metrics.terminations.all() {
        let _ = writeln!(out, "{name}{{code=\"{code}\",{}}} {}", asked.labels(), count.load(Ordering::Relaxed));
    }
    let name = "apiserver_request_duration_seconds";
    head(out, name, "histogram", "How long requests took.");
    for (asked, durations) in metrics.durations.all() {
        let labels = format!("dry_run=\"{}\",{}", asked.dry_run, asked.labels());
        durations.print(out, name, &labels, &DURATIONS);
    }
    let name = "apiserver_response_sizes";
    head(out, name, "histogram", "How large answers to reads are, in bytes.");
    for (asked, sizes) in metrics.sizes.all() {
        sizes.print(out, name, &asked.labels(), &SIZES);
    }
    let name = "apiserver_watch_events_total";
    head(out, name, "counter", "Events sent to watches.");
    for ((group, version, resource), count) in metrics.watch_events.all() {
        let count = count.load(Ordering::Relaxed);
        let _ = writeln!(out, "{name}{{group=\"{group}\",resource=\"{resource}\",version=\"{version}\"}} {count}");
    }
}

/// How many objects there are; each under one name, however many versions it is served in.
fn print_store(out: &mut String, machine: &Machine) {
    let rows = machine.registry.rows();
    let kept = rows.iter().filter(|row| row.verbs.contains(&"watch") && row.strategy.conversion().is_none());
    let counts: Vec<_> =
        kept.map(|row| (row, machine.store.stretch(&Prefix::resource(row.group, row.plural), "", 0).left)).collect();
    let name = "apiserver_resource_objects";
    head(out, name, "gauge", "Objects in the store.");
    for (row, count) in &counts {
        let _ = writeln!(out, "{name}{{group=\"{}\",resource=\"{}\"}} {count}", row.group, row.plural);
    }
    let name = "apiserver_storage_objects";
    head(out, name, "gauge", "Objects in the store, under the older name.");
    for (row, count) in &counts {
        let group = if row.group.is_empty() { String::new() } else { format!(".{}", row.group) };
        let _ = writeln!(out, "{name}{{resource=\"{}{group}\"}} {count}", row.plural);
    }
}
