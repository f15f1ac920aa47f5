//! Clients that others wrote, used as their users use them: Python's, JavaScript's, Helm, Skopeo, wrk, and dig.
//!
//! Invariant: what is asserted is what the client understood. `scripts/clients` installs them; a test whose client is
//! missing fails and says so, and `scripts/test` leaves it out by name and tells.

mod dig;
mod wrk;

use std::process::Command;

use coracle_tests::paths::{client, clients, root};
use coracle_tests::{Cluster, Said, eventually};

/// An API server with controllers and without a node: what a client's user tests against.
fn control_plane() -> Cluster {
    Cluster::builder().flags("--disable=node,scheduler,dns,network").start()
}

#[track_caller]
fn python(cluster: &Cluster, stories: &str) {
    let mut command = Command::new("python3");
    command.arg(root().join("tests/clients/python").join(stories)).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("PYTHONPATH", client("python").join("site")).env("KUBECONFIG", &cluster.server().kubeconfig);
    let said = Said::run(&mut command, "").ok();
    assert!(said.ends_with("stories passed\n"), "{said}");
}

#[test]
fn python_reads_writes_and_understands_refusals() {
    python(&control_plane(), "objects.py");
}

#[test]
fn python_watches_and_finds_kinds_by_discovery() {
    python(&control_plane(), "watches.py");
}

#[test]
fn javascript_reads_writes_watches_and_keeps_an_informer() {
    let cluster = control_plane();
    client("javascript");
    let mut command = Command::new("node");
    command.arg(root().join("tests/clients/javascript/stories.mjs")).env("CORACLE_CLIENTS", clients());
    let said = Said::run(command.env("KUBECONFIG", &cluster.server().kubeconfig), "").ok();
    assert!(said.ends_with("stories passed\n"), "{said}");
}

/// Runs the real Helm in the cluster's own directory.
fn helm(cluster: &Cluster, line: &str) -> Said {
    let mut command = Command::new(client("helm").join("helm"));
    command.args(coracle_tests::words(line)).current_dir(cluster.dir());
    command.env("KUBECONFIG", &cluster.server().kubeconfig).env("HOME", cluster.dir().join("home"));
    Said::run(&mut command, "")
}

/// The chart that `helm create` writes, with an image of ours and what such a pod must have.
const VALUES: &str = "--set image.repository=hello,image.tag=1,resources.limits.memory=64Mi,service.port=8080";

#[test]
fn helm_installs_upgrades_rolls_back_and_uninstalls_a_chart() {
    let cluster = Cluster::start();
    cluster.push("hello");
    helm(&cluster, "create web").ok();
    let installed = helm(&cluster, &format!("install web ./web {VALUES} --wait --timeout 60s")).ok();
    assert!(installed.contains("STATUS: deployed"), "{installed}");
    assert_eq!(cluster.ready_pods("app.kubernetes.io/instance=web", 1).len(), 1);
    let listed = helm(&cluster, "list --short").ok();
    assert_eq!(listed, "web\n");

    let more = format!("upgrade web ./web {VALUES} --set replicaCount=3 --wait --timeout 60s");
    assert!(helm(&cluster, &more).ok().contains("REVISION: 2"));
    assert_eq!(cluster.ready_pods("app.kubernetes.io/instance=web", 3).len(), 3);
    let manifest = helm(&cluster, "get manifest web").ok();
    assert!(manifest.contains("replicas: 3"), "{manifest}");
    // What the cluster has is what the manifest says: a server-side dry run finds no difference.
    let file = cluster.file("manifest.yaml", &manifest);
    cluster.kubectl(&format!("diff -f {file}")).ok();

    helm(&cluster, "rollback web 1 --wait --timeout 60s").ok();
    cluster.ready_pods("app.kubernetes.io/instance=web", 1);
    let history = helm(&cluster, "history web -o json").ok();
    assert!(history.contains("Rollback to 1"), "{history}");

    // A release that cannot become ready is taken back as a whole.
    let broken = format!("upgrade web ./web {VALUES} --set image.tag=none --atomic --timeout 3s");
    let why = helm(&cluster, &broken).refused();
    assert!(why.contains("has been rolled back due to atomic being set"), "{why}");
    cluster.ready_pods("app.kubernetes.io/instance=web", 1);

    assert_eq!(helm(&cluster, "uninstall web --wait").ok(), "release \"web\" uninstalled\n");
    eventually("no trace of the release", || {
        let left = cluster.kubectl("get all,secrets,serviceaccounts -l app.kubernetes.io/instance=web -o name").ok();
        let secrets = cluster.kubectl("get secrets -l owner=helm -o name").ok();
        if left.is_empty() && secrets.is_empty() { Ok(()) } else { Err(left + &secrets) }
    });
}

