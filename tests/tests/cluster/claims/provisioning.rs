//! The storage class `local-path`: volumes that are made for claims, grow, and go or stay.

use std::os::unix::fs::PermissionsExt;

use coracle_tests::{Cluster, eventually};
use serde_json::{Value, json};

use super::{
    CLAIMS, CLASSES, PODS, VOLUMES, bound, claim, class, directories, found, gone, in_phase, no_directory, user,
};

#[test]
fn a_claim_gets_a_directory_of_its_own_with_its_first_pod_and_loses_it_with_itself() {
    let cluster = Cluster::start();
    let listed = cluster.kubectl("get sc --no-headers").ok();
    let columns: Vec<&str> = listed.split_whitespace().collect();
    assert_eq!(
        columns[..6],
        ["local-path", "(default)", "coracle.dev/local-path", "Delete", "WaitForFirstConsumer", "true"]
    );
    cluster.kubectl_with("apply -f -", &claim_yaml("data")).ok();
    let words = "waiting for first consumer to be created before binding";
    assert_eq!(cluster.event("data", "WaitForFirstConsumer"), words);
    let waiting = in_phase(&cluster, &format!("{CLAIMS}/data"), "Pending");
    assert_eq!(waiting["spec"]["storageClassName"], "local-path");

    cluster.api().create(PODS, &user("p", "data"));
    let (volume, dir) = bound(&cluster, "data");
    let uid = waiting["metadata"]["uid"].as_str().unwrap();
    assert_eq!(volume, format!("pvc-{uid}"));
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(cluster.event("data", "ProvisioningSucceeded"), format!("Successfully provisioned volume {volume}"));
    let listed = cluster.kubectl("get pv --no-headers").ok();
    let columns: Vec<&str> = listed.split_whitespace().take(7).collect();
    assert_eq!(columns, [&volume, "1Gi", "RWO", "Delete", "Bound", "default/data", "local-path"]);
    let described = cluster.kubectl("describe pvc data").ok();
    assert!(described.contains("Used By:       p\n"), "{described}");
    let described = cluster.kubectl(&format!("describe pv {volume}")).ok();
    assert!(described.contains("kubernetes.io/hostname in ["), "{described}");

    // Its data are there for every successor.
    std::fs::write(dir.join("kept"), "by one for the next").unwrap();
    cluster.kubectl("delete pod p").ok();
    cluster.api().create(PODS, &user("next", "data"));
    eventually("a node for the next", || {
        let pod = found(&cluster, &format!("{PODS}/next")).unwrap();
        pod["spec"]["nodeName"].as_str().map(|_| ()).ok_or_else(|| pod["status"].to_string())
    });
    assert_eq!(std::fs::read_to_string(dir.join("kept")).unwrap(), "by one for the next");
    cluster.kubectl("delete pvc data --wait=false").ok();
    assert_eq!(std::fs::read_to_string(dir.join("kept")).unwrap(), "by one for the next", "a pod uses it");
    cluster.kubectl("delete pod next").ok();
    gone(&cluster, &format!("{CLAIMS}/data"));
    gone(&cluster, &format!("{VOLUMES}/{volume}"));
    no_directory(&dir);
}

fn claim_yaml(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec:\n  accessModes: \
         [ReadWriteOnce]\n  resources: {{requests: {{storage: 1Gi}}}}\n"
    )
}

#[test]
fn a_retained_volume_outlives_its_claim_and_its_data_their_volume() {
    let mut cluster = Cluster::start();
    cluster.api().create(CLASSES, &class("kept", "Immediate", "Retain"));
    cluster.api().create(CLAIMS, &claim("data", "1Gi", &json!({"storageClassName": "kept"})));
    let (volume, dir) = bound(&cluster, "data");
    std::fs::write(dir.join("kept"), "for ever").unwrap();
    cluster.api().delete(&format!("{CLAIMS}/data"));
    in_phase(&cluster, &format!("{VOLUMES}/{volume}"), "Released");
    cluster.kubectl(&format!("delete pv {volume}")).ok();
    cluster.restart();
    // A claim made now has been seen by a node that has swept.
    cluster.api().create(CLAIMS, &claim("other", "1Gi", &json!({"storageClassName": "kept"})));
    bound(&cluster, "other");
    assert_eq!(std::fs::read_to_string(dir.join("kept")).unwrap(), "for ever");
}

#[test]
fn a_volume_deleted_under_its_claim_goes_only_after_it() {
    let cluster = Cluster::start();
    cluster.api().create(CLASSES, &class("now", "Immediate", "Delete"));
    cluster.api().create(CLAIMS, &claim("data", "1Gi", &json!({"storageClassName": "now"})));
    let (volume, dir) = bound(&cluster, "data");
    cluster.kubectl(&format!("delete pv {volume} --wait=false")).ok();
    let described = cluster.kubectl(&format!("describe pv {volume}")).ok();
    assert!(described.contains("Terminating"), "{described}");
    assert!(dir.exists() && found(&cluster, &format!("{VOLUMES}/{volume}")).is_some());
    cluster.api().delete(&format!("{CLAIMS}/data"));
    gone(&cluster, &format!("{VOLUMES}/{volume}"));
    no_directory(&dir);
}

