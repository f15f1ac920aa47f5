//! Claims and volumes that people made: what binds to what, and who is protected.

use coracle_tests::{Cluster, eventually};
use serde_json::{Value, json};

use super::{CLAIMS, CLASSES, PODS, VOLUMES, bound, claim, class, found, gone, in_phase, user};

fn volume(name: &str, size: &str, more: &Value) -> Value {
    let mut spec = json!({"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": format!("/srv/{name}")}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"metadata": {"name": name, "labels": {"disk": name}}, "spec": spec})
}

#[test]
fn a_claim_is_bound_to_the_smallest_volume_that_suits_it() {
    let cluster = Cluster::start();
    let by_hand = json!({"storageClassName": ""});
    for (name, size) in [("large", "9Gi"), ("right", "5Gi"), ("small", "1Gi")] {
        cluster.api().create(VOLUMES, &volume(name, size, &json!({})));
        in_phase(&cluster, &format!("{VOLUMES}/{name}"), "Available");
    }
    cluster.api().create(CLAIMS, &claim("data", "4Gi", &by_hand));
    assert_eq!(bound(&cluster, "data").0, "right");
    let right = in_phase(&cluster, &format!("{VOLUMES}/right"), "Bound");
    assert_eq!(right["spec"]["claimRef"]["name"], "data");
    assert_eq!(right["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"], "yes");
    let status = found(&cluster, &format!("{CLAIMS}/data")).unwrap()["status"].clone();
    assert_eq!(status["capacity"]["storage"], "5Gi");
    assert_eq!(status["accessModes"], json!(["ReadWriteOnce"]));

    // What nothing suits waits, and is told so.
    let shared = json!({"storageClassName": "", "accessModes": ["ReadWriteMany"]});
    for (name, spec) in [("huge", claim("huge", "99Gi", &by_hand)), ("shared", claim("shared", "1Gi", &shared))] {
        cluster.api().create(CLAIMS, &spec);
        let words = "no persistent volumes available for this claim and no storage class is set";
        assert_eq!(cluster.event(name, "FailedBinding"), words);
        in_phase(&cluster, &format!("{CLAIMS}/{name}"), "Pending");
    }
    // Until something does.
    cluster.api().create(VOLUMES, &volume("wide", "2Gi", &json!({"accessModes": ["ReadWriteMany"]})));
    assert_eq!(bound(&cluster, "shared").0, "wide");
}

#[test]
fn a_claim_and_a_volume_may_be_set_aside_for_each_other() {
    let cluster = Cluster::start();
    cluster.api().create(VOLUMES, &volume("a", "5Gi", &json!({})));
    let kept = json!({"claimRef": {"namespace": "default", "name": "later"}});
    cluster.api().create(VOLUMES, &volume("kept", "5Gi", &kept));
    in_phase(&cluster, &format!("{VOLUMES}/kept"), "Available");
    let by_name = |volume: &str| json!({"storageClassName": "", "volumeName": volume});
    cluster.api().create(CLAIMS, &claim("too-much", "6Gi", &by_name("a")));
    assert_eq!(
        cluster.event("too-much", "VolumeMismatch"),
        "Cannot bind to requested volume \"a\": requested PV is too small"
    );
    cluster.api().create(CLAIMS, &claim("thief", "1Gi", &by_name("kept")));
    assert_eq!(cluster.event("thief", "FailedBinding"), "volume \"kept\" already bound to a different claim.");
    cluster.api().create(CLAIMS, &claim("later", "1Gi", &json!({"storageClassName": ""})));
    assert_eq!(bound(&cluster, "later").0, "kept");
    cluster.api().create(CLAIMS, &claim("named", "1Gi", &by_name("a")));
    assert_eq!(bound(&cluster, "named").0, "a");
}

#[test]
fn what_is_in_use_stays_until_it_no_longer_is() {
    let cluster = Cluster::start();
    cluster.api().create(VOLUMES, &volume("v", "5Gi", &json!({})));
    cluster.api().create(CLAIMS, &claim("data", "1Gi", &json!({"storageClassName": ""})));
    bound(&cluster, "data");
    cluster.api().create(PODS, &user("p", "data"));
    eventually("a node for the pod", || {
        let pod = found(&cluster, &format!("{PODS}/p")).unwrap();
        pod["spec"]["nodeName"].as_str().map(|_| ()).ok_or_else(|| pod["status"].to_string())
    });
    cluster.kubectl("delete pv v --wait=false").ok();
    cluster.kubectl("delete pvc data --wait=false").ok();
    let listed = cluster.kubectl("get pvc,pv --no-headers").ok();
    assert_eq!(listed.matches("Terminating").count(), 2, "{listed}");
    let described = cluster.kubectl("describe pvc data").ok();
    assert!(described.contains("Used By:       p\n"), "{described}");
    // New pods cannot have it.
    cluster.api().create(PODS, &user("q", "data"));
    let words = cluster.event("q", "FailedScheduling");
    assert!(words.contains("persistentvolumeclaim \"data\" is being deleted"), "{words}");
    cluster.kubectl("delete pod p q").ok();
    gone(&cluster, &format!("{CLAIMS}/data"));
    gone(&cluster, &format!("{VOLUMES}/v"));
}

