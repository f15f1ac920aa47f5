//! `kubectl logs`: what a container wrote, as it comes, by time, and of the run before.

use coracle_tests::{Cluster, eventually};

/// A pod that ends with a code of its own choice, again and again.
const CRASHER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: crasher}
spec:
  containers:
    - name: files
      image: files:1
      args: ["exit", "3"]
"#;

fn tick(line: &str) -> Option<u32> {
    line.strip_prefix("tick ")?.parse().ok()
}

#[test]
fn logs_are_followed_cut_and_stamped_and_a_follower_ends_with_the_pod() {
    let cluster = Cluster::start();
    cluster.push("counter");
    cluster.kubectl("apply -f samples/counter/counter.yaml").ok();
    let pod = cluster.ready_pods("app=counter", 1).remove(0);

    let mut follower = cluster.kubectl_stream("logs -f deploy/counter");
    follower.until("the third tick", |line| tick(line) == Some(3));
    let all = cluster.kubectl(&format!("logs {pod}")).ok();
    assert!(all.starts_with("tick 1\ntick 2\ntick 3\n"), "{all}");

    let last = cluster.kubectl(&format!("logs {pod} --tail=1")).ok();
    assert!(last.lines().count() == 1 && tick(last.trim_end()) >= Some(3), "{last}");
    assert_eq!(cluster.kubectl(&format!("logs {pod} --tail=0")).ok(), "");
    assert!(cluster.kubectl(&format!("logs {pod} --since=1h")).ok().starts_with("tick 1\n"));
    let recent = cluster.kubectl(&format!("logs {pod} --since=1s")).ok();
    assert!(recent.lines().count() <= 2, "{recent}");
    assert_eq!(cluster.kubectl(&format!("logs {pod} --limit-bytes=4")).ok(), "tick");

    let stamped = cluster.kubectl(&format!("logs {pod} --timestamps --tail=2")).ok();
    for line in stamped.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.len() >= 20 && time.contains('T') && time.ends_with('Z'), "{line}");
        assert!(tick(rest).is_some(), "{line}");
    }
    let labelled = cluster.kubectl("logs -l app=counter --prefix --tail=1").ok();
    assert!(labelled.starts_with(&format!("[pod/{pod}/counter] tick ")), "{labelled}");

    cluster.kubectl(&format!("delete pod {pod} --wait=false")).ok();
    let lines = follower.to_the_end();
    let ticks: Vec<u32> = lines.iter().filter_map(|l| tick(l)).collect();
    assert_eq!(ticks, (1..=u32::try_from(ticks.len()).unwrap()).collect::<Vec<_>>(), "none lost, none twice");

    // Its successor begins anew.
    let next = cluster.ready_pods("app=counter", 1).remove(0);
    eventually("the successor's first tick", || {
        let log = cluster.kubectl(&format!("logs {next}")).ok();
        if log.starts_with("tick 1\n") { Ok(()) } else { Err(log) }
    });
}

#[test]
fn the_log_of_the_run_before_a_crash_can_be_read() {
    let cluster = Cluster::start();
    cluster.push("files");
    cluster.kubectl_with("apply -f -", CRASHER).ok();
    eventually("a restart", || {
        let row = cluster.kubectl("get pod crasher --no-headers").ok();
        let restarts = row.split_whitespace().nth(3).and_then(|r| r.parse::<u32>().ok());
        if restarts >= Some(1) { Ok(()) } else { Err(row) }
    });
    let previous = cluster.kubectl("logs crasher --previous").ok();
    assert!(previous.contains("exit"), "it prints its arguments: {previous}");
    let state = "get pod crasher -o jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}";
    assert_eq!(cluster.kubectl(state).ok(), "3");
    eventually("a crash loop that is said to be one", || {
        let row = cluster.kubectl("get pod crasher --no-headers").ok();
        if row.contains("CrashLoopBackOff") { Ok(()) } else { Err(row) }
    });
    let described = cluster.kubectl("describe pod crasher").ok();
    assert!(described.contains("Back-off restarting failed container files in pod crasher"), "{described}");

    let none = cluster.kubectl("logs nobody").refused();
    assert_eq!(none, "error: error from server (NotFound): pods \"nobody\" not found in namespace \"default\"\n");
}

