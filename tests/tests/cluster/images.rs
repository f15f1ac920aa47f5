//! The image store: what is pushed is there, by name and by what it holds.

use coracle_tests::{Cluster, paths};

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
    assert_eq!(list[0], ["REPOSITORY", "TAG", "DIGEST", "SIZE"]);
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
