//! Where pods go, and why they wait: the scheduler's words, and what mends it.

use coracle_tests::{Cluster, eventually};

const PICKY: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: picky, labels: {app: picky}}
spec:
  nodeSelector: {sea: baltic}
  containers: [{name: hello, image: "hello:1"}]
"#;

const GREEDY: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  containers: [{name: hello, image: "hello:1", resources: {requests: {cpu: "100000", memory: 16Mi}}}]
"#;

#[test]
fn a_pod_that_fits_nowhere_waits_says_why_and_goes_on_when_it_fits() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.kubectl_with("apply -f -", PICKY).ok();
    cluster.kubectl_with("apply -f -", GREEDY).ok();
    let why = cluster.event("picky", "FailedScheduling");
    assert!(why.starts_with("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."), "{why}");
    let why = cluster.event("greedy", "FailedScheduling");
    assert!(why.starts_with("0/1 nodes are available: 1 Insufficient cpu."), "{why}");
    let row = cluster.kubectl("get pod picky --no-headers").ok();
    assert!(row.contains("Pending"), "{row}");
    let condition = "get pod picky -o jsonpath={.status.conditions[?(@.type==\"PodScheduled\")].reason}";
    assert_eq!(cluster.kubectl(condition).ok(), "Unschedulable");

    assert!(cluster.kubectl("label nodes --all sea=baltic").ok().contains("labeled"));
    cluster.ready_pods("app=picky", 1);
    let row = cluster.kubectl("get pod greedy --no-headers").ok();
    assert!(row.contains("Pending"), "{row}");
}

#[test]
fn a_cordoned_node_takes_no_new_pods_and_keeps_its_own() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.kubectl("create deploy hello --image=hello:1").ok();
    let before = cluster.ready_pods("app=hello", 1);
    let node = cluster.kubectl("get nodes -o jsonpath={.items[0].metadata.name}").ok();
    assert_eq!(cluster.kubectl(&format!("cordon {node}")).ok(), format!("node/{node} cordoned\n"));
    let row = cluster.kubectl("get nodes --no-headers").ok();
    assert!(row.contains("Ready,SchedulingDisabled"), "{row}");
    cluster.kubectl("scale deploy hello --replicas=2").ok();
    let waits = eventually("a pod that waits", || {
        let names = cluster.kubectl("get pods --field-selector status.phase=Pending -o name").ok();
        names.strip_prefix("pod/").map(|n| n.trim_end().to_owned()).ok_or(names.clone())
    });
    let why = cluster.event(&waits, "FailedScheduling");
    assert!(why.starts_with("0/1 nodes are available: 1 node(s) were unschedulable."), "{why}");
    assert_eq!(cluster.kubectl(&format!("uncordon {node}")).ok(), format!("node/{node} uncordoned\n"));
    assert!(cluster.ready_pods("app=hello", 2).contains(&before[0]));
}