/// A pod of an init container and two that go on.
const MANY: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: many, labels: {app: many}}
spec:
  initContainers:
    - {name: prepare, image: "files:1", args: ["prepared"]}
  containers:
    - {name: a, image: "counter:1"}
    - {name: b, image: "counter:1"}
"#;

#[test]
fn the_logs_of_several_containers_are_chosen_prefixed_and_limited() {
    let cluster = Cluster::start();
    cluster.push("files");
    cluster.push("counter");
    cluster.kubectl_with("apply -f -", MANY).ok();
    cluster.ready_pods("app=many", 1);
    for container in ["a", "b"] {
        eventually("a tick", || {
            let log = cluster.kubectl(&format!("logs many -c {container}")).ok();
            if log.starts_with("tick 1\n") { Ok(()) } else { Err(log) }
        });
    }
    let (first, told) = cluster.kubectl("logs many").ok_with_warnings();
    assert!(first.starts_with("tick 1\n"), "{first}");
    assert!(told.contains("Defaulted container \"a\" out of: a, b, prepare (init)"), "{told}");
    assert!(cluster.kubectl("logs many -c prepare").ok().contains("prepared"));

    for whose in ["many", "-l app=many"] {
        let all = cluster.kubectl(&format!("logs {whose} --all-containers --prefix --tail=-1")).ok();
        for prefix in ["[pod/many/prepare] ", "[pod/many/a] tick 1\n", "[pod/many/b] tick 1\n"] {
            assert!(all.contains(prefix), "{prefix} in {all}");
        }
    }
    let refused = cluster.kubectl("logs -l app=many --all-containers -f --max-log-requests=2").refused();
    assert!(refused.contains("follow 3 log streams, but maximum allowed concurrency is 2"), "{refused}");
    let mut follower = cluster.kubectl_stream("logs -l app=many --all-containers -f --prefix --max-log-requests=3");
    follower.until("a tick of one", |line| line.starts_with("[pod/many/a] tick "));
    follower.until("a tick of the other", |line| line.starts_with("[pod/many/b] tick "));

    let options = "--insecure-skip-tls-verify-backend --pod-running-timeout=5s";
    let past = cluster.kubectl(&format!("logs many -c a --since-time=2000-01-01T00:00:00Z {options}")).ok();
    assert!(past.starts_with("tick 1\n"), "{past}");
    assert_eq!(cluster.kubectl("logs many -c a --since-time=2100-01-01T00:00:00Z").ok(), "");
    let both = cluster.kubectl("logs many -c a --since-time=2000-01-01T00:00:00Z --since=1h").refused();
    assert!(both.contains("at most one of"), "{both}");
    let none = cluster.kubectl("logs many -c nobody").refused();
    assert!(none.contains("container nobody is not valid for pod many"), "{none}");
    let ignoring = cluster.kubectl("logs -l app=many -c a --ignore-errors --tail=1").ok();
    assert!(ignoring.starts_with("tick "), "{ignoring}");
    let previous = cluster.kubectl("logs many -c a --previous").refused();
    assert!(previous.contains("previous terminated container \"a\" in pod \"many\" not found"), "{previous}");

    cluster.kubectl("delete pod many --wait=false").ok();
    follower.to_the_end();
}

#[test]
fn who_follows_a_container_that_ends_is_told_of_that_run_alone() {
    let cluster = Cluster::start();
    cluster.push("files");
    cluster.kubectl_with("apply -f -", CRASHER).ok();
    eventually("a crash loop", || {
        let row = cluster.kubectl("get pod crasher --no-headers").ok();
        if row.contains("CrashLoopBackOff") { Ok(()) } else { Err(row) }
    });
    let run = cluster.kubectl_stream("logs -f crasher").to_the_end();
    assert_eq!(run.iter().filter(|line| line.contains("exit")).count(), 1, "{run:?}");
}
