//! `kubectl apply`, `diff` and `delete -f`: the declarative way.

use std::collections::BTreeSet;

use coracle_tests::paths::root;
use coracle_tests::{Cluster, eventually, http};

const HELLO: &str = "samples/hello/hello.yaml";

#[test]
fn hello_yaml_becomes_three_pods_that_answer_in_turns_and_goes_without_a_trace() {
    let cluster = Cluster::start();
    cluster.push("hello");
    let applied = cluster.kubectl(&format!("apply -f {HELLO}")).ok();
    assert_eq!(applied, "configmap/hello created\ndeployment.apps/hello created\nservice/hello created\n");
    let status = cluster.kubectl("rollout status deployment/hello --timeout=40s").ok();
    assert!(status.contains("deployment \"hello\" successfully rolled out"), "{status}");

    let pods: BTreeSet<String> = cluster.ready_pods("app=hello", 3).into_iter().collect();
    let mut answered = BTreeSet::new();
    eventually("an answer from each of the three pods", || {
        let (status, body) = http::get(cluster.node_port(30080), "/")?;
        // The greeting is the ConfigMap's, the name the downward API's.
        let name = body.strip_prefix("hello from ").filter(|_| status == 200).ok_or(format!("{status} {body}"))?;
        answered.insert(name.trim_end().to_owned());
        if answered == pods { Ok(()) } else { Err(format!("{answered:?} of {pods:?}")) }
    });

    let deleted = cluster.kubectl(&format!("delete -f {HELLO}")).ok();
    let said: BTreeSet<&str> = deleted.lines().map(|l| l.split(" deleted").next().unwrap()).collect();
    assert_eq!(said, BTreeSet::from(["configmap \"hello\"", "deployment.apps \"hello\"", "service \"hello\""]));
    eventually("no trace of hello", || {
        let rest = cluster.kubectl("get pods,replicasets,deployments,services,configmaps,endpointslices -o name").ok();
        if rest.contains("hello") { Err(rest) } else { Ok(()) }
    });
    eventually("a closed NodePort", || match http::get(cluster.node_port(30080), "/") {
        Ok(answer) => Err(format!("{answer:?}")),
        Err(_) => Ok(()),
    });
}

#[test]
fn applying_again_changes_nothing_and_a_changed_file_only_what_it_changes() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.kubectl(&format!("apply -f {HELLO}")).ok();
    cluster.ready_pods("app=hello", 3);
    let again = cluster.kubectl(&format!("apply -f {HELLO}")).ok();
    assert_eq!(again, "configmap/hello unchanged\ndeployment.apps/hello unchanged\nservice/hello unchanged\n");
    assert_eq!(cluster.kubectl(&format!("diff -f {HELLO}")).ok(), "");

    let text = std::fs::read_to_string(root().join(HELLO)).unwrap();
    let changed = text.replace("replicas: 3", "replicas: 2").replace("greeting: hello", "greeting: moin");
    let diff = cluster.kubectl_with("diff -f -", &changed).differs();
    assert!(diff.contains("-  replicas: 3\n+  replicas: 2\n"), "{diff}");
    assert!(diff.contains("-  greeting: hello\n+  greeting: moin\n"), "{diff}");
    let applied = cluster.kubectl_with("apply -f -", &changed).ok();
    assert_eq!(applied, "configmap/hello configured\ndeployment.apps/hello configured\nservice/hello unchanged\n");
    cluster.ready_pods("app=hello", 2);

    // What somebody else has set, apply leaves alone; what the file no longer says, it takes away.
    cluster.kubectl("annotate configmap hello note=mine").ok();
    let without = changed.replace("  greeting: moin", "  other: text");
    cluster.kubectl_with("apply -f -", &without).ok();
    let data = cluster.kubectl("get configmap hello -o jsonpath={.data}{.metadata.annotations.note}").ok();
    assert_eq!(data, "{\"other\":\"text\"}mine");
}

#[test]
fn a_server_side_dry_run_checks_everything_and_keeps_nothing() {
    let cluster = Cluster::start();
    let said = cluster.kubectl(&format!("apply --dry-run=server -f {HELLO}")).ok();
    assert!(said.contains("deployment.apps/hello created (server dry run)"), "{said}");
    let rest = cluster.kubectl("get deploy,configmaps,pods -o name").ok();
    assert!(!rest.contains("hello"), "{rest}");
}

#[test]
fn a_server_side_apply_knows_owners_and_takes_over_from_the_client_side() {
    let cluster = Cluster::start();
    let file = |data: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: boat\ndata:\n{data}");
    let apply = |flags: &str, data: &str| cluster.kubectl_with(&format!("apply {flags} -f -"), &file(data));
    apply("", "  color: blue\n  sails: \"2\"\n").ok();

    // What the client-side apply set is kubectl's own: no conflict, and what the file no longer says goes.
    assert_eq!(apply("--server-side", "  color: red\n").ok(), "configmap/boat serverside-applied\n");
    assert_eq!(cluster.kubectl("get cm boat -o jsonpath={.data}").ok(), "{\"color\":\"red\"}");
    let last = cluster.kubectl("apply view-last-applied cm boat").ok();
    assert!(last.contains("color: red") && !last.contains("sails"), "{last}");

    let refused = apply("--server-side --field-manager=harbour", "  color: green\n").refused();
    assert!(refused.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .data.color"), "{refused}");
    apply("--server-side --field-manager=harbour --force-conflicts", "  color: green\n").ok();
    let owners =
        "get cm boat --show-managed-fields -o jsonpath={range.metadata.managedFields[*]}{.manager}/{.operation},{end}";
    let owners = cluster.kubectl(owners).ok();
    assert!(owners.contains("harbour/Apply,") && !owners.contains("kubectl/Apply,"), "{owners}");
    assert!(!cluster.kubectl("get cm boat -o yaml").ok().contains("managedFields"), "hidden unless asked for");

    let diff =
        cluster.kubectl_with("diff --server-side --field-manager=harbour -f -", &file("  color: pink\n")).differs();
    assert!(diff.contains("-  color: green\n+  color: pink\n"), "{diff}");

    // The components of the cluster are managers like any other.
    cluster.kubectl("create deploy web --image=nowhere:1").ok();
    eventually("the controllers as managers of the status", || {
        let web = cluster.kubectl("get deploy web --show-managed-fields -o jsonpath={.metadata.managedFields}").ok();
        let status =
            web.contains("\"manager\":\"kube-controller-manager\"") && web.contains("\"subresource\":\"status\"");
        if status { Ok(()) } else { Err(web) }
    });
}
