//! The contract of a volume, kind by kind: reading, writing, read-only refused, updates seen, modes, deletion.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use coracle_tests::Cluster;
use serde_json::{Value, json};

use super::{MAPS, PODS, directory, gone, pod, said};

/// What one kind of volume promises.
struct Kind {
    name: &'static str,
    volume: Value,
    /// Whether guests may write to it; else it holds `k` = `first` from the start.
    writable: bool,
    /// How `k` becomes `second` from outside.
    change: Change,
    /// The mode of `k`, where the volume says one.
    mode: Option<u32>,
}

enum Change {
    /// An object is patched.
    Object(String, Value),
    /// Somebody else writes the file.
    File,
}

/// The kinds that last as long as their pod, and the one of the machine's own directories, which lasts longer.
fn kinds(cluster: &Cluster) -> Vec<Kind> {
    let text = |value: &str| json!({"data": {"k": value}});
    let secret = "/api/v1/namespaces/default/secrets";
    cluster.api().create(MAPS, &json!({"metadata": {"name": "map"}, "data": {"k": "first"}}));
    cluster.api().create(MAPS, &json!({"metadata": {"name": "gathered"}, "data": {"k": "first"}}));
    cluster.api().create(secret, &json!({"metadata": {"name": "hush"}, "stringData": {"k": "first"}}));
    let filled = |name, volume, change, mode| Kind { name, volume, writable: false, change, mode };
    let written = |name, volume| Kind { name, volume, writable: true, change: Change::File, mode: None };
    let field = json!({"path": "k", "fieldRef": {"fieldPath": "metadata.labels['color']"}});
    let host = cluster.dir().join("host");
    vec![
        written("empty", json!({"emptyDir": {}})),
        written("memory", json!({"emptyDir": {"medium": "Memory"}})),
        written("host", json!({"hostPath": {"path": host.join("own"), "type": "DirectoryOrCreate"}})),
        filled(
            "map",
            json!({"configMap": {"name": "map", "defaultMode": 0o440}}),
            Change::Object(format!("{MAPS}/map"), text("second")),
            Some(0o440),
        ),
        filled(
            "secret",
            json!({"secret": {"secretName": "hush", "items": [{"key": "k", "path": "k", "mode": 0o400}]}}),
            Change::Object(format!("{secret}/hush"), json!({"stringData": {"k": "second"}})),
            Some(0o400),
        ),
        filled(
            "downward",
            json!({"downwardAPI": {"items": [field]}}),
            Change::Object(format!("{PODS}/downward"), json!({"metadata": {"labels": {"color": "second"}}})),
            Some(0o644),
        ),
        filled(
            "projected",
            json!({"projected": {"defaultMode": 0o600, "sources": [
                {"configMap": {"name": "gathered"}},
                {"serviceAccountToken": {"path": "token", "audience": "somebody"}},
                {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}),
            Change::Object(format!("{MAPS}/gathered"), text("second")),
            Some(0o600),
        ),
    ]
}

/// What the guest does: `/v` is the volume, `/ro` the same one read-only, `/part` a directory in it.
fn steps(kind: &Kind) -> Vec<&'static str> {
    let begin: &[&str] = if kind.writable {
        // The directory that is mounted as a part is made before the guest runs.
        &["write /v/k first", "append /v/e/f more", "read /part/f", "mkdir /v/d", "rename /v/d /v/g"]
    } else {
        &["write /v/k other", "remove /v/k", "mkdir /v/d", "rename /v/k /v/e", "symlink /v/l k", "truncate /v/k 0"]
    };
    let rest =
        ["read /v/k", "read /ro/k", "write /ro/new x", "remove /ro/k", "until /v/k second", "read /ro/k", "hold"];
    begin.iter().copied().chain(rest).collect()
}

/// What it must say of them.
fn expected(kind: &Kind) -> Vec<String> {
    let refused = "Operation not permitted";
    let first = if kind.name == "downward" { "blue" } else { "first" };
    let answers: Vec<String> = if kind.writable {
        vec!["ok".into(), "ok".into(), "ok more".into(), "ok".into(), "ok".into()]
    } else {
        vec![refused.into(); 6]
    };
    let rest = [
        format!("ok {first}"),
        format!("ok {first}"),
        refused.to_owned(),
        refused.to_owned(),
        "ok".to_owned(),
        "ok second".to_owned(),
        "holding".to_owned(),
    ];
    let all = answers.into_iter().chain(rest);
    steps(kind).into_iter().zip(all).map(|(step, answer)| format!("{step}: {answer}")).collect()
}

#[test]
fn each_kind_of_volume_keeps_its_contract() {
    let place = tempfile::tempdir().unwrap();
    let flag = format!("--allowed-host-paths={}", place.path().display());
    let cluster = Cluster::builder().flags(&flag).start();
    cluster.push("disk");
    let mut kinds = kinds(&cluster);
    for kind in &mut kinds {
        if kind.name == "host" {
            kind.volume["hostPath"]["path"] = place.path().join("own").display().to_string().into();
        }
        kind.volume["name"] = "v".into();
        let mut mounts =
            vec![json!({"name": "v", "mountPath": "/v"}), json!({"name": "v", "mountPath": "/ro", "readOnly": true})];
        if kind.writable {
            mounts.push(json!({"name": "v", "mountPath": "/part", "subPath": "e"}));
        }
        cluster.api().create(PODS, &pod(kind.name, &steps(kind), std::slice::from_ref(&kind.volume), &mounts));
    }
    for kind in &kinds {
        let before = if kind.name == "downward" { "blue" } else { "first" };
        said(&cluster, kind.name, &format!("read /v/k: ok {before}"));
        let dir = host_directory(&cluster, kind, place.path().join("own"));
        match &kind.change {
            Change::Object(path, patch) => drop(cluster.api().patch(path, patch)),
            Change::File => std::fs::write(dir.join("k"), "second").unwrap(),
        }
        let lines = said(&cluster, kind.name, "hold: holding");
        assert_eq!(lines, expected(kind), "{}", kind.name);
        if let Some(mode) = kind.mode {
            let found = std::fs::metadata(dir.join("k")).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}: {found:o}", kind.name);
        }
    }
    for kind in &kinds {
        let dir = host_directory(&cluster, kind, place.path().join("own"));
        cluster.api().delete(&format!("{PODS}/{}", kind.name));
        gone(&cluster, kind.name);
        assert_eq!(dir.exists(), kind.name == "host", "{} after its pod", kind.name);
    }
    assert_eq!(std::fs::read_to_string(place.path().join("own/e/f")).unwrap(), "more");
}

fn host_directory(cluster: &Cluster, kind: &Kind, host: PathBuf) -> PathBuf {
    if kind.name == "host" { host } else { std::fs::canonicalize(directory(cluster, kind.name, "v")).unwrap() }
}
