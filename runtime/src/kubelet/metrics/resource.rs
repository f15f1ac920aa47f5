//! `/metrics/resource`: CPU and memory, as metrics-server reads them.

use jiff::Timestamp;

use super::{containers, seconds};
use crate::stats::{ContainerFigures, Figures, PodFigures};
use coracle_api::exposition::Exposition;

/// The series.
pub(in crate::kubelet) fn resource(figures: &Figures) -> String {
    let mut out = Exposition::default();
    let stamped = |value: String, time: Timestamp| format!("{value} {}", time.as_millisecond());
    let of = |pod: &PodFigures, container: &ContainerFigures| {
        [("container", container.name.clone()), ("namespace", pod.namespace.clone()), ("pod", pod.name.clone())]
    };
    let each = |out: &mut Exposition, name: &str, value: &dyn Fn(&ContainerFigures) -> String| {
        for (pod, container) in containers(figures) {
            let labels = of(pod, container);
            let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
            out.series(name, &labels, stamped(value(container), figures.time));
        }
    };
    let name = "container_cpu_usage_seconds_total";
    out.family(name, "counter", "[STABLE] Cumulative cpu time consumed by the container in core-seconds");
    each(&mut out, name, &|c| seconds(c.usage.cpu));
    let name = "container_memory_working_set_bytes";
    out.family(name, "gauge", "[STABLE] Current working set of the container in bytes");
    each(&mut out, name, &|c| c.usage.memory_bytes.to_string());
    let name = "container_start_time_seconds";
    out.family(name, "gauge", "[STABLE] Start time of the container since unix epoch in seconds");
    for (pod, container) in containers(figures) {
        let labels = of(pod, container);
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        out.series(name, &labels, unix_seconds(container.since));
    }
    let name = "node_cpu_usage_seconds_total";
    out.family(name, "counter", "[STABLE] Cumulative cpu time consumed by the node in core-seconds");
    out.series(name, &[], stamped(seconds(figures.machine.cpu), figures.time));
    let name = "node_memory_working_set_bytes";
    out.family(name, "gauge", "[STABLE] Current working set of the node in bytes");
    out.series(name, &[], stamped(figures.machine.memory.working_set.to_string(), figures.time));
    let pods = |out: &mut Exposition, name: &str, value: &dyn Fn(&PodFigures) -> String| {
        for pod in figures.pods.iter().filter(|pod| !pod.containers.is_empty()) {
            let labels = [("namespace", pod.namespace.as_str()), ("pod", pod.name.as_str())];
            out.series(name, &labels, stamped(value(pod), figures.time));
        }
    };
    let name = "pod_cpu_usage_seconds_total";
    out.family(name, "counter", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds");
    pods(&mut out, name, &|pod| seconds(pod.total.cpu));
    let name = "pod_memory_working_set_bytes";
    out.family(name, "gauge", "[STABLE] Current working set of the pod in bytes");
    pods(&mut out, name, &|pod| pod.memory().to_string());
    let name = "resource_scrape_error";
    out.family(name, "gauge", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise");
    out.series(name, &[], 0);
    out.done()
}

fn unix_seconds(time: Timestamp) -> String {
    format!("{}.{:03}", time.as_second(), time.subsec_millisecond())
}
