//! Which node a pod gets, or what it is told.

use coracle_api::names::Uid;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn node(name: &str, extra: &Value) -> Node {
    let mut allocatable = json!({"cpu": "2", "memory": "1Gi", "pods": "10"});
    for (key, value) in extra["allocatable"].as_object().into_iter().flatten() {
        allocatable[key] = value.clone();
    }
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": extra["labels"]},
        "spec": {"taints": extra["taints"], "unschedulable": extra["unschedulable"]},
        "status": {"allocatable": allocatable},
    }))
    .unwrap()
}

fn snapshot(nodes: &[(&str, Value)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, extra) in nodes {
        snapshot.put_node(NodeName::new(*name).unwrap(), node(name, extra));
    }
    snapshot
}

fn pod(cpu: &str, spec: &Value) -> Pod {
    let mut all = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": all})).unwrap()
}

fn check(pod: &Pod, nodes: &[(&str, Value)], expected: &Expect) {
    let text = match schedule(pod, &snapshot(nodes)) {
        Ok(name) => name.to_string(),
        Err(why) => why.to_string(),
    };
    expected.assert_eq(&text);
}

#[test]
fn the_pod_is_told_why_it_fits_nowhere() {
    let taint = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
    check(&pod("1", &json!({})), &[], &expect!["no nodes available to schedule pods"]);
    check(
        &pod("3", &json!({})),
        &[("a", json!({})), ("b", taint.clone()), ("c", taint.clone())],
        &expect![
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        ],
    );
    check(
        &pod("1", &json!({"nodeSelector": {"disk": "ssd"}})),
        &[("a", json!({})), ("b", json!({"unschedulable": true, "labels": {"disk": "ssd"}}))],
        &expect![
            "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        ],
    );
    check(
        &pod("1", &json!({"preemptionPolicy": "Never"})),
        &[("a", json!({"allocatable": {"pods": "0"}}))],
        &expect!["0/1 nodes are available: 1 Too many pods. preemption: not eligible due to preemptionPolicy=Never."],
    );
}

#[test]
fn a_full_node_could_be_made_room_on() {
    let mut full = snapshot(&[("a", json!({}))]);
    let busy = pod("2", &json!({}));
    full.place(Uid::new("u").unwrap(), NodeName::new("a").unwrap(), Requests::of(&busy));
    let why = schedule(&pod("1", &json!({})), &full).unwrap_err().to_string();
    expect!["0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."].assert_eq(&why);
}

#[test]
fn a_pod_gets_the_node_it_may_and_would_like_to_have() {
    let tolerant = json!({"tolerations": [{"key": "k", "operator": "Exists"}]});
    let hard = json!({"taints": [{"key": "k", "effect": "NoExecute"}]});
    let soft = json!({"taints": [{"key": "x", "effect": "PreferNoSchedule"}]});
    let ssd = json!({"labels": {"disk": "ssd"}});
    let require = |term: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}});
    let prefer = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 10, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}]}}});
    let named = require(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}));
    let not_ssd = require(json!({"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["ssd"]}]}));
    check(&pod("1", &tolerant), &[("a", hard.clone())], &expect!["a"]);
    check(&pod("1", &json!({})), &[("a", soft.clone()), ("b", json!({}))], &expect!["b"]);
    check(&pod("1", &json!({})), &[("a", soft)], &expect!["a"]);
    check(&pod("1", &named), &[("a", json!({})), ("b", json!({}))], &expect!["b"]);
    check(&pod("1", &not_ssd), &[("a", ssd.clone()), ("b", json!({}))], &expect!["b"]);
    check(&pod("1", &prefer), &[("a", json!({})), ("b", ssd)], &expect!["b"]);
    check(&pod("1", &json!({})), &[("a", json!({})), ("b", json!({"allocatable": {"cpu": "4"}}))], &expect!["b"]);
    check(&pod("1", &json!({})), &[("a", json!({})), ("b", json!({}))], &expect!["a"]);
}

proptest! {
    #[test]
    fn a_burst_never_overfills_a_node_and_spreads(cpus in proptest::collection::vec(1..1500_i64, 1..40)) {
        let mut snapshot = snapshot(&[("a", json!({})), ("b", json!({})), ("c", json!({}))]);
        for (i, cpu) in cpus.iter().enumerate() {
            let pod = pod(&format!("{cpu}m"), &json!({}));
            match schedule(&pod, &snapshot) {
                Ok(name) => snapshot.place(Uid::new(format!("u{i}")).unwrap(), name, Requests::of(&pod)),
                Err(why) => prop_assert_eq!(why.nodes.len(), 3),
            }
            for (_, _, info) in snapshot.nodes() {
                prop_assert!(info.requested.get("cpu") <= 2000);
                prop_assert!(info.pod_count() <= 10);
            }
        }
        if cpus.len() >= 3 {
            prop_assert!(snapshot.nodes().all(|(_, _, info)| info.pod_count() > 0));
        }
    }
}
