//! `kubectl events` and the events in `kubectl describe`: what was found, how often, and what to do.

use coracle_tests::{Cluster, eventually};

/// A pod that crashes again and again, and one whose volume is not there.
const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: crasher}
spec:
  containers:
    - {name: files, image: "files:1", args: ["exit", "3"]}
---
apiVersion: v1
kind: Pod
metadata: {name: waiter}
spec:
  containers:
    - {name: files, image: "files:1", volumeMounts: [{name: config, mountPath: /config}]}
  volumes:
    - {name: config, configMap: {name: absent}}
"#;

#[test]
fn the_life_of_a_pod_is_told_and_what_repeats_is_counted() {
    let cluster = Cluster::start();
    cluster.push("files");
    let mut watched = cluster.kubectl_stream("events --watch");
    cluster.kubectl_with("apply -f -", PODS).ok();
    watched.until("the back-off", |line| line.contains("BackOff") && line.contains("Pod/crasher"));

    let told = cluster.kubectl("events --for pod/crasher").ok();
    for reason in ["Scheduled", "Pulled", "Created", "Started", "BackOff"] {
        assert!(told.contains(&format!(" {reason} ")), "{reason} in {told}");
    }
    assert!(!told.contains("waiter"), "{told}");
    let warnings = cluster.kubectl("events --for pod/crasher --types=Warning").ok();
    assert!(warnings.contains("Back-off restarting failed container files in pod crasher"), "{warnings}");
    assert!(!warnings.contains("Normal"), "{warnings}");

    let started =
        "get events --field-selector involvedObject.name=crasher,reason=Started -o jsonpath={.items[*].count}";
    eventually("one event of several starts", || {
        let count = cluster.kubectl(started).ok();
        if count.parse::<u32>().is_ok_and(|count| count > 1) { Ok(()) } else { Err(count) }
    });
    let absent = cluster.event("waiter", "FailedMount");
    assert!(absent.contains("configmap \"absent\" not found"), "{absent}");
    let sorted = cluster.kubectl("get events --sort-by=.lastTimestamp --no-headers").ok();
    let column = |line: &str| line.split_whitespace().nth(2).map(str::to_owned);
    let reasons: Vec<String> = sorted.lines().filter_map(column).collect();
    assert!(reasons.contains(&"FailedMount".to_owned()) && reasons.contains(&"Scheduled".to_owned()), "{sorted}");
}

#[test]
fn a_node_tells_of_its_conditions() {
    let cluster = Cluster::start();
    let name = cluster.kubectl("get nodes -o jsonpath={.items[0].metadata.name}").ok();
    eventually("the node's events", || {
        let described = cluster.kubectl(&format!("describe node {name}")).ok();
        let wanted = ["Starting kubelet.", "NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"];
        let missing: Vec<_> = wanted.into_iter().filter(|text| !described.contains(text)).collect();
        let ready = described.contains(&format!("Node {name} status is now: NodeReady"));
        if missing.is_empty() && ready { Ok(()) } else { Err(format!("{missing:?} missing in {described}")) }
    });
}
