//! A node is emptied: who may be evicted, who says no, and what comes back.

use coracle_tests::{Cluster, eventually};

#[test]
fn a_node_is_drained_as_far_as_budgets_allow_and_comes_back() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.kubectl("create deploy hello --image=hello:1 --replicas=2").ok();
    cluster.kubectl("run alone --image=hello:1").ok();
    let before = cluster.ready_pods("app=hello", 2);
    cluster.ready_pods("run=alone", 1);
    let node = cluster.kubectl("get nodes -o jsonpath={.items[0].metadata.name}").ok();

    // What nobody makes anew is not lost by accident; the node is cordoned all the same.
    let refused = cluster.kubectl(&format!("drain {node}")).refused();
    assert!(refused.contains("cannot delete Pods that declare no controller (use --force to override)"), "{refused}");

    let made = cluster.kubectl("create pdb boat --selector=app=hello --min-available=2").ok();
    assert_eq!(made, "poddisruptionbudget.policy/boat created\n");
    eventually("a budget with nothing to spare", || {
        let row = cluster.kubectl("get pdb boat --no-headers").ok();
        let cells: Vec<&str> = row.split_whitespace().collect();
        if cells.starts_with(&["boat", "2", "N/A", "0"]) { Ok(()) } else { Err(row.clone()) }
    });
    let described = cluster.kubectl("describe pdb boat").ok();
    assert!(described.contains("Current:") && described.contains("Desired:"), "{described}");
    let refused = cluster.kubectl(&format!("drain {node} --force --timeout=3s")).refused();
    let words = "Cannot evict pod as it would violate the pod's disruption budget.";
    assert!(refused.contains(words), "{refused}");
    assert_eq!(cluster.ready_pods("app=hello", 2), before, "nobody left");
    assert!(cluster.pods("run=alone").is_empty(), "nobody counts on it");

    cluster.kubectl(r#"patch pdb boat -p '{"spec":{"minAvailable":0}}'"#).ok();
    let drained = cluster.kubectl(&format!("drain {node} --force --timeout=60s")).ok();
    assert!(drained.contains(&format!("node/{node} drained")), "{drained}");
    for pod in &before {
        assert!(drained.contains(&format!("pod/{pod} evicted")), "{drained}");
    }
    assert_eq!(cluster.kubectl(&format!("uncordon {node}")).ok(), format!("node/{node} uncordoned\n"));
    let after = cluster.ready_pods("app=hello", 2);
    assert!(after.iter().all(|pod| !before.contains(pod)), "{after:?}");
    let token = cluster.kubectl("create token default --duration=10m").ok();
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
}
