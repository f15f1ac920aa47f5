//! Readings made into figures: what each pod and the node use now, and at which rate. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_wasm::Usage;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::history::{Before, Reading};
use super::machine::MachineReading;
use super::meters::{PodReading, Total};
use crate::pods::Record;

/// A container that has run for less says nothing of its rate yet.
const LIFE_MIN: Duration = Duration::from_millis(500);

/// What the node and its pods use.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figures {
    /// When it was read.
    pub(crate) time: Timestamp,
    pub(crate) machine: MachineReading,
    /// The rate of the whole machine.
    pub(crate) node_rate: Option<Rate>,
    /// The rate of this process.
    pub(crate) process_rate: Option<Rate>,
    /// The pods that have not ended, by namespace and name.
    pub(crate) pods: Vec<PodFigures>,
}

/// CPU time per time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// In billionths of a core.
    pub(crate) nanocores: u64,
    /// Over which time.
    pub(crate) window: Duration,
}

/// What a pod uses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PodFigures {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) pod: Arc<Pod>,
    pub(crate) since: Option<Timestamp>,
    /// What all its runs have used, those that are over included.
    pub(crate) total: Total,
    /// Its running containers, by name.
    pub(crate) containers: Vec<ContainerFigures>,
}

/// What a running container uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerFigures {
    pub(crate) name: String,
    pub(crate) since: Timestamp,
    pub(crate) usage: Usage,
    pub(crate) rate: Option<Rate>,
}

impl PodFigures {
    /// What all containers together use, if each has a rate.
    pub(crate) fn rate(&self) -> Option<Rate> {
        let rates: Option<Vec<Rate>> = self.containers.iter().map(|c| c.rate).collect();
        let rates = rates.filter(|rates| !rates.is_empty())?;
        let nanocores = rates.iter().map(|r| r.nanocores).sum();
        Some(Rate { nanocores, window: rates.iter().map(|r| r.window).max()? })
    }

    /// Bytes of memory that its containers have now.
    pub(crate) fn memory(&self) -> u64 {
        self.containers.iter().map(|c| c.usage.memory_bytes).sum()
    }
}

/// The figures of `reading`, with rates since `before`.
pub(super) fn figures(
    reading: &Reading,
    before: &Before,
    time: Timestamp,
    machine: MachineReading,
    meters: &BTreeMap<String, PodReading>,
    records: &[((String, String), Record)],
) -> Figures {
    let earlier = match before {
        Before::Nothing => None,
        Before::Reading(earlier) => Some(earlier),
    };
    let since = |was: Duration, is: Duration, earlier: &Reading| rate(was, is, reading.at - earlier.at);
    let none = PodReading::default();
    let pods = records
        .iter()
        .filter(|(_, record)| !has_ended(record))
        .map(|((namespace, name), record)| {
            let read = meters.get(&record.uid).unwrap_or(&none);
            let mut total = read.ended;
            read.containers.iter().for_each(|run| total.add(&run.usage));
            let mut containers: BTreeMap<&str, ContainerFigures> = BTreeMap::new();
            for run in &read.containers {
                let age = Duration::try_from(time.duration_since(run.since)).unwrap_or_default();
                let was = earlier.and_then(|e| e.containers.get(&run.id).map(|was| (*was, e)));
                let rate = match (was, earlier) {
                    (Some((was, earlier)), _) => since(was, run.usage.cpu, earlier),
                    // It began after that reading: its whole life is within the window.
                    (None, Some(_)) if age >= LIFE_MIN => rate(Duration::ZERO, run.usage.cpu, age),
                    (None, _) => None,
                };
                let figures = ContainerFigures { name: run.name.clone(), since: run.since, usage: run.usage, rate };
                // Runs are in their order: the newest of a name stays.
                containers.insert(&run.name, figures);
            }
            PodFigures {
                namespace: namespace.clone(),
                name: name.clone(),
                uid: record.uid.clone(),
                pod: Arc::clone(&record.pod),
                since: record.status.start_time.as_ref().map(|t| t.0),
                total,
                containers: containers.into_values().collect(),
            }
        })
        .collect();
    Figures {
        time,
        node_rate: earlier.and_then(|e| since(e.node, machine.cpu, e)),
        process_rate: earlier.and_then(|e| since(e.process, machine.process_cpu, e)),
        machine,
        pods,
    }
}

