//! `coracle run`: a file is reached at once, is replaced when it changes, and goes when it is told to.

use std::process::Command;

use coracle_tests::{Cluster, eventually, http, paths};
use rustix::process::{Pid, Signal, kill_process};

fn sample(name: &str) -> String {
    paths::sample(name).display().to_string()
}

/// A port of the cluster's own address that nobody uses.
const PORT: u16 = 18_080;

#[test]
fn a_file_is_answered_over_http_and_another_file_takes_its_place() {
    let cluster = Cluster::start();
    let hello = sample("hello");
    let at = std::net::SocketAddr::new(cluster.address().into(), PORT);
    let line = format!("run {hello} web --port {PORT} --env GREETING=ahoy --replicas=2");
    let said = cluster.coracle(&line).ok();
    assert!(said.contains("deployment.apps/web created\nservice/web created\n"), "{said}");
    assert!(said.ends_with(&format!("web is ready at http://{at}\n")), "{said}");
    let (code, body) = http::get(at, "/boat").unwrap();
    assert!(code == 200 && body.contains("ahoy"), "{body}");
    let service = cluster.kubectl("get svc web --no-headers").ok();
    assert!(service.contains("LoadBalancer") && service.contains(&cluster.address().to_string()), "{service}");

    let before = cluster.ready_pods("app=web", 2);
    let again = cluster.coracle(&line).ok();
    assert!(again.contains("deployment.apps/web unchanged\nservice/web unchanged\n"), "{again}");
    assert_eq!(cluster.ready_pods("app=web", 2), before, "the same file changes nothing");

    // Other bytes, though they do the same: a custom section is added to the end.
    let mut changed = std::fs::read(&hello).unwrap();
    changed.extend_from_slice(b"\0\x05\x04note");
    let changed = cluster.file("changed.wasm", changed);
    let rolled = cluster.coracle(&format!("run {changed} web --port {PORT}")).ok();
    assert!(rolled.contains("deployment.apps/web configured\n"), "{rolled}");
    let after = cluster.ready_pods("app=web", 2);
    assert!(after.iter().all(|pod| !before.contains(pod)), "{after:?}: all new, and as many as before");

    let other = cluster.coracle(&format!("run {hello} other --port {PORT} --timeout=20s")).refused();
    assert!(other.contains(&format!("port {PORT} is that of service default/web")), "{other}");
}

#[test]
fn a_command_runs_in_the_foreground_until_ctrl_c() {
    let cluster = Cluster::start();
    let mut shown = cluster.coracle_stream(&format!("run {} --rm", sample("counter")));
    shown.until("that it is ready", |line| line.starts_with("counter is ready"));
    shown.until("what it writes", |line| line == "tick 2");
    let pid = Pid::from_raw(i32::try_from(shown.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let lines = shown.to_the_end();
    assert_eq!(lines.last().map(String::as_str), Some("deployment.apps \"counter\" deleted"), "{lines:?}");
    cluster.ready_pods("app=counter", 0);
}

#[test]
fn what_cannot_run_is_told_at_once_and_nothing_of_others_is_touched() {
    let cluster = Cluster::start();
    let hello = sample("hello");
    let text = cluster.file("note.wasm", "a note");
    assert!(cluster.coracle(&format!("run {text}")).refused().contains("is not WebAssembly"));

    let shown = cluster.coracle(&format!("run {hello} web --dry-run -o yaml")).ok();
    let made = cluster.kubectl_with("apply -f -", &shown).ok();
    assert_eq!(made, "deployment.apps/web created\nservice/web created\n");
    cluster.kubectl("label deploy web app.kubernetes.io/managed-by=somebody --overwrite").ok();
    let refused = cluster.coracle(&format!("run {hello} web")).refused();
    assert!(refused.contains("deployment.apps/web is there already, and was not made by `coracle run`"), "{refused}");

    let crasher = sample("files");
    // It is ready for as long as it runs: who looks in that moment looks again.
    let refused = eventually("what becomes of it", || {
        match cluster.coracle(&format!("run {crasher} crasher -- exit 3")).ended() {
            (1, _, said) => Ok(said),
            other => Err(format!("{other:?}")),
        }
    });
    assert!(refused.contains("exit code 3") && refused.contains("--previous"), "{refused}");

    let mut alone = Command::new(paths::coracle());
    alone.args(["run", &hello]).env("KUBECONFIG", cluster.dir().join("none"));
    let nowhere = alone.output().unwrap();
    assert!(!nowhere.status.success());
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("KUBECONFIG"), "{nowhere:?}");
    eventually("the pods of the Deployment that was piped in", || {
        let pods = cluster.pods("app=web");
        if pods.len() == 1 { Ok(()) } else { Err(format!("{pods:?}")) }
    });
}
