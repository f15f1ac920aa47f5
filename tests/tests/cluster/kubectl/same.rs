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
