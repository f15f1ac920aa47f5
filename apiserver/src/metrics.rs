//! What the server has done, counted: `/metrics` in the text format that Prometheus reads.
//!
//! Its labels come from closed sets (verbs, known resources, codes), so that clients cannot grow it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::answer::text;
use crate::machine::Machine;
use crate::request::RequestInfo;

/// The upper ends of the buckets of request durations, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0];

/// So many different series are kept; later ones are counted under `other`.
const SERIES_MAX: usize = 2048;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    verb: String,
    group: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Debug, Clone, Default)]
struct Durations {
    buckets: [u64; BUCKETS.len()],
    sum: f64,
    count: u64,
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<BTreeMap<Series, Durations>>);

impl Metrics {
    /// Counts a request that was answered.
    pub(crate) fn count(&self, info: &RequestInfo, code: StatusCode, took: Duration) {
        // What does not exist has names of the client's choosing: it is counted without them.
        let target = info.resource.as_ref().map(|(_, target)| target).filter(|_| code != StatusCode::NOT_FOUND);
        let part = |of: fn(&crate::request::ResourcePath) -> &str| target.map(of).unwrap_or("").to_owned();
        let mut series = Series {
            verb: info.verb().to_owned(),
            group: part(|t| &t.group),
            resource: part(|t| &t.resource),
            subresource: part(|t| &t.subresource),
            code: code.as_u16(),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SERIES_MAX && !all.contains_key(&series) {
            let other = String::from("other");
            series = Series {
                verb: other.clone(),
                group: String::new(),
                resource: other,
                subresource: String::new(),
                code: 0,
            };
        }
        let durations = all.entry(series).or_default();
        let seconds = took.as_secs_f64();
        durations.sum += seconds;
        durations.count += 1;
        for (count, end) in durations.buckets.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= end);
        }
    }

    fn print(&self) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut out =
            String::from("# HELP apiserver_request_total Requests answered.\n# TYPE apiserver_request_total counter\n");
        for (series, durations) in &all {
            let _ = writeln!(
                out,
                "apiserver_request_total{{{},code=\"{}\"}} {}",
                labels(series),
                series.code,
                durations.count
            );
        }
        out += "# HELP apiserver_request_duration_seconds How long requests took.\n# TYPE apiserver_request_duration_seconds histogram\n";
        let mut merged: BTreeMap<String, Durations> = BTreeMap::new();
        for (series, durations) in &all {
            let to = merged.entry(labels(series)).or_default();
            to.buckets.iter_mut().zip(durations.buckets).for_each(|(to, from)| *to += from);
            to.sum += durations.sum;
            to.count += durations.count;
        }
        for (labels, durations) in &merged {
            let name = "apiserver_request_duration_seconds";
            for (count, end) in durations.buckets.iter().zip(BUCKETS) {
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{end}\"}} {count}");
            }
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", durations.count);
            let _ = writeln!(out, "{name}_sum{{{labels}}} {}", durations.sum);
            let _ = writeln!(out, "{name}_count{{{labels}}} {}", durations.count);
        }
        out
    }
}

fn labels(series: &Series) -> String {
    let Series { verb, group, resource, subresource, .. } = series;
    let verb = verb.to_ascii_uppercase();
    format!("verb=\"{verb}\",group=\"{group}\",resource=\"{resource}\",subresource=\"{subresource}\"")
}

/// Shows the counters.
pub(crate) async fn metrics(State(machine): State<Arc<Machine>>) -> Response {
    text(StatusCode::OK, machine.metrics.print())
}
