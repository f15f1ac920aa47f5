//! Namespaces: what is in one is apart from the others, and goes with it.

use coracle_tests::{Cluster, eventually};

#[test]
fn a_namespace_goes_with_everything_inside() {
    let cluster = Cluster::start();
    cluster.push("hello");
    assert_eq!(cluster.kubectl("create namespace team").ok(), "namespace/team created\n");
    cluster.kubectl("create deploy hello --image=hello:1 --replicas=2 -n team").ok();
    cluster.kubectl("expose deploy hello --port=80 -n team").ok();
    cluster.kubectl("create configmap mine -n team").ok();
    cluster.kubectl("create secret generic hidden --from-literal=a=b -n team").ok();
    cluster.kubectl("rollout status deploy/hello -n team --timeout=40s").ok();
    cluster.kubectl("create configmap mine").ok();

    assert_eq!(cluster.kubectl("delete namespace team").ok(), "namespace \"team\" deleted\n");
    assert!(cluster.kubectl("get namespace team").refused().contains("namespaces \"team\" not found"));
    // It is gone only when all inside is gone.
    let rest = cluster.kubectl("get deploy,rs,pods,svc,endpointslices,secrets -A").ok();
    assert!(!rest.lines().any(|l| l.starts_with("team ")), "{rest}");
    // What bears the same name elsewhere stays.
    cluster.kubectl("get configmap mine").ok();

    // The same name can be used again, and is empty.
    cluster.kubectl("create namespace team").ok();
    let (_, err) = cluster.kubectl("get all -n team").ok_with_warnings();
    assert_eq!(err, "No resources found in team namespace.\n");
}

#[test]
fn four_namespaces_are_there_from_the_start_and_stay() {
    let cluster = Cluster::start();
    let names = cluster.kubectl("get namespaces -o name").ok();
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(names.contains(&format!("namespace/{name}\n")), "{names}");
    }
    let refused = cluster.kubectl("delete namespace default").refused();
    assert!(refused.contains("(Forbidden)") && refused.contains("default"), "{refused}");
    let refused = cluster.kubectl("create configmap x -n nowhere").refused();
    assert!(refused.contains("namespaces \"nowhere\" not found"), "{refused}");
    eventually("the node's heartbeat", || {
        let leases = cluster.kubectl("get leases -n kube-node-lease -o name").ok();
        if leases.starts_with("lease.coordination.k8s.io/") { Ok(()) } else { Err(leases) }
    });
}
