//! Pods that take more disk than they may, and what becomes of them.

use coracle_tests::{Cluster, eventually};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A guest that writes 2 MiB to `big` in its last directory, says so, and waits for an hour. A pod's token would be
/// the last.
const FILL: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 40)
    (data (i32.const 64) "big") (data (i32.const 80) "full\n")
    (func (export "_start") (local $dir i32)
        (local.set $dir (i32.const 3))
        (loop $next
            (if (i32.eqz (call $prestat (i32.add (local.get $dir) (i32.const 1)) (i32.const 0)))
                (then (local.set $dir (i32.add (local.get $dir) (i32.const 1))) (br $next))))
        ;; Create it, with the right to write.
        (if (call $open (local.get $dir) (i32.const 0) (i32.const 64) (i32.const 3) (i32.const 1)
                (i64.const 64) (i64.const 64) (i32.const 0) (i32.const 16))
            (then (unreachable)))
        (i32.store (i32.const 0) (i32.const 65536)) (i32.store (i32.const 4) (i32.const 2097152))
        (loop $more
            (if (call $write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8))
                (then (unreachable)))
            (i32.store (i32.const 4) (i32.sub (i32.load (i32.const 4)) (i32.load (i32.const 8))))
            (br_if $more (i32.load (i32.const 4))))
        (i32.store (i32.const 0) (i32.const 80)) (i32.store (i32.const 4) (i32.const 5))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        ;; One subscription at 128: a monotonic clock, relative, an hour in nanoseconds.
        (i32.store (i32.const 144) (i32.const 1))
        (i64.store (i32.const 152) (i64.const 3600000000000))
        (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 8)))))"#;

fn with_volume(empty_dir: &Value, limits: &Value) -> Value {
    json!({
        "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
        "containers": [{
            "name": "fill", "image": "fill:1", "resources": {"limits": limits},
            "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        }],
        "volumes": [{"name": "scratch", "emptyDir": empty_dir}],
    })
}

fn without_volume(limits: &Value) -> Value {
    let container = json!({"name": "fill", "image": "fill:1", "resources": {"limits": limits}});
    json!({"automountServiceAccountToken": false, "containers": [container]})
}

#[test]
fn a_pod_that_takes_more_disk_than_it_may_is_evicted() {
    let cluster = Cluster::start();
    let guest = cluster.file("fill.wasm", wat::parse_str(FILL).unwrap());
    cluster.coracle(&format!("image push {guest} fill:1")).ok();
    let mut told = Vec::new();
    for (name, spec, words) in [
        (
            "volume",
            with_volume(&json!({"sizeLimit": "1Mi"}), &json!({})),
            "Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\". ",
        ),
        (
            "memory",
            with_volume(&json!({"medium": "Memory", "sizeLimit": "1Mi"}), &json!({})),
            "Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\". ",
        ),
        (
            "pod",
            with_volume(&json!({}), &json!({"ephemeral-storage": "1Mi"})),
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ",
        ),
        (
            "root",
            without_volume(&json!({"ephemeral-storage": "1536Ki"})),
            "Pod ephemeral local storage usage exceeds the total limit of containers 1536Ki. ",
        ),
    ] {
        cluster.api().create(PODS, &json!({"metadata": {"name": name}, "spec": spec}));
        told.push((name, words));
    }
    let modest = with_volume(&json!({"sizeLimit": "4Mi"}), &json!({"ephemeral-storage": "8Mi"}));
    cluster.api().create(PODS, &json!({"metadata": {"name": "modest", "labels": {"app": "modest"}}, "spec": modest}));
    for (name, words) in told {
        let status = eventually(&format!("{name} evicted"), || {
            let pod = cluster.get(&format!("{PODS}/{name}"));
            if pod["status"]["phase"] == "Failed" { Ok(pod["status"].clone()) } else { Err(pod["status"].to_string()) }
        });
        assert_eq!((&status["reason"], &status["message"]), (&json!("Evicted"), &json!(words)), "{name}: {status}");
        let conditions = status["conditions"].as_array().unwrap();
        assert!(conditions.iter().any(|c| c["type"] == "DisruptionTarget" && c["status"] == "True"), "{status}");
        assert_eq!(cluster.event(name, "Evicted"), words);
    }
    cluster.ready_pods("app=modest", 1);
}
