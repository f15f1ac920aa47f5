//! The eviction manager: pods that take more disk than they may, and pods that a node short of disk or memory can do
//! without.
//!
//! It works while there is a pod with a limit on disk, or while the node is short; else it sleeps. What exceeds which
//! limit ([`limits`]) and who goes first ([`rank`]) is decided by plain functions, after the kubelet's own.

pub(crate) mod limits;
mod nearly;
mod rank;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use coracle_api::event::Kind;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Event;
use crate::node::{Health, Thresholds, room};
use crate::pods::{Record, Shared};
use crate::stats::summary::PodDisk;
use rank::{Candidate, Shortage, Used};

/// How often pods with limits are measured, and how long a node that is short waits for what an eviction frees (the
/// kubelet's period).
const PERIOD: Duration = Duration::from_secs(10);

/// How long a pod that is evicted may take to stop (the kubelet's for hard thresholds).
const GRACE: Duration = Duration::from_secs(1);

/// Why a pod is evicted, as its status says it.
const REASON: &str = "Evicted";

/// Evicts until `stop`.
pub(crate) async fn run(
    shared: Arc<Shared>,
    thresholds: Thresholds,
    mut pressure: watch::Receiver<Health>,
    stop: CancellationToken,
) {
    let mut limited = shared.records.limited();
    let mut told = nearly::Told::default();
    loop {
        let idle = *limited.borrow_and_update() == 0 && !pressure.borrow_and_update().is_short();
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = limited.changed(), if idle => continue,
            // A shortage is met when it is found, and again until it is over.
            Ok(()) = pressure.changed() => {}
            () = tokio::time::sleep(PERIOD), if !idle => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = round(&shared, thresholds, &mut told) => {}
        }
    }
}

/// Looks once.
async fn round(shared: &Arc<Shared>, thresholds: Thresholds, told: &mut nearly::Told) {
    let records: Vec<Record> = shared.records.all().into_iter().map(|(_, record)| record).filter(is_active).collect();
    let limited: Vec<Arc<Pod>> =
        records.iter().filter(|r| limits::has_limits(&r.pod)).map(|r| Arc::clone(&r.pod)).collect();
    told.keep(records.iter().map(|record| &record.uid));
    for (pod, disk) in measured(shared, limited).await {
        for message in told.news(&pod, &disk) {
            shared.speaker.pod(&pod, None, Kind::Warning, nearly::REASON, message);
        }
        if let Some((signal, message)) = limits::exceeded(&pod, &disk) {
            evict(shared, &pod, signal, message).await;
        }
    }
    let room = room(&shared.stats.places.data_dir, thresholds);
    if let Some(shortage) = Shortage::of(&room)
        && let Some((pod, message)) = first(shared, &records, shortage).await
    {
        tracing::warn!(pod = pod.metadata.name, resource = shortage.resource(), "the node is short; a pod is evicted");
        evict(shared, &pod, shortage.signal(), message).await;
    }
}

fn is_active(record: &Record) -> bool {
    !matches!(record.status.phase.as_deref(), Some("Succeeded" | "Failed"))
        && record.pod.metadata.deletion_timestamp.is_none()
}

/// The pod that the node can do without best, and what it is told.
async fn first(shared: &Arc<Shared>, records: &[Record], shortage: Shortage) -> Option<(Arc<Pod>, String)> {
    let used: BTreeMap<String, Used> = match shortage {
        Shortage::Disk { .. } => {
            let pods = records.iter().map(|r| Arc::clone(&r.pod)).collect();
            let measured = measured(shared, pods).await;
            measured
                .into_iter()
                .filter_map(|(pod, disk)| Some((pod.metadata.uid.clone()?, Used::of_disk(&disk))))
                .collect()
        }
        Shortage::Memory { .. } => {
            let figures = shared.stats.counters();
            figures.pods.iter().map(|pod| (pod.uid.clone(), Used::of_memory(pod))).collect()
        }
    };
    let candidate = |record: &Record| {
        let used = used.get(&record.uid)?.clone();
        Some(Candidate { pod: Arc::clone(&record.pod), used })
    };
    let chosen = rank::first(records.iter().filter_map(candidate).collect(), shortage)?;
    let message = rank::message(&chosen, shortage);
    Some((chosen.pod, message))
}

/// What these pods have on disk, measured where it keeps nobody waiting.
async fn measured(shared: &Arc<Shared>, pods: Vec<Arc<Pod>>) -> Vec<(Arc<Pod>, PodDisk)> {
    if pods.is_empty() {
        return Vec::new();
    }
    let places = shared.stats.places.clone();
    let measure = move || pods.into_iter().map(|pod| (Arc::clone(&pod), places.pod(&pod))).collect();
    tokio::task::spawn_blocking(measure).await.unwrap_or_default()
}

async fn evict(shared: &Arc<Shared>, pod: &Pod, signal: &'static str, message: String) {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    if shared.inboxes.tell(uid, Event::Evict { reason: REASON, message, grace: GRACE }).await {
        shared.stats.meters.evicted(signal);
    }
}
