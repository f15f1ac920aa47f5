//! `/metrics/cadvisor`: the series of cAdvisor that dashboards are made of, as far as they have a meaning here.

use k8s_openapi::api::core::v1::Pod;

use super::{containers, seconds};
use crate::stats::directory::DiskUsage;
use crate::stats::summary::Disk;
use crate::stats::{ContainerFigures, Figures, PodFigures};
use coracle_api::exposition::Exposition;

/// A series that is told of each container: its name, kind and help, and what it tells.
type Each = (&'static str, &'static str, &'static str, fn(&ContainerFigures, DiskUsage) -> String);

const CONTAINERS: [Each; 7] = [
    ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", |c, _| {
        seconds(c.usage.cpu)
    }),
    ("container_memory_usage_bytes", "gauge", "Current memory usage in bytes.", |c, _| memory(c)),
    ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |c, _| memory(c)),
    ("container_memory_rss", "gauge", "Size of RSS in bytes.", |c, _| memory(c)),
    ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.", |c, _| {
        c.since.as_second().to_string()
    }),
    ("container_fs_usage_bytes", "gauge", "Bytes that the container's own directory takes.", |_, root| {
        root.bytes.to_string()
    }),
    ("container_fs_inodes_total", "gauge", "Inodes that the container's own directory takes.", |_, root| {
        root.inodes.to_string()
    }),
];

/// The same of what is told of a whole pod.
type Sum = (&'static str, &'static str, fn(&PodFigures) -> u64);

const PODS: [Sum; 2] = [
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", |p| p.total.received_bytes),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |p| p.total.sent_bytes),
];

fn memory(container: &ContainerFigures) -> String {
    container.usage.memory_bytes.to_string()
}

/// The series.
pub(in crate::kubelet) fn cadvisor(figures: &Figures, disk: &Disk) -> String {
    let mut out = Exposition::default();
    let stamp = figures.time.as_millisecond();
    for (name, kind, help, value) in CONTAINERS {
        out.family(name, kind, help);
        for (pod, container) in containers(figures) {
            let id = format!("/kubepods/pod{}/{}", pod.uid, container.name);
            let root = disk.pods.get(&pod.uid).and_then(|p| p.roots.get(&container.name)).copied().unwrap_or_default();
            let labels = [
                ("container", container.name.as_str()),
                ("id", &id),
                ("image", image(&pod.pod, &container.name)),
                ("name", &container.name),
                ("namespace", &pod.namespace),
                ("pod", &pod.name),
            ];
            out.series(name, &labels, format!("{} {stamp}", value(container, root)));
        }
    }
    for (name, help, sum) in PODS {
        out.family(name, "counter", help);
        for pod in figures.pods.iter().filter(|pod| !pod.containers.is_empty()) {
            let id = format!("/kubepods/pod{}", pod.uid);
            let labels = [
                ("container", ""),
                ("id", &id),
                ("image", ""),
                ("interface", "eth0"),
                ("name", ""),
                ("namespace", &pod.namespace),
                ("pod", &pod.name),
            ];
            out.series(name, &labels, format!("{} {stamp}", sum(pod)));
        }
    }
    out.done()
}

/// The image that a container names.
fn image<'a>(pod: &'a Pod, container: &str) -> &'a str {
    let spec = pod.spec.iter();
    let mut all = spec.flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    all.find(|c| c.name == container).and_then(|c| c.image.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::stats::figures::tests::sample;

    #[test]
    fn containers_are_told_as_cadvisor_does() {
        let mut figures = sample();
        figures.pods[0].containers.truncate(1);
        let text = cadvisor(&figures, &Disk::default());
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        expect![[r#"
            container_cpu_usage_seconds_total{container="late",id="/kubepods/poda/late",image="",name="late",namespace="default",pod="a"} 0.001 100000
            container_memory_usage_bytes{container="late",id="/kubepods/poda/late",image="",name="late",namespace="default",pod="a"} 65536 100000
            container_memory_working_set_bytes{container="late",id="/kubepods/poda/late",image="",name="late",namespace="default",pod="a"} 65536 100000
            container_memory_rss{container="late",id="/kubepods/poda/late",image="",name="late",namespace="default",pod="a"} 65536 100000
            container_start_time_seconds{container="late",id="/kubepods/poda/late",image="",name="late",namespace="default",pod="a"} 100 100000
            container_fs_usage_bytes{container="late",id="/kubepods/poda/late",image="",name="late",namespace="default",pod="a"} 0 100000
            container_fs_inodes_total{container="late",id="/kubepods/poda/late",image="",name="late",namespace="default",pod="a"} 0 100000
            container_network_receive_bytes_total{container="",id="/kubepods/poda",image="",interface="eth0",name="",namespace="default",pod="a"} 40 100000
            container_network_transmit_bytes_total{container="",id="/kubepods/poda",image="",interface="eth0",name="",namespace="default",pod="a"} 80 100000"#]].assert_eq(&series.join("\n"));
    }
}
