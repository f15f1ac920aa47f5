//! A pod and the API, alone and beside bad neighbours.

use std::time::Duration;

use coracle_benches::{Process, Table, Target};
use coracle_tests::{Cluster, eventually, http};
use serde_json::{Value, json};

use crate::load::{Seen, ask_both};

/// How long each is measured.
const TIME: Duration = Duration::from_secs(5);

/// Each kind of neighbour, how many of them, and what memory each may have.
const NEIGHBOURS: [(&str, usize, &str); 9] = [
    ("cpu", 8, "32Mi"),
    ("calls", 8, "32Mi"),
    ("turns", 8, "32Mi"),
    ("fill", 2, "512Mi"),
    ("log", 4, "32Mi"),
    ("files", 1, "32Mi"),
    ("sockets", 2, "64Mi"),
    ("timers", 2, "64Mi"),
    ("fields", 2, "64Mi"),
];

/// Measures a pod and the API beside each kind of neighbour.
pub(crate) fn compare() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.push("burn");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.coracle("scale deploy/hello --replicas=1").ok();
    let pod = cluster.ready_pods("app=hello", 1).remove(0);
    eventually("an answer", || http::get(cluster.node_port(30080), "/healthz"));
    let process = Process(cluster.server().pid());
    let mut table = Table::new(&["beside", "pod p50 ms", "pod p99 ms", "API p50 ms", "API p99 ms", "RSS MB"]);
    let mut measure = |beside: String, seen: Seen| {
        let figures = [seen.pod.median(), seen.pod.percentile(99), seen.api.median(), seen.api.percentile(99)];
        let cells = [beside].into_iter().chain(figures.map(|ms| format!("{ms:.2}")));
        table.row(&cells.chain([format!("{:.0}", process.megabytes("VmRSS"))]).collect::<Vec<_>>());
    };
    measure("nobody".into(), ask(&cluster, &pod));
    for (kind, count, memory) in NEIGHBOURS {
        for number in 0..count {
            cluster.api().create("/api/v1/namespaces/default/pods", &neighbour(kind, number, memory));
        }
        eventually("their start", || {
            let pods = cluster.pods("app=burn");
            let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
            if running == count { Ok(()) } else { Err(format!("{running} of {count} run")) }
        });
        measure(format!("{count} × {kind}"), ask(&cluster, &pod));
        for number in 0..count {
            cluster
                .api()
                .delete(&format!("/api/v1/namespaces/default/pods/{}?gracePeriodSeconds=0", name(kind, number)));
        }
        eventually("their end", || {
            let left = cluster.pods("app=burn").len();
            if left == 0 { Ok(()) } else { Err(format!("{left} are left")) }
        });
    }
    measure("nobody again".into(), ask(&cluster, &pod));
    table.print("How does a pod answer beside bad neighbours?");
}

fn ask(cluster: &Cluster, pod: &str) -> Seen {
    let (kubeconfig, api) = (cluster.server().kubeconfig.clone(), cluster.server().api);
    let path = format!("/api/v1/namespaces/default/pods/{pod}");
    ask_both(cluster.node_port(30080), async move || Target::of(&kubeconfig, api).await, &path, TIME)
}

fn name(kind: &str, number: usize) -> String {
    format!("burn-{kind}-{number}")
}

fn neighbour(kind: &str, number: usize, memory: &str) -> Value {
    let env = json!([{"name": "BURN", "value": kind}]);
    let resources = json!({"limits": {"memory": memory}, "requests": {"memory": "1Mi"}});
    let container = json!({"name": "main", "image": "burn:1", "env": env, "resources": resources});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name(kind, number), "labels": {"app": "burn"}},
        "spec": {"containers": [container], "restartPolicy": "Always"},
    })
}
