//! `/metrics`: what the agent does, under the kubelet's names, and what its pods answer, under ours.

use std::collections::BTreeMap;

use super::{containers, seconds};
use crate::pods::Record;
use crate::stats::meters::{Counts, Total};
use crate::stats::{ContainerFigures, Figures};
use coracle_api::exposition::Exposition;

/// `/metrics`: what the agent does, under the kubelet's names.
pub(in crate::kubelet) fn own(figures: &Figures, records: &[((String, String), Record)], counts: &Counts) -> String {
    let mut out = Exposition::default();
    let running = figures.pods.iter().filter(|pod| !pod.containers.is_empty()).count();
    out.family("kubelet_running_pods", "gauge", "[BETA] Number of pods that have a running pod sandbox");
    out.series("kubelet_running_pods", &[], running);
    let name = "kubelet_running_containers";
    out.family(name, "gauge", "[BETA] Number of containers currently running");
    for (state, count) in states(records) {
        out.series(name, &[("container_state", state)], count);
    }
    let name = "kubelet_started_containers_total";
    out.family(name, "counter", "[ALPHA] Cumulative number of containers started");
    out.series(name, &[("container_type", "container")], counts.started);
    out.family("kubelet_evictions", "counter", "[ALPHA] Cumulative number of pod evictions by eviction signal");
    for (signal, count) in &counts.evictions {
        out.series("kubelet_evictions", &[("eviction_signal", signal)], count);
    }
    traffic(&mut out, figures);
    let process = &figures.machine;
    out.family("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.");
    out.series("process_cpu_seconds_total", &[], seconds(process.process_cpu));
    out.family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.");
    out.series("process_resident_memory_bytes", &[], process.process_rss);
    out.done()
}

/// A series that is told of each pod: its name, what it is, and where it stands in what the pod has used.
type Sum = (&'static str, &'static str, fn(&Total) -> u64);

/// What pods have sent, received and answered since they are on this node.
const SUMS: [Sum; 6] = [
    ("coracle_pod_network_receive_bytes_total", "Bytes that the pod has received.", |t| t.received_bytes),
    ("coracle_pod_network_transmit_bytes_total", "Bytes that the pod has sent.", |t| t.sent_bytes),
    ("coracle_pod_connections_total", "TCP connections that the pod has made or taken.", |t| t.connections),
    ("coracle_pod_http_requests_total", "HTTP requests that the pod was asked.", |t| t.requests),
    ("coracle_pod_http_requests_refused_total", "HTTP requests that found no instance and no place to wait.", |t| {
        t.refused
    }),
    ("coracle_pod_http_requests_timed_out_total", "HTTP requests that the pod took too long for.", |t| t.timed_out),
];

/// A series that is told of each running container that serves HTTP.
type Now = (&'static str, &'static str, fn(&ContainerFigures) -> u64);

const NOW: [Now; 2] = [
    ("coracle_container_http_requests_in_flight", "HTTP requests that are being answered.", |c| {
        c.usage.traffic.requests.in_flight
    }),
    ("coracle_container_http_requests_waiting", "HTTP requests that wait for an instance.", |c| {
        c.usage.traffic.requests.waiting
    }),
];

/// The classes of the status of an answer.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

fn traffic(out: &mut Exposition, figures: &Figures) {
    let pods = || figures.pods.iter().filter(|pod| pod.total != Total::default());
    for (name, help, sum) in SUMS {
        out.family(name, "counter", help);
        for pod in pods() {
            out.series(name, &[("namespace", pod.namespace.as_str()), ("pod", &pod.name)], sum(&pod.total));
        }
    }
    let name = "coracle_pod_http_responses_total";
    out.family(name, "counter", "HTTP answers of the pod, by the class of their status.");
    for pod in pods().filter(|pod| pod.total.requests > 0) {
        for (class, count) in CLASSES.iter().zip(pod.total.responses) {
            let labels = [("code", *class), ("namespace", &pod.namespace), ("pod", &pod.name)];
            out.series(name, &labels, count);
        }
    }
    for (name, help, now) in NOW {
        out.family(name, "gauge", help);
        for (pod, container) in containers(figures).filter(|(_, c)| c.usage.traffic.requests.total > 0) {
            let labels = [("container", container.name.as_str()), ("namespace", &pod.namespace), ("pod", &pod.name)];
            out.series(name, &labels, now(container));
        }
    }
}

/// How many containers are in each state, in the kubelet's words.
fn states(records: &[((String, String), Record)]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::from([("created", 0), ("exited", 0), ("running", 0)]);
    for (_, record) in records {
        let containers =
            record.status.init_container_statuses.iter().chain(&record.status.container_statuses).flatten();
        for state in containers.filter_map(|c| c.state.as_ref()) {
            let word = match (&state.running, &state.terminated) {
                (Some(_), _) => "running",
                (None, Some(_)) => "exited",
                (None, None) => "created",
            };
            *counts.entry(word).or_default() += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::stats::figures::tests::sample;

    #[test]
    fn pods_answers_are_told_by_class() {
        let mut figures = sample();
        figures.pods[0].containers.truncate(1);
        let text = own(&figures, &[], &Counts { started: 3, evictions: BTreeMap::from([("nodefs.available", 1)]) });
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        expect![[r#"
            kubelet_running_pods 1
            kubelet_running_containers{container_state="created"} 0
            kubelet_running_containers{container_state="exited"} 0
            kubelet_running_containers{container_state="running"} 0
            kubelet_started_containers_total{container_type="container"} 3
            kubelet_evictions{eviction_signal="nodefs.available"} 1
            coracle_pod_network_receive_bytes_total{namespace="default",pod="a"} 40
            coracle_pod_network_transmit_bytes_total{namespace="default",pod="a"} 80
            coracle_pod_connections_total{namespace="default",pod="a"} 0
            coracle_pod_http_requests_total{namespace="default",pod="a"} 12
            coracle_pod_http_requests_refused_total{namespace="default",pod="a"} 0
            coracle_pod_http_requests_timed_out_total{namespace="default",pod="a"} 0
            coracle_pod_http_responses_total{code="1xx",namespace="default",pod="a"} 0
            coracle_pod_http_responses_total{code="2xx",namespace="default",pod="a"} 8
            coracle_pod_http_responses_total{code="3xx",namespace="default",pod="a"} 0
            coracle_pod_http_responses_total{code="4xx",namespace="default",pod="a"} 0
            coracle_pod_http_responses_total{code="5xx",namespace="default",pod="a"} 4
            coracle_container_http_requests_in_flight{container="late",namespace="default",pod="a"} 0
            coracle_container_http_requests_waiting{container="late",namespace="default",pod="a"} 1
            process_cpu_seconds_total 1
            process_resident_memory_bytes 0"#]]
        .assert_eq(&series.join("\n"));
    }
}
