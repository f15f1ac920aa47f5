//! Our own verbs beside kubectl: for what both cover, they print the same.

use coracle_tests::{Cluster, eventually};

/// What is asked of both.
const LINES: [&str; 14] = [
    "get pods",
    "get pods -o wide",
    "get pods -A",
    "get deploy,rs,svc",
    "get svc kubernetes",
    "get nodes",
    "get namespaces",
    "get cm hello --show-labels",
    "get pods -l app=hello -o name",
    "get pods --no-headers",
    "get endpointslices",
    "get cm hello -o json",
    "get deploy hello -o yaml",
    "get pods -n kube-public",
];

#[test]
fn our_own_get_prints_what_kubectl_prints() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.kubectl("apply -f samples/hello/hello.yaml").ok();
    cluster.ready_pods("app=hello", 3);
    cluster.kubectl("rollout status deployment/hello --timeout=40s").ok();
    for line in LINES {
        // An age may change between the two; then they are asked again.
        eventually(line, || {
            let theirs = cluster.kubectl(line).ok_with_warnings();
            let ours = cluster.coracle(line).ok_with_warnings();
            if ours == theirs {
                Ok(())
            } else {
                Err(format!("ours:\n{}{}\ntheirs:\n{}{}", ours.0, ours.1, theirs.0, theirs.1))
            }
        });
    }
}

#[test]
fn our_own_apply_reads_yaml_as_kubectl_does() {
    let cluster = Cluster::start();
    // Words that one version of YAML or another takes for something else than text.
    let words = [
        "y",
        "n",
        "yes",
        "off",
        "true",
        "True",
        "null",
        "~",
        "1",
        "1.5",
        "1e3",
        ".5",
        "0x1f",
        "0o7",
        "017",
        "1_000",
        "2001-01-01",
        "12:30:45",
        "=",
        "<<",
        "1e3x",
        ".inf",
        "-",
        "'1'",
        "|-\n    1\n    2",
        ">-\n    a\n    b",
        "!!str 1",
        "a # b",
        "\"\\x41\"",
    ];
    for word in words {
        let kept = |name: &str, said: coracle_tests::Said| match said.tried() {
            Ok(_) => cluster.get(&format!("/api/v1/namespaces/default/configmaps/{name}"))["data"].clone(),
            // The words of a refusal may differ.
            Err(_) => "refused".into(),
        };
        let map = |name: &str| {
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  k: {word}\n---\n# nothing\n")
        };
        let theirs = kept("theirs", cluster.kubectl_with("apply -f -", &map("theirs")));
        let ours = kept("ours", cluster.coracle_with("apply -f -", &map("ours")));
        assert_eq!(ours, theirs, "k: {word}");
    }
}
