//! `kubectl cp`, both ways, by the node's own `tar`.

use std::path::Path;

use coracle_tests::Cluster;
use serde_json::json;
use sha2::Digest;

use super::{cluster, pod};

/// A pod with a volume at `/data`, and a read-only one at `/fixed`.
fn pod_with_volumes(cluster: &Cluster) {
    cluster.kubectl("create configmap fixed --from-literal=k=v").ok();
    let mounts = json!([{"name": "data", "mountPath": "/data"}, {"name": "fixed", "mountPath": "/fixed"}]);
    let volumes = json!([{"name": "data", "emptyDir": {}}, {"name": "fixed", "configMap": {"name": "fixed"}}]);
    pod(cluster, json!({"args": ["wait"], "volumeMounts": mounts}), volumes);
}

#[test]
fn files_and_directories_are_copied_both_ways() {
    let cluster = cluster();
    pod_with_volumes(&cluster);
    let tree = cluster.dir().join("tree");
    std::fs::create_dir_all(tree.join("below/empty")).unwrap();
    std::fs::write(tree.join("below/deep"), "deep").unwrap();
    std::fs::write(tree.join("a b"), "spaces").unwrap();
    let one = cluster.file("one", "one");
    cluster.kubectl(&format!("cp {one} p:/data/one")).ok();
    cluster.kubectl(&format!("cp {one} p:/data")).ok();
    cluster.kubectl(&format!("cp {} p:/data/tree", tree.display())).ok();
    let listed = cluster.kubectl("exec p -- ls -R /data").ok();
    assert_eq!(
        listed,
        "/data:\none\ntree\n\n/data/tree:\na b\nbelow\n\n/data/tree/below:\ndeep\nempty\n\n/data/tree/below/empty:\n"
    );
    let back = cluster.dir().join("back");
    cluster.kubectl(&format!("cp p:/data {}", back.display())).ok_with_warnings();
    assert_eq!(std::fs::read_to_string(back.join("tree/a b")).unwrap(), "spaces");
    assert_eq!(std::fs::read_to_string(back.join("tree/below/deep")).unwrap(), "deep");
    assert!(back.join("tree/below/empty").is_dir());
    // As everywhere, what a ConfigMap holds are links, and kubectl leaves links out.
    let fixed = cluster.dir().join("fixed");
    let (_, said) = cluster.kubectl(&format!("cp p:fixed {}", fixed.display())).ok_with_warnings();
    assert!(said.contains("skipping symlink"), "{said}");
}

#[test]
fn what_cannot_be_copied_is_said() {
    let cluster = cluster();
    pod_with_volumes(&cluster);
    let one = cluster.file("one", "one");
    let (code, _, said) = cluster.kubectl(&format!("cp {one} p:/fixed/one")).ended();
    assert!(code == 2 && said.contains("tar: one: Cannot open: Read-only file system"), "{said}");
    // `kubectl cp` itself does not always show what tar says of its side.
    let (_, _, said) = cluster.kubectl("exec p -- tar cf - /none").ended();
    assert!(said.contains("tar: /none: Cannot stat: No such file or directory"), "{said}");
}

fn sum(path: &Path) -> Vec<u8> {
    let mut sum = sha2::Sha256::new();
    std::io::copy(&mut std::fs::File::open(path).unwrap(), &mut sum).unwrap();
    sum.finalize().to_vec()
}

#[test]
fn a_hundred_megabytes_are_copied_whole() {
    let cluster = cluster();
    pod_with_volumes(&cluster);
    let mut bytes = vec![0_u8; 100 << 20];
    let mut state = 1_u32;
    for byte in &mut bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    let large = cluster.file("large", bytes);
    cluster.kubectl(&format!("cp {large} p:/data/large")).ok();
    let back = cluster.dir().join("back");
    cluster.kubectl(&format!("cp p:/data/large {}", back.display())).ok_with_warnings();
    assert!(sum(Path::new(&large)) == sum(&back), "it came back otherwise than it went");
}
