//! Images that cannot run, and images that are not there: the pod waits, and says why and what to do.

use coracle_tests::{Cluster, paths};
use serde_json::json;

use super::PODS;

fn run(cluster: &Cluster, name: &str, image: &str, policy: &str) {
    let container = json!({"name": "main", "image": image, "imagePullPolicy": policy});
    let metadata = json!({"name": name, "labels": {"app": name}});
    cluster.api().create(PODS, &json!({"metadata": metadata, "spec": {"containers": [container]}}));
}

#[test]
fn an_image_that_cannot_run_is_named_for_what_it_is() {
    let cluster = Cluster::start();
    let wat = |text: &str| wat::parse_str(text).unwrap();
    let foreign = r#"(component
        (import "acme:db/store@1.0.0" (instance (export "open" (func))))
        (core module $m (func (export "run") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $cli (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $cli)))"#;
    let whole = std::fs::read(paths::sample("hello")).unwrap();
    let cases = [
        ("elf", b"\x7fELF\x02\x01\x01\0".to_vec(), "an ELF binary"),
        ("empty", Vec::new(), "empty"),
        ("library", wat(r#"(module (func (export "add")))"#), "exports no _start"),
        ("foreign", wat(foreign), "acme:db/store@1.0.0"),
        ("reactor", wat(r#"(module (func (export "_initialize")))"#), "is a reactor"),
        ("mute", wat("(component)"), "exports nothing that can be run"),
        ("draft", wat(&foreign.replace("@0.2.0", "@0.3.0-rc-2025-09-16")), "exports wasi:cli/run@0.3.0-rc-2025-09-16"),
        ("broken", b"\0asm\x0d\0\x01\0rubbish".to_vec(), "is malformed"),
        ("cut", whole[..whole.len() / 2].to_vec(), "is malformed"),
        ("text", b"(component)".to_vec(), "WebAssembly text"),
        ("layer", b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), "a gzip archive"),
        ("future", b"\0asm\x0e\0\x01\0".to_vec(), "version 0e 00 01 00"),
    ];
    for (name, layer, _) in &cases {
        cluster.api().push_layer(name, "1", layer);
        run(&cluster, name, &format!("{name}:1"), "IfNotPresent");
    }
    let linux = "application/vnd.oci.image.layer.v1.tar+gzip";
    cluster.api().push_layer_as("linux", "1", linux, b"\x1f\x8b");
    run(&cluster, "linux", "linux:1", "IfNotPresent");
    let message = cluster.waiting("linux", &["InvalidImage"]);
    assert!(message.contains("such as Linux") && message.contains(linux), "{message}");
    for (name, _, words) in &cases {
        let message = cluster.waiting(name, &["InvalidImage"]);
        assert!(!message.is_empty() && message.contains(words), "{name}: {message:?} lacks {words:?}");
    }
    // None of them harms the node.
    cluster.push("hello");
    run(&cluster, "hello", "hello:1", "IfNotPresent");
    cluster.ready_pods("app=hello", 1);
}

#[test]
fn a_missing_image_says_how_to_push_it_and_starts_by_itself_once_it_is_there() {
    let cluster = Cluster::start();
    run(&cluster, "late", "late:1", "IfNotPresent");
    let message = cluster.waiting("late", &["ErrImagePull", "ImagePullBackOff"]);
    assert!(message.contains("coracle image push") && message.contains("late:1"), "{message}");
    let event = cluster.event("late", "Failed");
    assert!(event.contains("late:1"), "{event}");
    cluster.push_as("hello", "late:1");
    cluster.ready_pods("app=late", 1);

    run(&cluster, "never", "never:1", "Never");
    let message = cluster.waiting("never", &["ErrImageNeverPull"]);
    assert!(message.contains("never:1"), "{message}");
    run(&cluster, "badly-named", "Bad//Name", "IfNotPresent");
    let message = cluster.waiting("badly-named", &["InvalidImageName"]);
    assert!(message.contains("Bad//Name"), "{message}");
}