fn has_ended(record: &Record) -> bool {
    matches!(record.status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

fn rate(was: Duration, is: Duration, window: Duration) -> Option<Rate> {
    let used = is.saturating_sub(was).as_nanos().saturating_mul(1_000_000_000);
    let nanocores = used.checked_div(window.as_nanos())?;
    Some(Rate { nanocores: u64::try_from(nanocores).unwrap_or(u64::MAX), window })
}

#[cfg(test)]
pub(crate) mod tests {
    use coracle_wasm::{Requests, Traffic};
    use k8s_openapi::api::core::v1::PodStatus;
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::stats::meters::ContainerReading;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(n).unwrap()
    }

    fn record(uid: &str, phase: &str) -> ((String, String), Record) {
        let status = PodStatus { phase: Some(phase.to_owned()), ..PodStatus::default() };
        let pod = serde_json::from_value(json!({"metadata": {"name": uid}, "spec": {"containers": []}})).unwrap();
        let record = Record { uid: uid.to_owned(), status: Arc::new(status), pod: Arc::new(pod) };
        (("default".to_owned(), uid.to_owned()), record)
    }

    fn run(id: u64, name: &str, since: i64, cpu_ms: u64) -> ContainerReading {
        let requests = Requests { total: 3, by_class: [0, 2, 0, 0, 1], waiting: 1, ..Requests::default() };
        let traffic = Traffic { received_bytes: 10, sent_bytes: 20, requests, ..Traffic::default() };
        let usage = Usage { cpu: Duration::from_millis(cpu_ms), memory_bytes: 65536, traffic };
        ContainerReading { id, name: name.to_owned(), since: second(since), usage }
    }

    /// Figures at second 100 of pod `a`, measured against a reading of ten seconds before.
    pub(crate) fn sample() -> Figures {
        let now = Instant::now();
        let at = |s: u64, containers: &[(u64, u64)]| Reading {
            at: now + Duration::from_secs(s),
            node: Duration::from_secs(s),
            process: Duration::from_millis(100 * s),
            containers: containers.iter().map(|(id, ms)| (*id, Duration::from_millis(*ms))).collect(),
        };
        let containers =
            vec![run(1, "web", 0, 1500), run(2, "log", 95, 250), run(3, "late", 100, 1), run(4, "web", 96, 400)];
        let read = PodReading { ended: Total { cpu: Duration::from_secs(7), ..Total::default() }, containers };
        let machine = MachineReading {
            cpu: Duration::from_secs(10),
            process_cpu: Duration::from_secs(1),
            ..MachineReading::default()
        };
        figures(
            &at(10, &[]),
            &Before::Reading(at(0, &[(1, 500)])),
            second(100),
            machine,
            &BTreeMap::from([("a".to_owned(), read)]),
            &[record("a", "Running"), record("b", "Pending"), record("c", "Succeeded")],
        )
    }

    #[test]
    fn a_rate_is_since_the_reading_before_or_since_the_start() {
        let figures = sample();
        let rates: Vec<_> =
            figures.pods[0].containers.iter().map(|c| (c.name.as_str(), c.rate.map(|r| r.nanocores))).collect();
        assert_eq!(rates, [("late", None), ("log", Some(50_000_000)), ("web", Some(100_000_000))]);
        assert_eq!(figures.node_rate.map(|r| r.nanocores), Some(1_000_000_000));
        assert_eq!(figures.process_rate.map(|r| r.nanocores), Some(100_000_000));
    }

    #[test]
    fn a_pod_has_a_rate_when_all_its_containers_do_and_counts_all_its_runs() {
        let mut figures = sample();
        assert_eq!(figures.pods.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let pod = &mut figures.pods[0];
        assert_eq!(pod.total.cpu, Duration::from_millis(7000 + 1500 + 250 + 1 + 400));
        assert_eq!(pod.rate(), None);
        pod.containers.remove(0);
        assert_eq!(pod.rate(), Some(Rate { nanocores: 150_000_000, window: Duration::from_secs(5) }));
        assert_eq!(figures.pods[1].rate(), None);
    }
}
