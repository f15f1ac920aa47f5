//! The bad neighbour: held to its CPU and its memory, while others answer.

use std::time::{Duration, Instant};

use coracle_tests::{Cluster, eventually, http};
use serde_json::json;

/// How long it is watched: many periods of its quota.
const WATCHED: Duration = Duration::from_secs(2);

#[test]
fn the_bad_neighbour_is_held_to_its_limits_while_others_answer() {
    let cluster = Cluster::start();
    cluster.push("burn");
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.ready_pods("app=hello", 3);
    eventually("an answer", || http::get(cluster.node_port(30080), "/"));
    let quiet = cpu_share(&cluster);

    cluster.coracle("apply -f samples/burn/burn.yaml").ok();
    let end = cluster.terminated("burn-memory");
    assert_eq!((&end["exitCode"], &end["reason"]), (&json!(137), &json!("OOMKilled")), "{end}");
    let log = cluster.coracle("logs burn-memory").ok();
    let last = log.lines().filter_map(|l| l.strip_prefix("holding ")?.strip_suffix(" MiB")?.parse::<u32>().ok()).max();
    assert!(last.is_some_and(|mib| (16..32).contains(&mib)), "it came close to its 32 MiB and not beyond: {log}");

    // Alone it would take a whole processor; it may take a tenth of one. The bounds leave room for slow machines.
    let share = cpu_share(&cluster) - quiet;
    assert!((0.03..0.4).contains(&share), "it takes {share} of a processor, where a tenth is allowed");

    // It never listens, and goes when it is told to.
    cluster.coracle("delete pod burn --grace-period=1").ok();
    let share = cpu_share(&cluster) - quiet;
    assert!(share < 0.05, "it is gone, and the server still takes {share} of a processor");
}

/// The server's share of a processor over a while in which a neighbour must answer.
fn cpu_share(cluster: &Cluster) -> f64 {
    let (start, before) = (Instant::now(), cluster.cpu_seconds());
    eventually("the end of the watch", || {
        let (status, body) = http::get(cluster.node_port(30080), "/healthz").expect("the neighbour answers");
        assert_eq!((status, &body[..]), (200, "ok\n"));
        if start.elapsed() > WATCHED { Ok(()) } else { Err("still watching".to_owned()) }
    });
    (cluster.cpu_seconds() - before) / start.elapsed().as_secs_f64()
}
