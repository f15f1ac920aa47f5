//! Volumes on a directory of their own: filled, updated, mounted.

mod parts;

use serde_json::json;

use super::*;
use crate::downward::tests::{facts, pod};
use coracle_wasm::Directory;

fn fetched(value: &str) -> Fetched {
    let data = [("a.txt", value), ("b.txt", "bee")].map(|(k, v)| (k.to_owned(), v.as_bytes().to_vec()));
    Fetched::from_iter([(Source::ConfigMap("cm".to_owned()), Some(data.into()))])
}

fn make_all(dir: &PodDir, pod: &Pod, fetched: &Fetched) -> Result<Places, VolumeError> {
    set_up(dir, &Material { facts: facts(pod), fetched, claims: &[], allowed: &[] })
}

#[test]
fn an_update_is_seen_at_once_and_an_unchanged_volume_is_not_written() {
    let temp = tempfile::tempdir().unwrap();
    let dir = PodDir::new(temp.path(), "u");
    let pod = pod(json!({"containers": [], "volumes": [{"name": "v", "configMap": {"name": "cm"}}]}));
    make_all(&dir, &pod, &fetched("one")).unwrap();
    let read = || std::fs::read_to_string(dir.volume("v").join("a.txt")).unwrap();
    assert_eq!(read(), "one");
    let link = || std::fs::read_link(dir.volume("v").join("..data")).unwrap();
    let before = link();
    make_all(&dir, &pod, &fetched("one")).unwrap();
    assert_eq!(link(), before);
    make_all(&dir, &pod, &fetched("two")).unwrap();
    assert_eq!(read(), "two");
    assert!(!dir.volume("v").join(before).exists());
    dir.remove().unwrap();
    assert!(!temp.path().join("u").exists());
}

#[test]
fn a_projected_volume_gathers_its_sources() {
    let temp = tempfile::tempdir().unwrap();
    let dir = PodDir::new(temp.path(), "u");
    let pod = pod(json!({"containers": [], "volumes": [{"name": "v", "projected": {"defaultMode": 0o400, "sources": [
        {"configMap": {"name": "cm", "items": [{"key": "b.txt", "path": "x/y.txt"}]}},
        {"secret": {"name": "none", "optional": true}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}
    ]}}]}));
    make_all(&dir, &pod, &fetched("one")).unwrap();
    let read = |path: &str| std::fs::read_to_string(dir.volume("v").join(path)).unwrap();
    assert_eq!((read("x/y.txt"), read("name")), ("bee".to_owned(), "p".to_owned()));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(dir.volume("v").join("name")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o400);
}

#[test]
fn what_cannot_be_mounted_says_why() {
    let temp = tempfile::tempdir().unwrap();
    let dir = PodDir::new(temp.path(), "u");
    for (volume, message) in [
        (json!({"configMap": {"name": "x"}}), r#"MountVolume.SetUp failed for volume "v" : configmap "x" not found"#),
        (json!({"hostPath": {"path": "/"}}), r#"volume "v" : hostPath "/" is not allowed on this node"#),
        (json!({"nfs": {"server": "s", "path": "/"}}), r#"volume "v" is of type nfs, which this node cannot mount"#),
        (json!({"configMap": {"name": "cm", "items": [{"key": "a.txt", "path": "../x"}]}}), "may not contain '..'"),
        (
            json!({"configMap": {"name": "cm", "items": [{"key": "z", "path": "x"}]}}),
            "references non-existent config key: z",
        ),
    ] {
        let mut volume = volume;
        volume["name"] = "v".into();
        let pod = pod(json!({"containers": [], "volumes": [volume]}));
        let error = make_all(&dir, &pod, &fetched("one")).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_container_sees_its_mounts_outer_ones_first() {
    let temp = tempfile::tempdir().unwrap();
    let dir = PodDir::new(temp.path(), "u");
    let pod = pod(json!({
        "containers": [{"name": "c", "volumeMounts": [
            {"name": "cm", "mountPath": "/data/deep/conf"},
            {"name": "e", "mountPath": "/data/"},
            {"name": "cm", "mountPath": "/etc/one.txt", "subPath": "a.txt"}
        ]}],
        "volumes": [{"name": "cm", "configMap": {"name": "cm"}}, {"name": "e", "emptyDir": {}}]
    }));
    let places = make_all(&dir, &pod, &fetched("one")).unwrap();
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let seen = prepare_root(&dir, &places, container, &[], None).unwrap();
    let paths: Vec<(&str, bool)> = seen.iter().map(|d| (d.guest_path.as_str(), d.access == Access::ReadOnly)).collect();
    assert_eq!(paths, [("/", false), ("/data", false), ("/data/deep/conf", true)]);
    assert_eq!(std::fs::read_to_string(dir.container_root("c").join("etc/one.txt")).unwrap(), "one");
    std::fs::write(dir.container_root("c").join("left"), "x").unwrap();
    assert!(dir.volume("e").join("deep/conf").is_dir(), "it is seen where it is mounted");
    prepare_root(&dir, &places, container, &[], None).unwrap();
    assert!(!dir.container_root("c").join("left").exists());
}

#[test]
fn a_directory_in_memory_is_outside_of_the_disk_and_goes_with_its_pod() {
    let temp = tempfile::tempdir().unwrap();
    let dir = PodDir::new(temp.path(), "u");
    let volume = json!({"name": "v", "emptyDir": {"medium": "Memory"}});
    let pod = pod(json!({"containers": [], "volumes": [volume]}));
    make_all(&dir, &pod, &Fetched::default()).unwrap();
    make_all(&dir, &pod, &Fetched::default()).unwrap();
    std::fs::write(dir.volume("v").join("f"), "x").unwrap();
    let kept = dir.memory_volume("v");
    assert!(kept.starts_with("/dev/shm") && kept.join("f").exists());
    dir.remove().unwrap();
    assert!(!kept.exists());
    clear_memory(temp.path()).unwrap();
    assert!(!kept.parent().unwrap().parent().unwrap().exists());
}
