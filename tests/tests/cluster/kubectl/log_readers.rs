//! Readers of logs that are slow, or go away, and logs that are no text.

use std::process::{Command, Stdio};

use coracle_tests::{Cluster, eventually};
use serde_json::json;

/// A guest that prints for ever, as fast as it may.
const FLOOD: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "a line that is printed again and again, for ever and ever\n")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 58))
        (loop $ever (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $ever))))"#;

/// What readers that read nothing may cost the server, in KiB: some buffers each, and the noise of a process at work.
const STALLED_KIB_MAX: u64 = 48 * 1024;

fn run(cluster: &Cluster, name: &str, program: &str) {
    let file = cluster.file(&format!("{name}.wasm"), wat::parse_str(program).unwrap());
    cluster.coracle(&format!("image push {file} {name}:1")).ok();
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": name, "image": format!("{name}:1")}]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
    cluster.kubectl_with("create -f -", &pod.to_string()).ok();
}

fn kubectl(cluster: &Cluster, words: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command.args(words).env("KUBECONFIG", &cluster.server().kubeconfig).stdin(Stdio::null());
    command
}

/// What of the server's memory is its own, in KiB.
fn memory(cluster: &Cluster) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", cluster.server().pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How many of its files are logs.
fn open_logs(cluster: &Cluster) -> usize {
    let files = std::fs::read_dir(format!("/proc/{}/fd", cluster.server().pid())).unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().contains("/flood/")).count()
}

/// The time of the newest line.
fn newest(cluster: &Cluster) -> String {
    let line = cluster.kubectl("logs flood --tail=1 --timestamps").ok();
    line.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn readers_that_read_nothing_hold_neither_the_guest_nor_memory_and_those_that_go_leave_nothing() {
    let cluster = Cluster::start();
    run(&cluster, "flood", FLOOD);
    cluster.kubectl("wait --for=condition=Ready pod/flood --timeout=40s").ok();
    eventually("a line", || if newest(&cluster).is_empty() { Err("none".to_owned()) } else { Ok(()) });

    let mut readers: Vec<_> =
        (0..6).map(|_| kubectl(&cluster, &["logs", "-f", "flood"]).stdout(Stdio::piped()).spawn().unwrap()).collect();
    eventually("six readers", || match open_logs(&cluster) {
        0..6 => Err("fewer".to_owned()),
        _ => Ok(()),
    });
    let before = memory(&cluster);
    // It goes on and on: its log is put aside several times.
    let generation = || {
        let pods = std::fs::read_dir(cluster.data_dir().join("logs")).unwrap();
        let names = pods.flatten().flat_map(|pod| std::fs::read_dir(pod.path().join("flood")).into_iter().flatten());
        let numbers = names.filter_map(|name| name.ok()?.file_name().to_str()?.rsplit_once(".log.")?.1.parse().ok());
        numbers.max().unwrap_or(0_u64)
    };
    let first = generation();
    eventually("three files more", || {
        let now = generation();
        if now >= first + 3 { Ok(()) } else { Err(now.to_string()) }
    });
    let seen = newest(&cluster);
    eventually("a newer line", || if newest(&cluster) > seen { Ok(()) } else { Err(seen.clone()) });
    let after = memory(&cluster);
    assert!(after < before + STALLED_KIB_MAX, "{before} KiB before, {after} KiB after");

    for reader in &mut readers {
        reader.kill().unwrap();
        reader.wait().unwrap();
    }
    eventually("no reader's files", || match open_logs(&cluster) {
        // The writer's own.
        0 | 1 => Ok(()),
        open => Err(format!("{open} are open")),
    });
}

#[test]
fn a_log_that_is_no_text_is_shown_byte_by_byte() {
    let cluster = Cluster::start();
    let bytes: Vec<u8> = (0..=255).chain([0xff, 0x0a]).collect();
    let data: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let program = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 64) "{data}")
            (func (export "_start")
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (i32.const {}))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
        bytes.len()
    );
    run(&cluster, "binary", &program);
    cluster.terminated("binary");
    let said = kubectl(&cluster, &["logs", "binary"]).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    assert_eq!(said.stdout, bytes);
    let followed = kubectl(&cluster, &["logs", "-f", "binary", "--limit-bytes=5"]).output().unwrap();
    assert_eq!(followed.stdout, [0, 1, 2, 3, 4]);
}

#[test]
fn who_waits_for_a_pod_of_a_deployment_waits_as_long_as_was_said() {
    let cluster = Cluster::start();
    cluster.push("counter");
    cluster.kubectl("create deployment late --image=counter:1 --replicas=0").ok();
    for line in ["logs deploy/late", "exec deploy/late -- pwd", "attach deploy/late", "port-forward deploy/late :80"] {
        let verb = line.split(' ').next().unwrap();
        let line = line.replacen(verb, &format!("{verb} --pod-running-timeout=1s"), 1);
        let said = cluster.kubectl(&line).refused();
        assert!(said.contains("timed out waiting for the condition"), "{line}: {said}");
    }
    cluster.kubectl("scale deployment late --replicas=1").ok();
    cluster.ready_pods("app=late", 1);
    let said = cluster.kubectl("exec --pod-running-timeout=20s deploy/late -- pwd").ok();
    assert_eq!(said, "/\n");
}