#[test]
fn a_claim_grows_where_its_class_lets_it_and_never_shrinks() {
    let cluster = Cluster::start();
    cluster.api().create(CLASSES, &class("now", "Immediate", "Delete"));
    let mut fixed = class("fixed", "Immediate", "Delete");
    fixed["allowVolumeExpansion"] = json!(false);
    cluster.api().create(CLASSES, &fixed);
    for class in ["now", "fixed"] {
        cluster.api().create(CLAIMS, &claim(class, "1Gi", &json!({"storageClassName": class})));
        bound(&cluster, class);
    }
    let resize = |claim: &str, size: &str| {
        let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
        cluster.kubectl(&format!("patch pvc {claim} -p '{patch}'"))
    };
    resize("now", "2Gi").ok();
    let grown = eventually("a larger claim", || {
        let claim = found(&cluster, &format!("{CLAIMS}/now")).unwrap();
        if claim["status"]["capacity"]["storage"] == "2Gi" { Ok(claim) } else { Err(claim.to_string()) }
    });
    let volume = found(&cluster, &format!("{VOLUMES}/{}", grown["spec"]["volumeName"].as_str().unwrap())).unwrap();
    assert_eq!(volume["spec"]["capacity"]["storage"], "2Gi");
    let said = resize("now", "1Gi").refused();
    assert!(said.contains("field can not be less than status.capacity"), "{said}");
    let said = resize("fixed", "2Gi").refused();
    assert!(said.contains("only dynamically provisioned pvc can be resized"), "{said}");
}

#[test]
fn the_storage_class_is_made_once_and_then_the_owners() {
    let mut cluster = Cluster::start();
    cluster.kubectl("delete sc local-path").ok();
    cluster.restart();
    assert_eq!(cluster.kubectl("get sc -o name").ok(), "");
    // A claim that names no class waits for one, and takes it when there is one.
    cluster.api().create(CLAIMS, &claim("data", "1Gi", &json!({})));
    cluster.event("data", "FailedBinding");
    let mut mine = class("mine", "Immediate", "Delete");
    mine["metadata"]["annotations"] = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    cluster.api().create(CLASSES, &mine);
    bound(&cluster, "data");
    assert_eq!(found(&cluster, &format!("{CLAIMS}/data")).unwrap()["spec"]["storageClassName"], "mine");
}

#[test]
fn what_cannot_be_made_is_said_and_tried_again() {
    let cluster = Cluster::start();
    cluster.api().create(CLASSES, &class("now", "Immediate", "Delete"));
    let mut strange = class("strange", "Immediate", "Delete");
    strange["parameters"] = json!({"path": "/elsewhere"});
    cluster.api().create(CLASSES, &strange);
    for (name, more, words) in [
        ("missing", json!({"storageClassName": "nope"}), "storageclass.storage.k8s.io \"nope\" not found"),
        ("strange", json!({"storageClassName": "strange"}), "the class has the parameter \"path\""),
        ("block", json!({"storageClassName": "now", "volumeMode": "Block"}), "asks for a block device"),
        ("shared", json!({"storageClassName": "now", "accessModes": ["ReadWriteMany"]}), "not ReadWriteMany"),
    ] {
        cluster.api().create(CLAIMS, &claim(name, "1Gi", &more));
        let said = cluster.event(name, "ProvisioningFailed");
        assert!(said.contains(words), "{said}");
        in_phase(&cluster, &format!("{CLAIMS}/{name}"), "Pending");
    }
    // Nothing can be made where a file stands in the way, until it does not.
    std::fs::write(directories(&cluster), "").unwrap();
    cluster.api().create(CLAIMS, &claim("data", "1Gi", &json!({"storageClassName": "now"})));
    let said = cluster.event("data", "ProvisioningFailed");
    assert!(said.starts_with("failed to provision volume with StorageClass \"now\": "), "{said}");
    std::fs::remove_file(directories(&cluster)).unwrap();
    let (_, dir) = bound(&cluster, "data");
    assert!(dir.is_dir());
}

#[test]
fn a_pod_brings_its_own_claim_and_takes_it_along() {
    let cluster = Cluster::start();
    let template = json!({"metadata": {"labels": {"of": "p"}}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let mut pod = user("p", "");
    pod["spec"]["volumes"] = json!([{"name": "data", "ephemeral": {"volumeClaimTemplate": template}}]);
    cluster.api().create(PODS, &pod);
    let (volume, dir) = bound(&cluster, "p-data");
    let claim = found(&cluster, &format!("{CLAIMS}/p-data")).unwrap();
    assert_eq!(claim["metadata"]["labels"], json!({"of": "p"}));
    assert_eq!(claim["metadata"]["ownerReferences"][0]["kind"], "Pod");
    cluster.kubectl("delete pod p").ok();
    gone(&cluster, &format!("{CLAIMS}/p-data"));
    gone(&cluster, &format!("{VOLUMES}/{volume}"));
    no_directory(&dir);
    // A claim of that name that is somebody else's is left alone.
    cluster.api().create(CLAIMS, &super::claim("q-data", "1Gi", &json!({})));
    pod["metadata"] = json!({"name": "q"});
    cluster.api().create(PODS, &pod);
    let expected = "ephemeral volume data: PVC default/q-data was not created for pod default/q (pod is not owner)";
    assert_eq!(cluster.event("q", "FailedBinding"), expected);
    assert_ne!(found(&cluster, &format!("{PODS}/q")).unwrap()["spec"]["nodeName"], Value::from("x"));
}
