//! How fast is a pod?
//!
//! Goal: 10 ms from `create` to `Ready`, half of the time; so fast that nobody keeps pods warm.
//! Method: 200 pods, one at a time, compile cache warm, API over TLS with the same client as any controller. The clock
//! starts before the POST and stops when the watch shows the condition; the pod is deleted before the next is made.
//! Once for an HTTP component (nothing runs until a request comes) and once for a command (an instance is started).
//! Then uncached, by size: every guest that has been built (`scripts/samples`, `scripts/guests`), three times, each time
//! with a few bytes more that make another image of it, so that it is compiled.
//! Back of the envelope: four writes (create, bind, status, events beside), each a redb commit with an fsync of 0.5–3 ms
//! on a laptop's disk; five watch events at 30 µs; an instance 0.1 ms. So the disk decides: 3–10 ms.
#![allow(clippy::expect_used, reason = "a bench that cannot measure ends with a message")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use coracle_benches::{Process, Spread, Table};
use coracle_tests::{Cluster, paths};
use futures::{Stream, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

const PODS: usize = 200;

/// How often each guest is compiled.
const COMPILATIONS: u8 = 3;

/// When, in milliseconds after the beginning, what was seen of a pod.
#[derive(Default)]
struct Seen {
    created: f64,
    scheduled: f64,
    ready: f64,
}

fn main() {
    let cluster = Cluster::start();
    cached(&cluster);
    uncached(&cluster);
}

fn cached(cluster: &Cluster) {
    let mut table = Table::new(&["pod", "n", "create p50", "scheduled p50", "ready p50", "ready p99", "CPU ms/pod"]);
    for sample in ["hello", "counter"] {
        cluster.push(sample);
        let api = cluster.connect();
        let image = format!("{sample}:1");
        // The first compiles, and is not counted.
        api.wait_for(pods(api.client(), sample, &image, 1));
        let process = Process(cluster.server().pid());
        let cpu = process.cpu_seconds();
        let seen = api.wait_for(pods(api.client(), sample, &image, PODS));
        let cpu = (process.cpu_seconds() - cpu) * 1e3 / f64::from(u32::try_from(PODS).expect("few"));
        let of = |figure: fn(&Seen) -> f64| Spread::of(seen.iter().map(figure).collect());
        let (created, scheduled, ready) = (of(|s| s.created), of(|s| s.scheduled), of(|s| s.ready));
        let figures = [created.median(), scheduled.median(), ready.median(), ready.percentile(99), cpu];
        let cells = [sample.to_owned(), ready.count().to_string()].into_iter();
        table.row(&cells.chain(figures.map(|ms| format!("{ms:.1}"))).collect::<Vec<_>>());
    }
    table.print("How fast is a pod? (milliseconds from the request to create it)");
}

fn uncached(cluster: &Cluster) {
    let mut table = Table::new(&["guest", "KB", "n", "ready p50 ms"]);
    for (name, wasm) in guests() {
        let api = cluster.connect();
        let ready = (0..COMPILATIONS).map(|number| {
            let image = format!("{name}:uncached-{number}");
            let file = cluster.file("guest.wasm", salted(&wasm, number));
            cluster.coracle(&format!("image push {file} {image}")).ok();
            let seen = api.wait_for(pods(api.client(), &name, &image, 1));
            seen.first().expect("one pod").ready
        });
        let ready = Spread::of(ready.collect());
        let kilobytes = (wasm.len() / 1000).to_string();
        table.row(&[name.clone(), kilobytes, COMPILATIONS.to_string(), format!("{:.0}", ready.median())]);
    }
    table.print("How fast is a pod whose image was never compiled here?");
}

/// The guests that have been built, the smallest first.
fn guests() -> Vec<(String, Vec<u8>)> {
    let folders = ["target/samples", "target/guests"].map(|folder| paths::root().join(folder));
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let wasm = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "wasm"));
    let name = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut guests: Vec<_> = wasm.map(|path| (name(&path), std::fs::read(&path).expect("it can be read"))).collect();
    guests.sort_by_key(|(_, wasm)| wasm.len());
    guests
}

/// The same program as another image: WebAssembly lets anybody append a section of their own.
fn salted(wasm: &[u8], number: u8) -> Vec<u8> {
    let (custom, name) = (0, b"salt");
    let mut salted = wasm.to_vec();
    salted.extend([custom, 6, 4]);
    salted.extend(name);
    salted.push(number);
    salted
}

async fn pods(client: kube::Client, sample: &str, image: &str, count: usize) -> Vec<Seen> {
    let api: Api<Pod> = Api::namespaced(client, "default");
    let from = api.list(&kube::api::ListParams::default()).await.expect("a list").metadata.resource_version;
    let version = from.expect("a list has a version");
    let mut events = Box::pin(api.watch(&WatchParams::default(), &version).await.expect("a watch"));
    let mut seen = Vec::with_capacity(count);
    for number in 0..count {
        let name = format!("{sample}-{number}");
        seen.push(one(&api, &name, image, &mut events).await);
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
    image: &str,
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<Pod>>> + Unpin),
) -> Seen {
    let spec = json!({"containers": [{"name": "main", "image": image}]});
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
        holds("Ready") || has_run(pod)
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

/// A command may have ended before it was seen to be ready.
fn has_run(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.flat_map(|s| [&s.state, &s.last_state]).flatten().any(|state| state.terminated.is_some())
}

fn conditions(pod: &Pod) -> BTreeMap<String, String> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.map(|c| (c.type_.clone(), c.status.clone())).collect()
}
