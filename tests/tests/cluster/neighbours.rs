//! Bad neighbours: each ends for its own reason or is held, and nobody else notices.

use coracle_tests::{Cluster, eventually, http};
use serde_json::{Value, json};

/// What the server may take for all of them together: none takes the host's memory for its own purposes. A debug build
/// with a dozen guests is at a fifth of it.
const SERVER_MB_MAX: u64 = 1024;

#[test]
fn neighbours_that_ask_for_too_much_of_the_host_end_and_harm_nobody() {
    let cluster = with_hello();
    for kind in ["stack", "random", "timers", "fields", "panic"] {
        cluster.api().create(PODS, &neighbour(kind, &json!({})));
    }
    for (kind, why) in [
        ("stack", "call stack exhausted"),
        ("random", "exceeds limit"),
        ("timers", "no free keys"),
        ("fields", "total size of fields exceeds limit"),
        ("panic", "unreachable"),
    ] {
        let end = cluster.terminated(&format!("burn-{kind}"));
        assert_eq!((&end["exitCode"], &end["reason"]), (&json!(134), &json!("Error")), "{kind}: {end}");
        let message = end["message"].as_str().unwrap_or_default();
        let log = cluster.coracle(&format!("logs burn-{kind}")).ok();
        assert!(message.contains(why) && log.contains(why), "{kind}: {message}\n{log}");
        // It tells where it happened.
        assert!(message.contains("wasm backtrace") && log.contains("wasm backtrace"), "{kind}: {message}");
    }
    is_well(&cluster);
}

#[test]
fn neighbours_that_take_all_they_can_are_held_and_harm_nobody() {
    let cluster = with_hello();
    for kind in ["cpu", "calls", "turns", "log", "sockets"] {
        cluster.api().create(PODS, &neighbour(kind, &json!({"requests": {"cpu": "100m"}})));
    }
    let sockets = eventually("the sockets' end", || {
        let log = cluster.coracle("logs burn-sockets").tried()?;
        let count = log.split_once(" sockets, and then: ").and_then(|(count, _)| count.parse::<u32>().ok());
        count.ok_or_else(|| format!("no end yet: {log}"))
    });
    assert!((1..10_000).contains(&sockets), "{sockets}");
    for _ in 0..100 {
        let (status, body) = http::get(cluster.node_port(30080), "/healthz").expect("the neighbour answers");
        assert_eq!((status, &body[..]), (200, "ok\n"));
    }
    for kind in ["cpu", "calls", "turns", "log", "sockets"] {
        let pod = cluster.get(&format!("{PODS}/burn-{kind}"));
        assert_eq!(pod["status"]["phase"], json!("Running"), "{kind}: {}", pod["status"]);
    }
    is_well(&cluster);
}

const PODS: &str = "/api/v1/namespaces/default/pods";

fn with_hello() -> Cluster {
    let cluster = Cluster::start();
    cluster.push("burn");
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.ready_pods("app=hello", 3);
    eventually("an answer", || http::get(cluster.node_port(30080), "/healthz"));
    cluster
}

/// A neighbour that burns this, with these resources.
fn neighbour(kind: &str, resources: &Value) -> Value {
    let env = json!([{"name": "BURN", "value": kind}]);
    let container = json!({"name": "main", "image": "burn:1", "env": env, "resources": resources});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("burn-{kind}")},
        "spec": {"containers": [container], "restartPolicy": "Never"},
    })
}

/// The others answer, and the server has not grown beyond measure.
fn is_well(cluster: &Cluster) {
    let (status, body) = http::get(cluster.node_port(30080), "/healthz").expect("the neighbour answers");
    assert_eq!((status, &body[..]), (200, "ok\n"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", cluster.server().pid())).unwrap();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    assert!(peak.is_some_and(|kb| kb / 1024 < SERVER_MB_MAX), "the server took {peak:?} kB");
}
