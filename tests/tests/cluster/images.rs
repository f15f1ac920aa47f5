//! The image store: what is pushed is there, by name and by what it holds.

use coracle_tests::{Cluster, paths};
use serde_json::Value;

#[test]
fn images_are_pushed_listed_and_removed() {
    let cluster = Cluster::start();
    let hello = paths::sample("hello").display().to_string();
    let pushed = cluster.coracle(&format!("image push {hello} hello:1")).ok();
    assert!(pushed.starts_with("hello:1: digest: sha256:"), "{pushed}");
    let latest = cluster.coracle(&format!("image push {hello} team/hello")).ok();
    assert!(latest.starts_with("team/hello:latest: digest: sha256:"), "{latest}");

    let rows = |list: String| -> Vec<Vec<String>> {
        list.lines().map(|l| l.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let list = rows(cluster.coracle("image list").ok());
    assert_eq!(list[0], ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]);
    assert_eq!(
        list[1..].iter().map(|r| (&r[0][..], &r[1][..])).collect::<Vec<_>>(),
        [("hello", "1"), ("team/hello", "latest")]
    );
    assert_eq!(list[1][2], list[2][2], "the same bytes have the same digest");

    assert_eq!(cluster.coracle("image rm hello:1").ok(), "image \"hello:1\" deleted\n");
    assert_eq!(rows(cluster.coracle("image list").ok()).len(), 2);
    let refused = cluster.coracle("image rm hello:1").refused();
    assert!(refused.contains("hello:1"), "{refused}");
}

#[test]
fn what_a_pod_uses_is_not_removed_unless_it_is_forced() {
    let cluster = Cluster::start();
    cluster.push("counter");
    cluster.push_as("echo", "spare:1");
    cluster.coracle("apply -f samples/counter/counter.yaml").ok();
    let pod = cluster.ready_pods("app=counter", 1).remove(0);
    let refused = cluster.coracle("image rm spare:1 counter:1").refused();
    assert!(
        refused
            .contains(&format!(r#"image "counter:1" is used by pod default/{pod}; delete them first, or say --force"#)),
        "{refused}"
    );
    assert!(cluster.coracle("image list -o wide").ok().contains(&format!("default/{pod}")));

    // What was pushed is pruned only when that is asked for, and what is used not even then.
    assert_eq!(cluster.coracle("image prune").ok(), "Total reclaimed space: 0B\n");
    let refused = cluster.coracle("image prune --all").refused();
    assert!(refused.contains("say --force"), "{refused}");
    let told = cluster.coracle("image prune --all --dry-run").ok();
    assert!(told.starts_with("Images that would be deleted:\nspare:1 (sha256:"), "{told}");
    let pruned = cluster.coracle("image prune --all --force").ok();
    assert!(pruned.starts_with("Deleted images:\nspare:1 (sha256:"), "{pruned}");
    let ids = cluster.coracle("image list -q").ok();
    assert_eq!(ids.lines().count(), 1);

    // By the beginning of its digest. Its pod goes on.
    cluster.coracle(&format!("image rm --force {}", &ids[..6])).ok();
    assert_eq!(cluster.coracle("image list -q").ok(), "");
    assert_eq!(cluster.ready_pods("app=counter", 1), [pod]);
}

#[test]
fn an_image_is_shown_with_its_world() {
    let cluster = Cluster::start();
    cluster.push("hello");
    let page = cluster.coracle("image inspect hello:1").ok();
    for line in
        ["Name:        hello:1", "Kind:        HTTP server (WASI 0.2)", "  export wasi:http/incoming-handler@0.2."]
    {
        assert!(page.contains(line), "{page}");
    }
    let wit = cluster.coracle("image inspect --wit hello:1").ok();
    assert!(wit.starts_with("package root:component;\n") && wit.contains("handle: func("), "{wit}");
    let json: Value = serde_json::from_str(&cluster.coracle("image inspect hello:1 -o json").ok()).unwrap();
    assert_eq!(json[0]["program"]["kind"], "HTTP server (WASI 0.2)");
    assert_eq!(json[0]["manifest"]["layers"][0]["mediaType"], "application/wasm");
    let refused = cluster.coracle("image inspect hello:2").refused();
    assert!(refused.contains("`coracle image list`"), "{refused}");
}

#[test]
fn images_travel_as_an_archive_and_a_broken_one_changes_nothing() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.push_as("echo", "team/echo:2");
    let list = || {
        let list: Value = serde_json::from_str(&cluster.coracle("image list -o json").ok()).unwrap();
        let images = list.as_array().unwrap().iter();
        images.map(|i| format!("{} {}", i["name"].as_str().unwrap(), i["digest"])).collect::<Vec<_>>()
    };
    let before = list();
    let archive = cluster.dir().join("images.tar").display().to_string();
    cluster.coracle(&format!("image export hello:1 team/echo:2 -o {archive}")).ok();
    cluster.coracle("image rm hello:1 team/echo:2").ok();

    let whole = std::fs::read(&archive).unwrap();
    let cut = cluster.file("cut.tar", &whole[..whole.len() - 20_000]);
    let mut changed = whole.clone();
    changed[100_000] ^= 1;
    let changed = cluster.file("changed.tar", changed);
    let zipped = cluster.file("broken.tar.gz", b"\x1f\x8b\x08\x00");
    for (file, said) in
        [(&cut, "no whole tar archive"), (&changed, "it is broken: what should be"), (&zipped, "no whole gzip archive")]
    {
        let refused = cluster.coracle(&format!("image import {file}")).refused();
        assert!(refused.contains(said), "{refused}");
    }
    assert_eq!(list(), [""; 0]);

    let imported = cluster.coracle(&format!("image import {archive}")).ok();
    assert!(
        imported.starts_with("hello:1: digest: sha256:") && imported.contains("\nteam/echo:2: digest: "),
        "{imported}"
    );
    assert_eq!(list(), before);

    cluster.coracle("image rm hello:1 team/echo:2").ok();
    assert!(std::process::Command::new("gzip").args(["-k", &archive]).status().unwrap().success());
    cluster.coracle(&format!("image import {archive}.gz")).ok();
    assert_eq!(list(), before);
}

/// Turns what was pushed under this name into what was pulled, as the store's index tells.
fn as_if_pulled(cluster: &Cluster, name: &str) {
    let path = cluster.data_dir().join("images/index.json");
    let mut index: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for image in index["manifests"].as_array_mut().unwrap() {
        let annotations = &mut image["annotations"];
        if annotations["org.opencontainers.image.ref.name"] == name {
            annotations["dev.coracle.image.origin"] = "pulled".into();
        }
    }
    std::fs::write(&path, index.to_string()).unwrap();
}

#[test]
fn a_full_disk_costs_the_pulled_images_that_no_pod_uses() {
    let flags = "--image-gc-high-threshold=1 --image-gc-low-threshold=0 --minimum-image-ttl-duration=0s";
    let mut cluster = Cluster::builder().flags(flags).start();
    cluster.push("counter");
    cluster.push("hello");
    cluster.push("echo");
    cluster.coracle("apply -f samples/counter/counter.yaml").ok();
    cluster.ready_pods("app=counter", 1);
    cluster.stop();
    as_if_pulled(&cluster, "counter:1");
    as_if_pulled(&cluster, "echo:1");
    cluster.restart();

    // A disk that holds anything at all is fuller than the one percent above.
    coracle_tests::eventually("the image that nobody needs to go", || {
        let list = cluster.coracle("image list -o wide").ok();
        if list.contains("echo") { Err(list) } else { Ok(()) }
    });
    let list = cluster.coracle("image list").ok();
    assert!(list.contains("counter") && list.contains("hello"), "{list}");
    let nodes = cluster.get("/api/v1/nodes");
    let node = nodes["items"][0]["metadata"]["name"].as_str().unwrap();
    let message = cluster.event(node, "FreeDiskSpaceFailed");
    assert!(
        message.starts_with("Failed to garbage collect required amount of images. Attempted to free "),
        "{message}"
    );
}

#[test]
fn thresholds_that_make_no_sense_are_refused_at_the_start() {
    let cluster = Cluster::builder().flags("--image-gc-low-threshold=90").stopped();
    let refused = coracle_tests::Said::run(&mut cluster.server_command(), "").refused();
    assert!(
        refused.contains("--image-gc-low-threshold 90 must be less than --image-gc-high-threshold 85"),
        "{refused}"
    );
}

#[test]
fn what_is_no_image_is_refused_before_it_is_sent() {
    let cluster = Cluster::start();
    let script = cluster.file("script", "#!/bin/sh\n");
    let refused = cluster.coracle(&format!("image push {script} x:1")).refused();
    assert!(refused.contains("is not WebAssembly (it is a script)") && refused.contains("wasm32-wasip2"), "{refused}");
    let hello = paths::sample("hello").display().to_string();
    let refused = cluster.coracle(&format!("image push {hello} Hello:1")).refused();
    assert!(refused.contains("\"Hello:1\" is no name of an image") && refused.contains("hello:1"), "{refused}");
    let refused = cluster.coracle("image push nowhere.wasm x:1").refused();
    assert!(refused.contains("nowhere.wasm") && refused.contains("No such file"), "{refused}");
}

#[test]
fn a_pod_keeps_its_program_when_the_image_s_name_moves_on() {
    let cluster = Cluster::start();
    cluster.push("counter");
    cluster.coracle("apply -f samples/counter/counter.yaml").ok();
    let pod = cluster.ready_pods("app=counter", 1).remove(0);
    cluster.push_as("echo", "counter:1");
    assert_eq!(cluster.ready_pods("app=counter", 1), std::slice::from_ref(&pod));
    cluster.coracle(&format!("delete pod {pod}")).ok();
    // Its successor is made from what the name means now.
    let next = cluster.ready_pods("app=counter", 1).remove(0);
    let mut log = cluster.coracle_stream(&format!("logs -f {next}"));
    log.until("the other program", |line| line.starts_with("listening on "));
}