#[test]
fn a_volume_whose_claim_is_gone_goes_the_way_of_its_policy() {
    let cluster = Cluster::start();
    for (policy, phase) in [("Retain", "Released"), ("Delete", "Failed"), ("Recycle", "Failed")] {
        let name = policy.to_lowercase();
        let spec = json!({"persistentVolumeReclaimPolicy": policy});
        cluster.api().create(VOLUMES, &volume(&name, "5Gi", &spec));
        let by_name = json!({"storageClassName": "", "volumeName": name});
        cluster.api().create(CLAIMS, &claim(&name, "1Gi", &by_name));
        bound(&cluster, &name);
        cluster.api().delete(&format!("{CLAIMS}/{name}"));
        in_phase(&cluster, &format!("{VOLUMES}/{name}"), phase);
    }
    assert_eq!(cluster.event("recycle", "VolumeFailedRecycle"), "No recycler plugin found for the volume!");
    // A released volume is nobody's until a person says so.
    cluster.api().create(CLAIMS, &claim("next", "1Gi", &json!({"storageClassName": ""})));
    cluster.event("next", "FailedBinding");
    cluster.api().patch(&format!("{VOLUMES}/retain"), &json!({"spec": {"claimRef": null}}));
    assert_eq!(bound(&cluster, "next").0, "retain");
    // And a claim that loses its volume says so.
    cluster.kubectl("delete pv retain --wait=false").ok();
    cluster.api().patch(&format!("{VOLUMES}/retain"), &json!({"metadata": {"finalizers": null}}));
    in_phase(&cluster, &format!("{CLAIMS}/next"), "Lost");
    let words = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
    assert_eq!(cluster.event("next", "ClaimLost"), words);
}

#[test]
fn a_pod_is_told_what_its_claims_lack() {
    let cluster = Cluster::start();
    let said = |pod: &str, words: &str| {
        let message = cluster.event(pod, "FailedScheduling");
        assert!(message.starts_with("0/1 nodes are available: ") && message.contains(words), "{message}");
    };
    cluster.api().create(PODS, &user("none", "missing"));
    said("none", "persistentvolumeclaim \"missing\" not found");
    cluster.api().create(CLAIMS, &claim("waits", "1Gi", &json!({"storageClassName": ""})));
    cluster.api().create(PODS, &user("waits", "waits"));
    said("waits", "pod has unbound immediate PersistentVolumeClaims");
    let mut by_hand = class("by-hand", "WaitForFirstConsumer", "Delete");
    by_hand["provisioner"] = json!("kubernetes.io/no-provisioner");
    cluster.api().create(CLASSES, &by_hand);
    cluster.api().create(CLAIMS, &claim("local", "1Gi", &json!({"storageClassName": "by-hand"})));
    cluster.api().create(PODS, &user("local", "local"));
    said("local", "1 node(s) didn't find available persistent volumes to bind");
    // And each goes on by itself once there is what it lacked.
    let made = volume("made", "5Gi", &json!({"storageClassName": "by-hand"}));
    cluster.api().create(VOLUMES, &made);
    assert_eq!(bound(&cluster, "local").0, "made");
    cluster.api().create(VOLUMES, &volume("plain", "5Gi", &json!({})));
    cluster.api().create(CLAIMS, &claim("missing", "1Gi", &json!({})));
    for pod in ["none", "waits", "local"] {
        eventually(&format!("a node for {pod}"), || {
            let pod = found(&cluster, &format!("{PODS}/{pod}")).unwrap();
            pod["spec"]["nodeName"].as_str().map(|_| ()).ok_or_else(|| pod["status"].to_string())
        });
    }
}

#[test]
fn a_claim_for_one_pod_alone_keeps_others_waiting() {
    let cluster = Cluster::start();
    cluster.api().create(CLAIMS, &claim("data", "1Gi", &json!({"accessModes": ["ReadWriteOncePod"]})));
    cluster.api().create(PODS, &user("first", "data"));
    bound(&cluster, "data");
    let node = |pod: &str| found(&cluster, &format!("{PODS}/{pod}")).unwrap()["spec"]["nodeName"].clone();
    eventually("a node for the first", || if node("first").is_null() { Err(String::new()) } else { Ok(()) });
    cluster.api().create(PODS, &user("second", "data"));
    let words = cluster.event("second", "FailedScheduling");
    let expected = "1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    assert!(words.contains(expected), "{words}");
    cluster.kubectl("delete pod first").ok();
    eventually("a node for the second", || if node("second").is_null() { Err(String::new()) } else { Ok(()) });
}
