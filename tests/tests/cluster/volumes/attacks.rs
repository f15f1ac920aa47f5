//! Guests that want out of their directories: each attack, in each kind of volume, and what it gets.

use coracle_tests::Cluster;
use serde_json::json;

use super::{MAPS, PODS, directory, gone, pod, said};

/// What a guest tries in a directory that it may write to; `@` is the directory.
const ATTACKS: &[&str] = &[
    "symlink @/absolute /",
    "read @/absolute/etc/passwd",
    "symlink @/up ../../../../../../../../..",
    "read @/up/etc/passwd",
    "write @/up/tmp/coracle-was-here x",
    "mkdir @/up/tmp/coracle-was-here-too",
    "symlink @/chain up",
    "list @/chain/etc",
    "read @/../../../../../../../../etc/passwd",
    "read @/up/../up/etc/passwd",
    "rename @/up @/../out",
    "link @/up/etc/passwd @/stolen",
    "mkdir @/deep",
    "deep @/deep 3000",
    "mkdir @/many",
    "many @/many 2000",
    "sparse @/sparse 1099511627776",
    "write @/own mine",
    "read @/own",
];

/// How an attempt to leave ends, whichever way the system says so.
const REFUSED: &[&str] = &[
    "Operation not permitted",
    "Capabilities insufficient",
    "Permission denied",
    "No such file or directory",
    "Bad file descriptor",
    "Too many levels of symbolic links",
];

#[test]
fn no_guest_gets_out_of_its_directories() {
    let place = tempfile::tempdir().unwrap();
    let (host, secret) = (place.path().join("host"), place.path().join("secret"));
    std::fs::create_dir(&host).unwrap();
    std::fs::write(&secret, "secret").unwrap();
    // What was there before the pod came leads out, and is not followed either.
    std::os::unix::fs::symlink(place.path(), host.join("planted")).unwrap();
    let cluster = Cluster::builder().flags(&format!("--allowed-host-paths={}", host.display())).start();
    cluster.push("disk");
    cluster.api().create(MAPS, &json!({"metadata": {"name": "map"}, "data": {"k": "kept"}}));

    let steps: Vec<String> = ["/e", "/m", "/h", ""]
        .iter()
        .flat_map(|at| ATTACKS.iter().map(move |step| step.replace('@', at)))
        // What stays behind is deleted by others, who cannot go so deep.
        .map(|step| step.replace("/h/deep 3000", "/h/deep 100"))
        .collect();
    let others = [
        "read /h/planted/secret",
        "write /h/planted/secret changed",
        "symlink /map/..data /e",
        "remove /map/..data",
        "rename /map/k /e/k",
        "link /map/k /e/k",
        "rename /e/own /map/own",
        "write /map/k changed",
        "read /map/k",
        "hold",
    ];
    let steps: Vec<&str> = steps.iter().map(String::as_str).chain(others).collect();
    let volumes = [
        json!({"name": "e", "emptyDir": {}}),
        json!({"name": "m", "emptyDir": {"medium": "Memory"}}),
        json!({"name": "h", "hostPath": {"path": host}}),
        json!({"name": "map", "configMap": {"name": "map"}}),
    ];
    let mounts = ["e", "m", "h", "map"].map(|name| json!({"name": name, "mountPath": format!("/{name}")}));
    cluster.api().create(PODS, &pod("mallory", &steps, &volumes, &mounts));
    let lines = said(&cluster, "mallory", "hold: holding");
    let allowed = |step: &str| {
        let own = ["mkdir", "deep", "many", "sparse", "write", "read"].iter().any(|verb| {
            let rest = step.strip_prefix(verb).unwrap_or_default().trim_start();
            ["/deep", "/many", "/sparse", "/own"].iter().any(|name| {
                let path = rest.split(' ').next().unwrap_or_default();
                path.ends_with(name) && !path.contains("/up") && !path.contains("..")
            })
        });
        own || step == "read /map/k" || step == "hold"
    };
    assert_eq!(lines.len(), steps.len(), "{lines:#?}");
    for (step, line) in steps.iter().zip(&lines) {
        let answer = line.strip_prefix(&format!("{step}: ")).unwrap_or_else(|| panic!("{step} and {line}"));
        let fine = answer.starts_with("ok") || answer == "holding";
        // To make a link is no harm; to go where it leads would be.
        if step.starts_with("symlink /") && !step.starts_with("symlink /map") {
            continue;
        }
        assert_eq!(fine, allowed(step), "{line}");
        assert!(fine || REFUSED.contains(&answer), "{line}");
    }
    assert!(lines.contains(&"read /map/k: ok kept".to_owned()));
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    assert!(!std::path::Path::new("/tmp/coracle-was-here").exists());

    let own = directory(&cluster, "mallory", "e");
    cluster.api().delete(&format!("{PODS}/mallory"));
    gone(&cluster, "mallory");
    assert!(!own.exists() && secret.exists() && host.join("own").exists());
}
