//! What the server has answered, counted, under the names that `CoreDNS` gives it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use coracle_api::exposition::{Exposition, Histogram};
use coracle_api::meet::Figures;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::forward::Forwarder;

/// The types that are told apart: `CoreDNS`' choice of them, as far as clients of a cluster ask them.
const TYPES: [RecordType; 10] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::CNAME,
    RecordType::HTTPS,
    RecordType::MX,
    RecordType::NS,
    RecordType::PTR,
    RecordType::SOA,
    RecordType::SRV,
    RecordType::TXT,
];

/// The codes that are told apart, under the names that they have on the wire.
const CODES: [(ResponseCode, &str); 6] = [
    (ResponseCode::NoError, "NOERROR"),
    (ResponseCode::FormErr, "FORMERR"),
    (ResponseCode::ServFail, "SERVFAIL"),
    (ResponseCode::NXDomain, "NXDOMAIN"),
    (ResponseCode::NotImp, "NOTIMP"),
    (ResponseCode::Refused, "REFUSED"),
];

/// The bounds of the durations of answers, in seconds: `CoreDNS`', 16 doublings of a quarter of a millisecond.
const DURATIONS: [f64; 16] = [
    0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192,
];

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Datagram,
    Stream,
}

/// What one way has brought.
#[derive(Debug, Default)]
struct Brought {
    /// By type; the last one is any other.
    questions: [AtomicU64; TYPES.len() + 1],
    durations: Histogram<{ DURATIONS.len() }>,
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    datagrams: Brought,
    streams: Brought,
    /// By code; the last one is any other.
    answers: [AtomicU64; CODES.len() + 1],
    lookups: AtomicU64,
}

impl Counts {
    /// A question was answered.
    pub(crate) fn answered(&self, way: Way, kind: Option<RecordType>, code: ResponseCode, took: Duration) {
        let brought = match way {
            Way::Datagram => &self.datagrams,
            Way::Stream => &self.streams,
        };
        let at = TYPES.iter().position(|known| Some(*known) == kind).unwrap_or(TYPES.len());
        add(brought.questions.get(at));
        brought.durations.took(&DURATIONS, took);
        add(self.answers.get(CODES.iter().position(|(known, _)| *known == code).unwrap_or(CODES.len())));
    }

    /// A name was looked up in process.
    pub(crate) fn looked_up(&self) {
        add(Some(&self.lookups));
    }
}

fn add(count: Option<&AtomicU64>) {
    if let Some(count) = count {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counters and the cache, for `/metrics`.
pub(crate) struct Told {
    pub(crate) counts: Arc<Counts>,
    pub(crate) forwarder: Arc<Forwarder>,
}

impl Figures for Told {
    fn figures(&self) -> String {
        let mut out = Exposition::default();
        let name = "coredns_dns_requests_total";
        out.family(name, "counter", "Counter of DNS requests made per zone, protocol and family.");
        let ways = [("udp", &self.counts.datagrams), ("tcp", &self.counts.streams)];
        let names = || TYPES.iter().map(ToString::to_string).chain(["other".to_owned()]);
        for (proto, brought) in ways {
            for (kind, count) in names().zip(&brought.questions) {
                let labels = [("proto", proto), ("server", "dns://"), ("type", &kind), ("zone", ".")];
                out.series(name, &labels, count.load(Ordering::Relaxed));
            }
        }
        let name = "coredns_dns_responses_total";
        out.family(name, "counter", "Counter of response status codes.");
        for (code, count) in CODES.iter().map(|(_, name)| *name).chain(["other"]).zip(&self.counts.answers) {
            let labels = [("rcode", code), ("server", "dns://"), ("zone", ".")];
            out.series(name, &labels, count.load(Ordering::Relaxed));
        }
        let (hits, misses) = self.forwarder.cache().counts();
        out.family("coredns_cache_entries", "gauge", "The number of elements in the cache.");
        out.series("coredns_cache_entries", &[("server", "dns://"), ("zones", ".")], self.forwarder.cache().len());
        out.family("coredns_cache_hits_total", "counter", "The count of cache hits.");
        out.series("coredns_cache_hits_total", &[("server", "dns://"), ("zones", ".")], hits);
        out.family("coredns_cache_misses_total", "counter", "The count of cache misses.");
        out.series("coredns_cache_misses_total", &[("server", "dns://"), ("zones", ".")], misses);
        let name = "coracle_dns_lookups_total";
        out.family(name, "counter", "Names that pods looked up in process.");
        out.series(name, &[], self.counts.lookups.load(Ordering::Relaxed));
        let name = "coredns_dns_request_duration_seconds";
        out.family(name, "histogram", "Histogram of the time (in seconds) each request took per zone.");
        let mut text = out.done();
        for (proto, brought) in ways {
            let labels = format!("proto=\"{proto}\",server=\"dns://\",zone=\".\"");
            brought.durations.print(&mut text, name, &labels, &DURATIONS);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directions::Sources;

    #[test]
    fn answers_are_counted_by_way_type_and_code() {
        let counts = Arc::new(Counts::default());
        let took = Duration::from_micros(300);
        counts.answered(Way::Datagram, Some(RecordType::SRV), ResponseCode::NXDomain, took);
        counts.answered(Way::Stream, Some(RecordType::DNSKEY), ResponseCode::BADVERS, took);
        counts.answered(Way::Stream, None, ResponseCode::FormErr, took);
        counts.looked_up();
        let told = Told { counts, forwarder: Arc::new(Forwarder::new(Sources::default(), None)) }.figures();
        let lines: Vec<&str> = told.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0")).collect();
        let bucket = "coredns_dns_request_duration_seconds_bucket{proto=\"udp\",server=\"dns://\",zone=\".\"";
        for line in [
            "coredns_dns_requests_total{proto=\"udp\",server=\"dns://\",type=\"SRV\",zone=\".\"} 1".to_owned(),
            "coredns_dns_requests_total{proto=\"tcp\",server=\"dns://\",type=\"other\",zone=\".\"} 2".to_owned(),
            "coredns_dns_responses_total{rcode=\"NXDOMAIN\",server=\"dns://\",zone=\".\"} 1".to_owned(),
            "coredns_dns_responses_total{rcode=\"other\",server=\"dns://\",zone=\".\"} 1".to_owned(),
            "coracle_dns_lookups_total 1".to_owned(),
            format!("{bucket},le=\"0.0005\"}} 1"),
        ] {
            assert!(lines.contains(&line.as_str()), "{line} in {lines:#?}");
        }
        assert!(!lines.contains(&format!("{bucket},le=\"0.00025\"}} 1").as_str()));
    }
}