/// Runs the real Skopeo, which trusts the cluster's own authority and signs in with a token for a password.
fn skopeo(cluster: &Cluster, line: &str) -> Said {
    let authorities = cluster.dir().join("authorities");
    std::fs::create_dir_all(&authorities).expect("a directory can be made");
    std::fs::copy(cluster.data_dir().join("pki/ca.crt"), authorities.join("ca.crt")).expect("the authority is there");
    let mut command = Command::new(client("skopeo").join("skopeo"));
    command.arg("--insecure-policy").args(coracle_tests::words(line)).current_dir(cluster.dir());
    Said::run(command.env("HOME", cluster.dir().join("home")), "")
}

#[test]
fn skopeo_signs_in_and_copies_images_both_ways() {
    let cluster = Cluster::start();
    cluster.push("hello");
    let registry = format!("docker://{}", cluster.server().api);
    let refused = skopeo(&cluster, &format!("list-tags --cert-dir authorities {registry}/hello")).refused();
    assert!(refused.contains("token"), "{refused}");
    let token = cluster.kubectl("create token default").ok();
    let token = token.trim();

    // Out of the store, in again under another name, by digest, and from one repository to another.
    let (from, to) = (
        format!("--src-cert-dir authorities --src-creds anybody:{token}"),
        format!("--dest-cert-dir authorities --dest-creds anybody:{token}"),
    );
    skopeo(&cluster, &format!("copy {from} {registry}/hello:1 oci-archive:hello.tar:hello:7")).ok();
    let archive = cluster.dir().join("hello.tar").display().to_string();
    let imported = cluster.coracle(&format!("image import {archive}")).ok();
    assert!(imported.starts_with("hello:7: digest: sha256:"), "{imported}");
    let exported = cluster.dir().join("ours.tar").display().to_string();
    cluster.coracle(&format!("image export hello:1 -o {exported}")).ok();
    skopeo(&cluster, &format!("copy {to} oci-archive:ours.tar {registry}/by/skopeo:1")).ok();
    skopeo(&cluster, &format!("copy {from} {to} {registry}/by/skopeo:1 {registry}/again:2")).ok();
    let one = |flags: &str| format!("--cert-dir authorities --creds anybody:{token} {flags}");
    let tags = skopeo(&cluster, &format!("list-tags {}", one(&format!("{registry}/hello")))).ok();
    assert!(tags.contains("\"1\"") && tags.contains("\"7\""), "{tags}");

    // The same bytes under every name, and a pod runs what another tool has pushed.
    let ids = cluster.coracle("image list -q").ok();
    assert_eq!(ids.lines().count(), 1, "{ids}");
    cluster.kubectl("run boat --image=by/skopeo:1 --port=8080").ok();
    cluster.kubectl("wait --for=condition=Ready pod/boat --timeout=30s").ok();
    skopeo(&cluster, &format!("delete {}", one(&format!("{registry}/again:2")))).ok();
    assert!(!cluster.coracle("image list").ok().contains("again"));
}
