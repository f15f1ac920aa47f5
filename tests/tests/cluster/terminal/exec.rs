//! `kubectl exec`: codes, streams, terminals, and what is told when there is nothing to run.

use coracle_tests::{Cluster, eventually};
use serde_json::json;

use super::{cluster, pod, waiting_pod};

#[test]
fn a_command_gives_its_outputs_and_its_code() {
    let cluster = cluster();
    waiting_pod(&cluster);
    let said = cluster.kubectl("exec p -- talker x").ended();
    assert_eq!(said, (7, "out\n".to_owned(), "err\ncommand terminated with exit code 7\n".to_owned()));
    let said = cluster.kubectl_with("exec -i p -- talker", "one\ntwo\n").ended();
    assert_eq!((said.0, said.1.as_str()), (5, "one\ntwo\n"));
    assert_eq!(cluster.kubectl("exec p -c c -- pwd").ok(), "/\n");
    assert_eq!(
        cluster.kubectl("exec deploy/none -- pwd").refused(),
        "Error from server (NotFound): deployments.apps \"none\" not found\n"
    );
}

#[test]
fn a_command_on_a_terminal_is_typed_to_and_is_left_by_its_keys() {
    let cluster = cluster();
    waiting_pod(&cluster);
    let mut terminal = cluster.kubectl_terminal("exec -it p -- talker");
    terminal.types("moix\x7fn\r");
    terminal.until("moin\r\n");
    terminal.until("moin\r\n");
    terminal.types("\x03");
    let (shown, code) = terminal.ended();
    assert_eq!(code, 130, "{shown}");
    assert!(shown.contains("command terminated with exit code 130"), "{shown}");

    let mut terminal = cluster.kubectl_terminal("exec -it p -- talker");
    terminal.types("moin\r");
    terminal.until("moin\r\nmoin\r\n");
    terminal.types("\x04");
    assert_eq!(terminal.ended().1, 5);

    assert_eq!(cluster.kubectl_terminal("exec -it p -- talker t").ended().1, 7, "all three are a terminal");
    assert_eq!(cluster.kubectl("exec -i p -- talker t").ended().0, 0, "none is one");
    let (shown, code) = cluster.kubectl_terminal("exec -it p -- env").ended();
    assert_eq!(code, 0);
    for line in ["TERM=xterm\r\n", "COLUMNS=111\r\n", "LINES=33\r\n", "HOSTNAME=p\r\n"] {
        assert!(shown.contains(line), "{line:?} in {shown}");
    }
}

#[test]
fn what_cannot_be_run_is_told_in_the_words_of_container_runtimes() {
    let cluster = cluster();
    waiting_pod(&cluster);
    let said = cluster.kubectl("exec p -- /none.wasm").refused();
    assert!(said.contains("OCI runtime exec failed: exec failed: unable to start container process"), "{said}");
    assert!(said.contains("stat /none.wasm: no such file or directory"), "{said}");
    let (code, _, said) = cluster.kubectl("exec -it p -- sh").ended();
    assert!(code == 127 && said.contains("sh: there is no shell in a WebAssembly pod"), "{said}");
    let said = cluster.kubectl("exec p -c none -- ls").refused();
    assert!(said.contains("container none is not valid for pod p") || said.contains("container not found"), "{said}");
    assert!(cluster.kubectl("exec none -- ls").refused().contains("pods \"none\" not found"));
}

#[test]
fn a_program_that_serves_http_has_the_tools_of_the_node() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.kubectl("run web --image=hello:1").ok();
    cluster.kubectl("wait --for=condition=Ready pod/web --timeout=30s").ok();
    assert!(cluster.kubectl("exec web -- ls /").ok().lines().any(|name| name == "tmp"));
    let said = cluster.kubectl("exec web -- hello").refused();
    assert!(said.contains("has no command to run"), "{said}");
}

#[test]
fn an_image_of_many_commands_keeps_the_tools_of_the_node_out() {
    let cluster = cluster();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "annotations": {"coracle.dev/node-tools": "false"}},
        "spec": {"containers": [{"name": "c", "image": "talker:1", "args": ["wait"]}]},
    });
    cluster.kubectl_with("create -f -", &pod.to_string()).ok();
    cluster.kubectl("wait --for=condition=Ready pod/p --timeout=30s").ok();
    assert_eq!(cluster.kubectl("exec p -- ls x").ended().0, 7, "it is the program's own ls");
}

#[test]
fn many_commands_run_at_once() {
    let cluster = cluster();
    waiting_pod(&cluster);
    let all: Vec<_> = (0..20).map(|_| cluster.kubectl_stream("exec p -- talker x")).collect();
    for one in all {
        assert_eq!(one.to_the_end(), ["out"]);
    }
}

#[test]
fn a_command_whose_client_is_killed_ends() {
    let cluster = cluster();
    pod(&cluster, json!({"args": ["wait"]}), json!([]));
    let mut endless = cluster.kubectl_stream("exec p -- talker f");
    endless.until("something", |line| line == "out");
    drop(endless);
    // It printed without end: as long as it lives it uses the processor.
    let usage = || {
        let path = "/api/v1/nodes/localhost/proxy/stats/summary";
        let node = cluster.get("/api/v1/nodes")["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
        let pods = cluster.get(&path.replace("localhost", &node))["pods"].clone();
        pods[0]["containers"][0]["cpu"]["usageCoreNanoSeconds"].as_u64().unwrap_or(0)
    };
    let mut before = 0;
    eventually("a container at rest", || {
        let now = usage();
        if std::mem::replace(&mut before, now) == now && now > 0 { Ok(()) } else { Err(format!("{now} ns")) }
    });
}
