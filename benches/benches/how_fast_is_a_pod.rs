//! How fast is a pod?
//!
//! Goal: 10 ms from `create` to `Ready`, half of the time; so fast that nobody keeps pods warm.
//! Method: 200 pods, one at a time, compile cache warm, API over TLS with the same client as any controller. The clock
//! starts before the POST and stops when the watch shows the condition; the pod is deleted before the next is made.
//! Once for an HTTP component (nothing runs until a request comes) and once for a command (an instance is started).
//! Back of the envelope: four writes (create, bind, status, events beside), each a redb commit with an fsync of 0.5–3 ms
//! on a laptop's disk; five watch events at 30 µs; an instance 0.1 ms. So the disk decides: 3–10 ms.
#![allow(clippy::expect_used, reason = "a bench that cannot measure ends with a message")]

use std::collections::BTreeMap;
use std::time::Instant;

use coracle_benches::{Process, Spread, Table};
use coracle_tests::Cluster;
use futures::{Stream, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

const PODS: usize = 200;

/// When, in milliseconds after the beginning, what was seen of a pod.
#[derive(Default)]
struct Seen {
    created: f64,
    scheduled: f64,
    ready: f64,
}

fn main() {
    let cluster = Cluster::start();
    let mut table = Table::new(&["pod", "n", "create p50", "scheduled p50", "ready p50", "ready p99", "CPU ms/pod"]);
    for sample in ["hello", "counter"] {
        cluster.push(sample);
        let api = cluster.connect();
        // The first compiles, and is not counted.
        api.wait_for(pods(api.client(), sample, 1));
        let process = Process(cluster.server().pid());
        let cpu = process.cpu_seconds();
        let seen = api.wait_for(pods(api.client(), sample, PODS));
        let cpu = (process.cpu_seconds() - cpu) * 1e3 / f64::from(u32::try_from(PODS).expect("few"));
        let of = |figure: fn(&Seen) -> f64| Spread::of(seen.iter().map(figure).collect());
        let (created, scheduled, ready) = (of(|s| s.created), of(|s| s.scheduled), of(|s| s.ready));
        let figures = [created.median(), scheduled.median(), ready.median(), ready.percentile(99), cpu];
        let cells = [sample.to_owned(), ready.count().to_string()].into_iter();
        table.row(&cells.chain(figures.map(|ms| format!("{ms:.1}"))).collect::<Vec<_>>());
    }
    table.print("How fast is a pod? (milliseconds from the request to create it)");
}

async fn pods(client: kube::Client, sample: &str, count: usize) -> Vec<Seen> {
    let api: Api<Pod> = Api::namespaced(client, "default");
    let from = api.list(&kube::api::ListParams::default()).await.expect("a list").metadata.resource_version;
    let version = from.expect("a list has a version");
    let mut events = Box::pin(api.watch(&WatchParams::default(), &version).await.expect("a watch"));
    let mut seen = Vec::with_capacity(count);
    for number in 0..count {
        let name = format!("{sample}-{number}");
        seen.push(one(&api, &name, sample, &mut events).await);
        api.delete(&name, &DeleteParams { grace_period_seconds: Some(0), ..Default::default() })
            .await
            .expect("deleted");
        until(&mut events, |event| matches!(event, WatchEvent::Deleted(pod) if is(pod, &name))).await;
    }
    seen
}

async fn one(
    api: &Api<Pod>,
    name: &str,
    sample: &str,
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<Pod>>> + Unpin),
) -> Seen {
    let spec = json!({"containers": [{"name": "main", "image": format!("{sample}:1")}]});
    let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a pod");
    let begin = Instant::now();
    let now = || begin.elapsed().as_secs_f64() * 1e3;
    let mut seen = Seen::default();
    api.create(&PostParams::default(), &pod).await.expect("created");
    seen.created = now();
    until(events, |event| {
        let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { return false };
        let conditions = conditions(pod);
        let holds = |name: &str| conditions.get(name).is_some_and(|status| status == "True");
        if !is(pod, name) {
            return false;
        }
        if seen.scheduled == 0.0 && holds("PodScheduled") {
            seen.scheduled = now();
        }
        holds("Ready")
    })
    .await;
    seen.ready = now();
    seen
}

async fn until(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<Pod>>> + Unpin),
    mut wanted: impl FnMut(&WatchEvent<Pod>) -> bool,
) {
    loop {
        let event = events.try_next().await.expect("the watch holds").expect("the watch goes on");
        if wanted(&event) {
            return;
        }
    }
}

fn is(pod: &Pod, name: &str) -> bool {
    pod.metadata.name.as_deref() == Some(name)
}

fn conditions(pod: &Pod) -> BTreeMap<String, String> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.map(|c| (c.type_.clone(), c.status.clone())).collect()
}
