//! `kubectl attach`, `run -i` and `debug -it`: a container's own streams.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{cluster, exit_code, pod, waiting_pod};

#[test]
fn a_container_with_an_input_is_talked_to_by_whoever_attaches() {
    let cluster = cluster();
    pod(&cluster, json!({"stdin": true, "tty": true}), json!([]));
    let mut one = cluster.kubectl_terminal("attach -it p");
    one.until("If you don't see a command prompt, try pressing enter.");
    one.types("from one\r");
    one.until("from one\r\nfrom one\r\n");
    let mut two = cluster.kubectl_terminal("attach -it p");
    two.until("If you don't see a command prompt, try pressing enter.");
    two.types("from two\r");
    two.until("from two\r\nfrom two\r\n");
    one.until("from two\r\nfrom two\r\n");
    drop(one);
    two.types("\x04");
    assert_eq!(two.ended().1, 0);
    assert_eq!(exit_code(&cluster, "p"), 5);
    let log = cluster.kubectl("logs p").ok();
    assert!(log.starts_with("from one\r\nfrom one\r\n"), "{log:?}");
}

#[test]
fn a_pod_is_run_at_the_terminal_and_is_gone_afterwards() {
    let cluster = cluster();
    let mut terminal = cluster.kubectl_terminal("run -it --rm --restart=Never talk --image=talker:1");
    terminal.until("If you don't see a command prompt, try pressing enter.");
    terminal.types("moin\r");
    terminal.until("moin\r\nmoin\r\n");
    terminal.types("\x04");
    let (shown, code) = terminal.ended();
    assert!(shown.contains("pod \"talk\" deleted"), "{shown}");
    assert_eq!(code, 5, "{shown}");
    assert!(cluster.kubectl("get pod talk").refused().contains("not found"));
}

#[test]
fn an_input_that_is_piped_ends_the_programs_own() {
    let cluster = cluster();
    let said = cluster.kubectl_with("run -i --rm --restart=Never talk --image=talker:1", "a\nb\n").ended();
    assert_eq!(said.0, 5, "{said:?}");
}

#[test]
fn kube_rs_talks_to_a_container_until_its_input_ends() {
    let cluster = cluster();
    pod(&cluster, json!({"stdin": true, "stdinOnce": true}), json!([]));
    let api = cluster.api();
    api.wait_for(async {
        let pods: Api<Pod> = Api::namespaced(api.client(), "default");
        let streams = AttachParams::default().stdin(true).stdout(true).stderr(false);
        let mut attached = pods.attach("p", &streams).await.unwrap();
        let (mut stdin, mut stdout) = (attached.stdin().unwrap(), attached.stdout().unwrap());
        stdin.write_all(b"moin\n").await.unwrap();
        let mut back = [0; 5];
        stdout.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"moin\n");
        let status = attached.take_status().unwrap();
        stdin.shutdown().await.unwrap();
        drop(stdin);
        let status = status.await.unwrap();
        assert_eq!(status.status.as_deref(), Some("Success"), "{status:?}");
        attached.join().await.unwrap();
    });
    assert_eq!(exit_code(&cluster, "p"), 5);
}

#[test]
fn a_container_without_an_input_is_watched_and_cannot_be_typed_to() {
    let cluster = cluster();
    waiting_pod(&cluster);
    cluster.kubectl_terminal("attach -it p").until("Unable to use a TTY - container c did not allocate one");
}

#[test]
fn a_debug_container_is_brought_along_and_talked_to() {
    let cluster = cluster();
    waiting_pod(&cluster);
    let mut terminal = cluster.kubectl_terminal("debug -it p --image=talker:1 --target=c -c look");
    terminal.until("If you don't see a command prompt, try pressing enter.");
    terminal.types("moin\r");
    terminal.until("moin\r\nmoin\r\n");
    assert_eq!(cluster.kubectl("exec p -c look -- echo here").ok(), "here\n", "it can be looked into as well");
    terminal.types("\x04");
    terminal.ended();
}
