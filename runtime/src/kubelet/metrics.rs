//! What Prometheus is told: of resources, of containers as cAdvisor does, and of the agent itself. Pure.

mod cadvisor;
mod own;
mod resource;
mod volumes;

use std::time::Duration;

use crate::stats::{ContainerFigures, Figures, PodFigures};

pub(super) use cadvisor::cadvisor;
pub(super) use own::own;
pub(super) use resource::resource;
pub(super) use volumes::volumes;

/// A pod and one of its containers.
fn containers(figures: &Figures) -> impl Iterator<Item = (&PodFigures, &ContainerFigures)> {
    figures.pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
}

/// Seconds with all their digits: `1.5`.
fn seconds(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::stats::figures::tests::sample;

    /// The series without their help.
    fn series(text: &str) -> String {
        text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn resources_are_told_under_the_kubelets_names() {
        expect![[r#"
            container_cpu_usage_seconds_total{container="late",namespace="default",pod="a"} 0.001 100000
            container_cpu_usage_seconds_total{container="log",namespace="default",pod="a"} 0.25 100000
            container_cpu_usage_seconds_total{container="web",namespace="default",pod="a"} 0.4 100000
            container_memory_working_set_bytes{container="late",namespace="default",pod="a"} 65536 100000
            container_memory_working_set_bytes{container="log",namespace="default",pod="a"} 65536 100000
            container_memory_working_set_bytes{container="web",namespace="default",pod="a"} 65536 100000
            container_start_time_seconds{container="late",namespace="default",pod="a"} 100.000
            container_start_time_seconds{container="log",namespace="default",pod="a"} 95.000
            container_start_time_seconds{container="web",namespace="default",pod="a"} 96.000
            node_cpu_usage_seconds_total 10 100000
            node_memory_working_set_bytes 0 100000
            pod_cpu_usage_seconds_total{namespace="default",pod="a"} 9.151 100000
            pod_memory_working_set_bytes{namespace="default",pod="a"} 196608 100000
            resource_scrape_error 0"#]]
        .assert_eq(&series(&resource(&sample())));
    }
}
