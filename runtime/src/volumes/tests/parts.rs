//! Parts of volumes: what a subPath shows, and that none leads out.

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use super::*;

struct Rig {
    temp: tempfile::TempDir,
    dir: PodDir,
}

impl Rig {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = PodDir::new(&temp.path().join("pods"), "u");
        std::fs::create_dir_all(dir.volume("e")).unwrap();
        Self { temp, dir }
    }

    /// What the container sees with these mounts of an emptyDir `e` and a configMap `cm`.
    fn seen(&self, mounts: Value) -> Result<Vec<Directory>, String> {
        let pod = pod(json!({
            "containers": [{"name": "c", "volumeMounts": mounts}],
            "volumes": [{"name": "cm", "configMap": {"name": "cm"}}, {"name": "e", "emptyDir": {}}]
        }));
        let places = make_all(&self.dir, &pod, &fetched("one")).unwrap();
        let env = [("POD_NAME".to_owned(), "web-0".to_owned())];
        let container = &pod.spec.as_ref().unwrap().containers[0];
        prepare_root(&self.dir, &places, container, &env, None).map_err(|e| e.to_string())
    }

    fn root(&self) -> PathBuf {
        self.dir.container_root("c")
    }
}

/// Whether the directory is the one at `path`.
fn is(directory: &Directory, path: &Path) -> bool {
    let (open, there) = (directory.open().unwrap().metadata().unwrap(), std::fs::metadata(path).unwrap());
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

#[test]
fn a_part_that_is_not_there_is_made_and_variables_in_it_are_known() {
    let rig = Rig::new();
    let seen = rig
        .seen(json!([
            {"name": "e", "mountPath": "/a", "subPath": "x/y/"},
            {"name": "e", "mountPath": "/b", "subPathExpr": "of-$(POD_NAME)", "readOnly": true}
        ]))
        .unwrap();
    assert!(is(&seen[1], &rig.dir.volume("e").join("x/y")));
    assert!(is(&seen[2], &rig.dir.volume("e").join("of-web-0")));
    assert_eq!((seen[1].access, seen[2].access), (Access::ReadWrite, Access::ReadOnly));
    let unknown = rig.seen(json!([{"name": "e", "mountPath": "/b", "subPathExpr": "$(NONE)"}])).unwrap_err();
    assert_eq!(unknown, r#"failed to expand subPathExpr of volumeMount "e": missing value for "NONE""#);
}

#[test]
fn no_link_leads_a_part_out_of_its_volume() {
    let rig = Rig::new();
    let volume = rig.dir.volume("e");
    std::fs::write(rig.temp.path().join("secret"), "secret").unwrap();
    std::fs::create_dir(volume.join("in")).unwrap();
    for (name, to) in [("abs", rig.temp.path().to_str().unwrap()), ("up", "../../../.."), ("chain", "up"), ("ok", "in")]
    {
        symlink(to, volume.join(name)).unwrap();
    }
    for path in ["abs", "up", "chain", "abs/new", "up/new", "up/secret", "abs/secret"] {
        let refused = rig.seen(json!([{"name": "e", "mountPath": "/a", "subPath": path}]));
        assert!(refused.unwrap_err().contains("a link on the way leads out of the volume"), "{path}");
    }
    assert!(!rig.temp.path().join("new").exists());
    let seen = rig.seen(json!([{"name": "e", "mountPath": "/a", "subPath": "ok"}])).unwrap();
    assert!(is(&seen[1], &volume.join("in")), "a link that stays inside is followed");
    // A guest replaces the directory by a link between the start of its container and that of an instance.
    std::fs::remove_file(volume.join("ok")).unwrap();
    symlink("/", volume.join("ok")).unwrap();
    assert!(seen[1].open().is_err());
}

#[test]
fn a_single_file_is_seen_where_it_is_mounted() {
    let rig = Rig::new();
    let file = rig.dir.volume("e").join("own");
    std::fs::write(&file, "own").unwrap();
    rig.seen(json!([
        {"name": "cm", "mountPath": "/etc/deep/a.txt", "subPath": "a.txt"},
        {"name": "e", "mountPath": "/own", "subPath": "own"},
        {"name": "e", "mountPath": "/copy", "subPath": "own", "readOnly": true},
        {"name": "e", "mountPath": "/e"},
        {"name": "cm", "mountPath": "/e/b.txt", "subPath": "b.txt"}
    ]))
    .unwrap();
    let read = |path: &str| std::fs::read_to_string(rig.root().join(path)).unwrap();
    assert_eq!((read("etc/deep/a.txt"), read("own"), read("copy")), ("one".into(), "own".into(), "own".into()));
    assert_eq!(std::fs::read_to_string(rig.dir.volume("e").join("b.txt")).unwrap(), "bee");
    std::fs::write(rig.root().join("own"), "written").unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "written", "what is written is in the volume");
    assert_eq!(read("copy"), "own");
}

#[test]
fn a_file_that_cannot_be_mounted_says_why() {
    let rig = Rig::new();
    for (mounts, why) in [
        (json!([{"name": "cm", "mountPath": "/a", "subPath": "none"}]), "there is no such file in the volume"),
        (json!([{"name": "cm", "mountPath": "/", "subPath": "a.txt"}]), "'/' is the container's own directory"),
        (
            json!([{"name": "cm", "mountPath": "/cm"}, {"name": "cm", "mountPath": "/cm/x", "subPath": "a.txt"}]),
            "the volume around it is read-only",
        ),
        (json!([{"name": "e", "mountPath": "/a", "subPath": "../x"}]), "may not contain '..'"),
        (json!([{"name": "e", "mountPath": "/a", "subPath": "/x"}]), "must be relative"),
        (json!([{"name": "none", "mountPath": "/a"}]), "mounted but not defined"),
        (json!([{"name": "e", "mountPath": "/a/../b"}]), "may not contain '..'"),
    ] {
        let refused = rig.seen(mounts).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn a_pipe_in_the_place_of_a_file_keeps_nobody_waiting() {
    let rig = Rig::new();
    let pipe = rig.dir.volume("e").join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    let refused = rig.seen(json!([{"name": "e", "mountPath": "/a", "subPath": "pipe"}])).unwrap_err();
    assert!(refused.contains("neither a file nor a directory"), "{refused}");
}
