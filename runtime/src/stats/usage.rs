//! What is used, in the shape of `metrics.k8s.io`: the API server shows it as its own.
//!
//! As metrics-server does, it tells nothing of a pod before each of its containers has a rate.

use std::collections::BTreeMap;

use coracle_api::clock::whole_seconds;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};

use super::figures::{Figures, Rate};

/// The node's `NodeMetrics` and the `PodMetrics` of its pods, as far as `wanted` says.
pub(crate) fn usage(figures: &Figures, node: &str, wanted: impl Fn(&str, &str) -> bool) -> Value {
    let time = whole_seconds(figures.time).to_string();
    let pods: Vec<Value> = figures
        .pods
        .iter()
        .filter(|pod| wanted(&pod.namespace, &pod.name))
        .filter_map(|pod| {
            let window = window(pod.rate()?);
            let container = |c: &super::ContainerFigures| -> Option<Value> {
                Some(json!({"name": c.name, "usage": amounts(c.rate?.nanocores, c.usage.memory_bytes)}))
            };
            let containers: Option<Vec<Value>> = pod.containers.iter().map(container).collect();
            let metadata = ObjectMeta {
                name: Some(pod.name.clone()),
                namespace: Some(pod.namespace.clone()),
                creation_timestamp: Some(Time(whole_seconds(figures.time))),
                labels: pod.pod.metadata.labels.clone(),
                ..ObjectMeta::default()
            };
            Some(json!({
                "metadata": metadata,
                "timestamp": time,
                "window": window,
                "containers": containers?,
            }))
        })
        .collect();
    let node = figures.node_rate.map(|rate| {
        json!({
            "metadata": {"name": node, "creationTimestamp": time},
            "timestamp": time,
            "window": window(rate),
            "usage": amounts(rate.nanocores, figures.machine.memory.working_set),
        })
    });
    json!({"node": node, "pods": pods})
}

fn amounts(nanocores: u64, memory: u64) -> BTreeMap<&'static str, String> {
    const CPU: [(&str, u64); 3] = [("u", 1000), ("m", 1000), ("", 1000)];
    BTreeMap::from([("cpu", quantity(nanocores, "n", &CPU)), ("memory", bytes_text(memory))])
}

/// Bytes as a quantity in its canonical binary form: `64Ki`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    const SUFFIXES: [(&str, u64); 5] = [("Ki", 1024), ("Mi", 1024), ("Gi", 1024), ("Ti", 1024), ("Pi", 1024)];
    quantity(bytes, "", &SUFFIXES)
}

/// A quantity in its canonical form: with the largest suffix that leaves no fraction.
fn quantity(mut value: u64, mut suffix: &'static str, larger: &[(&'static str, u64)]) -> String {
    if value == 0 {
        return "0".to_owned();
    }
    for (name, factor) in larger {
        if !value.is_multiple_of(*factor) {
            break;
        }
        value /= factor;
        suffix = name;
    }
    format!("{value}{suffix}")
}

/// A duration as Go writes it, to the millisecond: `10.013s`.
fn window(rate: Rate) -> String {
    let millis = rate.window.as_millis();
    let (minutes, seconds, millis) = (millis / 60_000, millis / 1000 % 60, millis % 1000);
    let fraction = format!(".{millis:03}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    if minutes > 0 { format!("{minutes}m{seconds}{fraction}s") } else { format!("{seconds}{fraction}s") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;

    use super::super::figures::tests::sample;
    use super::*;

    #[test]
    fn usage_has_the_shape_of_metrics_server() {
        let mut figures = sample();
        figures.pods[0].containers.remove(0);
        let told = usage(&figures, "n1", |_, _| true);
        expect![[r#"
            {
              "node": {
                "metadata": {
                  "creationTimestamp": "1970-01-01T00:01:40Z",
                  "name": "n1"
                },
                "timestamp": "1970-01-01T00:01:40Z",
                "usage": {
                  "cpu": "1",
                  "memory": "0"
                },
                "window": "10s"
              },
              "pods": [
                {
                  "containers": [
                    {
                      "name": "log",
                      "usage": {
                        "cpu": "50m",
                        "memory": "64Ki"
                      }
                    },
                    {
                      "name": "web",
                      "usage": {
                        "cpu": "100m",
                        "memory": "64Ki"
                      }
                    }
                  ],
                  "metadata": {
                    "creationTimestamp": "1970-01-01T00:01:40Z",
                    "name": "a",
                    "namespace": "default"
                  },
                  "timestamp": "1970-01-01T00:01:40Z",
                  "window": "5s"
                }
              ]
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&told).unwrap());
        assert_eq!(usage(&figures, "n1", |namespace, _| namespace == "other")["pods"], json!([]));
    }

    #[test]
    fn quantities_are_in_their_canonical_form() {
        let told = |cpu, memory| amounts(cpu, memory).into_values().collect::<Vec<_>>();
        assert_eq!(told(1_234_567, 65536), ["1234567n", "64Ki"]);
        assert_eq!(told(250_000_000, 1 << 20), ["250m", "1Mi"]);
        assert_eq!(told(2_000_000_000, 1500), ["2", "1500"]);
        assert_eq!(told(0, 0), ["0", "0"]);
    }

    #[test]
    fn windows_are_written_as_go_does() {
        let check = |ms: u64| window(Rate { nanocores: 0, window: Duration::from_millis(ms) });
        assert_eq!([check(1000), check(15_020), check(60_000), check(61_500)], ["1s", "15.02s", "1m0s", "1m1.5s"]);
    }
}
