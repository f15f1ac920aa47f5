//! What a pod waits for, what it is told meanwhile, and that it starts by itself once it is there.

use coracle_tests::{Cluster, eventually};
use serde_json::json;

use super::{MAPS, PODS, pod, said};

#[test]
fn a_pod_waits_for_what_it_mounts_and_starts_by_itself() {
    let cluster = Cluster::start();
    cluster.push("disk");
    let cases = [
        (
            "map",
            json!({"name": "v", "configMap": {"name": "late"}}),
            r#"MountVolume.SetUp failed for volume "v" : configmap "late" not found"#,
        ),
        (
            "key",
            json!({"name": "v", "configMap": {"name": "early", "items": [{"key": "k", "path": "k"}]}}),
            r#"MountVolume.SetUp failed for volume "v" : configmap references non-existent config key: k"#,
        ),
        (
            "host",
            json!({"name": "v", "hostPath": {"path": "/etc"}}),
            "hostPath \"/etc\" is not allowed on this node; whoever runs it allows it by --allowed-host-paths=/etc",
        ),
    ];
    cluster.api().create(MAPS, &json!({"metadata": {"name": "early"}, "data": {"other": "x"}}));
    for (name, volume, _) in &cases {
        let mount = json!({"name": "v", "mountPath": "/v"});
        cluster.api().create(PODS, &pod(name, &["read /v/k"], std::slice::from_ref(volume), &[mount]));
    }
    for (name, _, words) in &cases {
        let told = cluster.event(name, "FailedMount");
        assert!(told.contains(words), "{name}: {told}");
        cluster.waiting(name, &["ContainerCreating"]);
    }
    cluster.api().create(MAPS, &json!({"metadata": {"name": "late"}, "data": {"k": "here"}}));
    cluster.api().patch(&format!("{MAPS}/early"), &json!({"data": {"k": "here"}}));
    for name in ["map", "key"] {
        said(&cluster, name, "read /v/k: ok here");
    }
}

#[test]
fn what_is_optional_may_come_later_and_is_seen() {
    let cluster = Cluster::start();
    cluster.push("disk");
    let volume = json!({"name": "v", "projected": {"sources": [
        {"configMap": {"name": "late", "optional": true}},
        {"configMap": {"name": "early", "optional": true, "items": [{"key": "later", "path": "deep/later"}]}}]}});
    cluster.api().create(MAPS, &json!({"metadata": {"name": "early"}, "data": {"k": "x"}}));
    let steps = ["list /v", "until /v/k here", "until /v/deep/later too", "hold"];
    cluster.api().create(PODS, &pod("patient", &steps, &[volume], &[json!({"name": "v", "mountPath": "/v"})]));
    said(&cluster, "patient", "list /v: ok");
    cluster.api().create(MAPS, &json!({"metadata": {"name": "late"}, "data": {"k": "here"}}));
    cluster.api().patch(&format!("{MAPS}/early"), &json!({"data": {"later": "too"}}));
    said(&cluster, "patient", "hold: holding");
}

#[test]
fn nothing_of_a_pod_is_left_when_its_server_was_killed() {
    let mut cluster = Cluster::start();
    cluster.push("disk");
    let volume = json!({"name": "v", "emptyDir": {}});
    let mount = json!({"name": "v", "mountPath": "/v"});
    let mut object = pod("a", &["read /v/k", "write /v/k x", "hold"], &[volume], &[mount]);
    object["spec"]["restartPolicy"] = "Always".into();
    cluster.api().create(PODS, &object);
    said(&cluster, "a", "hold: holding");
    let before = super::directory(&cluster, "a", "v").join("k");
    assert!(before.exists());
    cluster.kill_hard();
    cluster.restart();
    // The pod runs again, in a directory that is empty.
    eventually("a second run", || {
        let log = cluster.coracle("logs a").tried()?;
        if log.contains("hold: holding") && before.exists() { Ok(()) } else { Err(log) }
    });
    let log = cluster.coracle("logs a").ok();
    assert!(log.starts_with("read /v/k: No such file or directory\n"), "{log}");
    eventually("what was put aside is gone", || {
        let names = std::fs::read_dir(cluster.data_dir()).unwrap().map(|e| e.unwrap().file_name());
        let aside: Vec<_> = names.filter(|n| n.to_string_lossy().starts_with("pods-before-")).collect();
        if aside.is_empty() { Ok(()) } else { Err(format!("{aside:?}")) }
    });
}
