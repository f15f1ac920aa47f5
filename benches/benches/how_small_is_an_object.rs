//! How small is an object?
//!
//! Goal: a tenth of what kube-apiserver and etcd take: 1.24 GB with 12,247 Pods and 20,000 ConfigMaps against 424 MB with
//! none, so some 25 KB an object; that is 2.5 KB.
//! Method: an API server alone. Resident memory after start, after 10,000 Pods, after 20,000 ConfigMaps, and after the
//! server was started again with all of them; what the objects' own JSON takes, and what the data directory grew by.
//! Back of the envelope: an entry is its JSON (2 KB for a Pod with its managed fields, 0.6 KB for a ConfigMap), a key
//! of 60 bytes, an index entry of 50; the history holds the newest events, which share the entries' bytes.
#![allow(clippy::expect_used, reason = "a bench that cannot measure ends with a message")]

use std::path::Path;

use coracle_benches::load::on_one_thread;
use coracle_benches::{API_ALONE, Ask, Process, Table, Target, load, objects};
use coracle_tests::Cluster;

const PODS: usize = 10_000;
const CONFIG_MAPS: usize = 20_000;
const CLIENTS: usize = 64;

fn main() {
    let mut cluster = Cluster::builder().flags(API_ALONE).start();
    let headings = ["state", "RSS MB", "anonymous MB", "KB of memory an object", "KB of JSON", "KB of disk"];
    let mut table = Table::new(&headings);
    let empty = State::of(&cluster);
    table.row(&empty.row("started", &empty, 0, 0));
    let pods = written(&cluster, "pods", PODS, objects::pod);
    let with_pods = State::of(&cluster);
    table.row(&with_pods.row("and 10,000 Pods", &empty, PODS, pods));
    let maps = written(&cluster, "configmaps", CONFIG_MAPS, objects::config_map);
    let with_all = State::of(&cluster);
    table.row(&with_all.row("and 20,000 ConfigMaps", &with_pods, CONFIG_MAPS, maps));
    cluster.restart();
    let again = State::of(&cluster);
    table.row(&again.row("all 30,000, started again", &empty, PODS + CONFIG_MAPS, pods + maps));
    table.print("How small is an object? (each line against the one it grew from)");
}

/// Writes so many, and returns what their JSON takes, in bytes.
fn written(cluster: &Cluster, plural: &str, count: usize, object: fn(usize) -> String) -> usize {
    let path = format!("/api/v1/namespaces/default/{plural}");
    on_one_thread(async {
        let target = Target::of(&cluster.server().kubeconfig, cluster.server().api).await;
        let (to, sent) = (path.clone(), object);
        load(&target, CLIENTS, count, move |n| Ask::post(to.clone(), sent(n))).await;
        target.connect().await.ask(Ask::get(path)).await.len()
    })
}

/// What the server takes at a time.
struct State {
    rss: f64,
    anonymous: f64,
    disk: f64,
}

impl State {
    fn of(cluster: &Cluster) -> Self {
        let process = Process(cluster.server().pid());
        let (rss, anonymous) = (process.megabytes("VmRSS"), process.megabytes("RssAnon"));
        Self { rss, anonymous, disk: bytes_under(&cluster.data_dir()) }
    }

    fn row(&self, name: &str, before: &Self, count: usize, json: usize) -> [String; 6] {
        let each = |bytes: f64| match u32::try_from(count) {
            Ok(0) | Err(_) => "-".to_owned(),
            Ok(count) => format!("{:.2}", bytes / 1024.0 / f64::from(count)),
        };
        [
            name.to_owned(),
            format!("{:.1}", self.rss),
            format!("{:.1}", self.anonymous),
            each((self.anonymous - before.anonymous) * 1024.0 * 1024.0),
            each(u32::try_from(json).map_or(f64::NAN, f64::from)),
            each(self.disk - before.disk),
        ]
    }
}

/// What the files under a directory take on disk.
fn bytes_under(dir: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).expect("the data directory can be read");
    let of = |entry: std::fs::DirEntry| {
        let path = entry.path();
        if path.is_dir() {
            return bytes_under(&path);
        }
        let blocks = path.metadata().map(|meta| meta.blocks()).unwrap_or_default();
        f64::from(u32::try_from(blocks).expect("less than 2 TB")) * 512.0
    };
    entries.filter_map(Result::ok).map(of).sum()
}
