//! Our own verbs, for whoever has no kubectl: the same words in, the same words out.

use coracle_tests::{Cluster, eventually, http};

const HELLO: &str = "samples/hello/hello.yaml";

#[test]
fn a_person_without_kubectl_does_the_whole_walk() {
    let cluster = Cluster::start();
    cluster.push("hello");
    let applied = cluster.coracle(&format!("apply -f {HELLO}")).ok();
    assert_eq!(applied, "configmap/hello created\ndeployment.apps/hello created\nservice/hello created\n");
    let again = cluster.coracle(&format!("apply -f {HELLO}")).ok();
    assert_eq!(again, "configmap/hello unchanged\ndeployment.apps/hello unchanged\nservice/hello unchanged\n");
    let pods = cluster.ready_pods("app=hello", 3);
    eventually("an answer", || http::get(cluster.node_port(30080), "/boat"));

    let table = cluster.coracle("get pods -o wide").ok();
    assert!(table.starts_with("NAME ") && table.contains(" NOMINATED NODE "), "{table}");
    assert!(pods.iter().all(|pod| table.contains(pod)), "{table}");
    let names = cluster.coracle("get pods,deploy,svc -o name").ok();
    assert!(names.contains(&format!("pod/{}\n", pods[0])) && names.contains("deployment.apps/hello\n"), "{names}");
    assert!(cluster.coracle("get cm hello -o yaml").ok().contains("greeting: hello"));
    assert!(cluster.coracle("get cm hello -o json").ok().contains("\"greeting\": \"hello\""));

    let described = cluster.coracle("describe deploy hello").ok();
    assert!(described.contains("3 desired") && described.contains("ScalingReplicaSet"), "{described}");
    let described = cluster.coracle(&format!("describe pod {}", pods[0])).ok();
    assert!(described.contains("Successfully assigned default/"), "{described}");
    eventually("the request in a log", || {
        let logs: String = pods.iter().map(|pod| cluster.coracle(&format!("logs {pod}")).ok()).collect();
        if logs.contains("GET /boat\n") { Ok(()) } else { Err(logs) }
    });

    let mut watch = cluster.coracle_stream("get pods --watch");
    watch.until("the headings", |l| l.starts_with("NAME "));
    assert_eq!(cluster.coracle("scale deploy/hello --replicas=4").ok(), "deployment.apps/hello scaled\n");
    let new = cluster.ready_pods("app=hello", 4).into_iter().find(|pod| !pods.contains(pod)).unwrap();
    watch.until("the new pod, running", |l| l.contains(&new) && l.contains("1/1") && l.contains("Running"));

    let deleted = cluster.coracle(&format!("delete -f {HELLO}")).ok();
    assert_eq!(deleted, "configmap \"hello\" deleted\ndeployment.apps \"hello\" deleted\nservice \"hello\" deleted\n");
    cluster.ready_pods("app=hello", 0);
    let refused = cluster.coracle("get deploy hello").refused();
    assert_eq!(refused, "Error from server (NotFound): deployments.apps \"hello\" not found\n");
}

#[test]
fn a_log_is_followed_without_kubectl() {
    let cluster = Cluster::start();
    cluster.push("counter");
    cluster.coracle("apply -f samples/counter/counter.yaml").ok();
    cluster.ready_pods("app=counter", 1);
    let mut log = cluster.coracle_stream("logs -f deploy/counter");
    log.until("the second tick", |l| l == "tick 2");
    let stamped = cluster.coracle("logs deploy/counter --tail=1 --timestamps").ok();
    assert!(stamped.contains("Z tick "), "{stamped}");
    cluster.coracle("delete deploy counter").ok();
    log.to_the_end();
}

#[test]
fn bad_input_is_refused_in_the_servers_words() {
    let cluster = Cluster::start();
    let unknown = "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, daat: {a: b}}";
    let refused = cluster.coracle_with("apply -f -", unknown).refused();
    assert!(refused.contains("unknown field \"daat\""), "{refused}");
    let (said, warned) = cluster.coracle_with("apply --validate=warn -f -", unknown).ok_with_warnings();
    assert_eq!(said, "configmap/x created\n");
    assert!(warned.contains("Warning: unknown field \"daat\""), "{warned}");
    let wrong = "{apiVersion: v1, kind: ConfigMap, metadata: {name: z}, data: [1]}";
    let refused = cluster.coracle_with("apply -f -", wrong).refused();
    assert!(refused.contains("BadRequest") && refused.contains("data"), "{refused}");
    let refused = cluster.coracle_with("apply -f -", "{apiVersion: v1, kind: Boat, metadata: {name: z}}").refused();
    assert!(refused.contains("Boat"), "{refused}");
    assert!(cluster.coracle("get boats").refused().contains("boats"));
}

#[test]
fn the_binary_tells_its_versions_and_completions() {
    let cluster = Cluster::start();
    let version = cluster.coracle("version").ok();
    assert!(version.contains("Client Version: v0.") && version.contains("Server Version: v1.37"), "{version}");
    for shell in ["bash", "zsh", "fish"] {
        let script = cluster.coracle(&format!("completion {shell}")).ok();
        assert!(script.contains("coracle") && script.len() > 1_000, "{shell}: {script}");
    }
}
