//! Where pods with claims go, what is done for their claims, and what they are told.

use coracle_api::names::{NamespacedName, NodeName, Uid};
use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::*;
use crate::amounts::Requests;
use crate::schedule::schedule;
use crate::snapshot::Snapshot;

fn snapshot() -> Snapshot {
    let allocatable = json!({"cpu": "2", "memory": "1Gi", "pods": "10"});
    let node = json!({"metadata": {"name": "a", "labels": {"host": "h"}}, "status": {"allocatable": allocatable}});
    let mut snapshot = Snapshot::default();
    snapshot.put_node(NodeName::new("a").unwrap(), serde_json::from_value(node).unwrap());
    snapshot
}

/// A snapshot with one node on host `h`, and these claims, volumes and classes.
fn with_storage(claims: &[Value], volumes: &[Value]) -> Snapshot {
    let mut all = snapshot();
    for claim in claims {
        let mut meta = json!({"namespace": "n", "uid": "u"});
        meta.as_object_mut().unwrap().extend(claim["metadata"].as_object().unwrap().clone());
        let mut claim = claim.clone();
        claim["metadata"] = meta;
        let claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
        let key = NamespacedName::new("n", claim.metadata.name.clone().unwrap());
        all.storage.claims.insert(key, claim);
    }
    for volume in volumes {
        let volume: PersistentVolume = serde_json::from_value(volume.clone()).unwrap();
        all.storage.volumes.insert(volume.metadata.name.clone().unwrap(), volume);
    }
    for (name, provisioner, mode) in [
        ("late", "example.com/p", "WaitForFirstConsumer"),
        ("none", "kubernetes.io/no-provisioner", "WaitForFirstConsumer"),
        ("now", "example.com/p", "Immediate"),
    ] {
        let class = json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode});
        all.storage.classes.insert(name.to_owned(), serde_json::from_value(class).unwrap());
    }
    all
}

fn user_of(claim: &str) -> Pod {
    let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": claim}});
    let spec = json!({"containers": [{"name": "c"}], "volumes": [volume]});
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec})).unwrap()
}

fn claim_spec(class: &str, volume: &str) -> Value {
    json!({"storageClassName": class, "volumeName": volume, "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}})
}

fn bound(name: &str, volume: &str) -> Value {
    let annotations = json!({"pv.kubernetes.io/bind-completed": "yes"});
    let meta = json!({"name": name, "annotations": annotations});
    json!({"metadata": meta, "spec": claim_spec("late", volume), "status": {"phase": "Bound"}})
}

fn at(name: &str, host: &str) -> Value {
    let term = json!({"matchExpressions": [{"key": "host", "operator": "In", "values": [host]}]});
    let affinity = json!({"required": {"nodeSelectorTerms": [term]}});
    json!({"metadata": {"name": name}, "status": {"phase": "Available"}, "spec": {
        "storageClassName": "none", "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"],
        "nodeAffinity": affinity}})
}

fn told(claims: &[Value], volumes: &[Value], expected: &Expect) {
    let snapshot = with_storage(claims, volumes);
    let pod = user_of("c");
    let text = match schedule(&pod, &snapshot) {
        Err(why) => why.to_string(),
        Ok(node) => {
            let needs = needs(&pod, &snapshot.storage).unwrap();
            let steps = prepare(&needs, snapshot.node(&node).unwrap(), &snapshot.storage).unwrap();
            let step = |step: Preparation| match step {
                Preparation::Give { volume, .. } => format!("give {}", volume.metadata.name.unwrap()),
                Preparation::Select { .. } => "select".to_owned(),
            };
            let steps: Vec<_> = steps.into_iter().map(step).collect();
            format!("{node}, waits: {}, {steps:?}", needs.wait())
        }
    };
    expected.assert_eq(&text);
}

#[test]
fn a_pod_whose_claims_are_not_ready_is_told_so() {
    let plain = |class: &str| json!({"metadata": {"name": "c"}, "spec": claim_spec(class, "")});
    told(
        &[],
        &[],
        &expect![[
            r#"0/1 nodes are available: persistentvolumeclaim "c" not found. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."#
        ]],
    );
    told(
        &[plain("now")],
        &[],
        &expect![
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
    told(
        &[plain("none")],
        &[at("v", "elsewhere")],
        &expect![
            "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
    told(
        &[bound("c", "v")],
        &[at("v", "elsewhere")],
        &expect![
            "0/1 nodes are available: 1 node(s) had volume node affinity conflict. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
    told(
        &[bound("c", "v")],
        &[],
        &expect![
            "0/1 nodes are available: 1 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s). preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
    let mut leaving = bound("c", "v");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    told(
        &[leaving],
        &[],
        &expect![[
            r#"0/1 nodes are available: persistentvolumeclaim "c" is being deleted. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."#
        ]],
    );
}

#[test]
fn a_pod_goes_where_its_volumes_are_or_can_be() {
    told(&[bound("c", "v")], &[at("v", "h")], &expect!["a, waits: false, []"]);
    let plain = |class: &str| json!({"metadata": {"name": "c"}, "spec": claim_spec(class, "")});
    told(&[plain("late")], &[], &expect![[r#"a, waits: true, ["select"]"#]]);
    told(&[plain("none")], &[at("v", "h")], &expect![[r#"a, waits: true, ["give v"]"#]]);
    let mut chosen = plain("late");
    chosen["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": "a"});
    told(&[chosen.clone()], &[], &expect!["a, waits: true, []"]);
    chosen["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": "b"});
    told(
        &[chosen],
        &[],
        &expect![
            "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn a_claim_for_one_pod_alone_is_used_by_one_pod() {
    let mut claim = bound("c", "v");
    claim["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    let mut all = with_storage(&[claim], &[at("v", "h")]);
    let user = user_of("c");
    all.place(Uid::new("u").unwrap(), NodeName::new("a").unwrap(), Requests::of(&user));
    let why = schedule(&user, &all).unwrap_err().to_string();
    expect!["0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."].assert_eq(&why);
    all.unplace(&Uid::new("u").unwrap());
    assert_eq!(schedule(&user, &all).unwrap().as_str(), "a");
}

#[test]
fn a_pod_is_not_bound_before_the_status_of_its_claim_is() {
    let waits = |phase: &str| {
        let mut claim = bound("c", "v");
        claim["status"] = json!({"phase": phase});
        let all = with_storage(&[claim], &[at("v", "h")]);
        needs(&user_of("c"), &all.storage).unwrap().wait()
    };
    assert!(waits("Pending") && !waits("Bound"));
}
