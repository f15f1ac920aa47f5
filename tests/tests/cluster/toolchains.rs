//! Guests of many toolchains, run as their makers would run them.
//!
//! Invariant: each test is named for its language first, so that `scripts/test` can leave out those whose toolchain
//! `scripts/guests` could not get. Commands report, and servers answer, what `tests/guests/README.md` lists.

use std::net::SocketAddr;
use std::time::Duration;

use coracle_tests::wait::within;
use coracle_tests::{Cluster, eventually, http, paths};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// An interpreter is 20 MB of code to compile, which takes a minute on a machine that has more to do.
const COMPILED_WITHIN: Duration = Duration::from_secs(150);

/// What a command says when it was given [`GIVEN`], beside the note that names its language.
const REPORT: [&str; 9] = [
    "arg 1: one",
    "arg 2: two words",
    "GREETING=moin",
    "config: a boat light enough to carry",
    "a missing file is missing",
    "stdin is empty",
    "random differs",
    "the clock is set",
    "slept",
];

const GIVEN: [&str; 2] = ["one", "two words"];

/// What these tests have in common: a ConfigMap to read and a program to run.
fn cluster(guest: &str) -> Cluster {
    let cluster = Cluster::start();
    cluster.coracle(&format!("image push {} guest:1", paths::guest(guest).display())).ok();
    let map = json!({"metadata": {"name": "motd"}, "data": {"motd": "a boat light enough to carry"}});
    cluster.api().create("/api/v1/namespaces/default/configmaps", &map);
    cluster
}

fn pod(cluster: &Cluster, name: &str, arguments: &[&str]) {
    let container = json!({
        "name": "main",
        "image": "guest:1",
        "args": arguments,
        "env": [
            {"name": "GREETING", "value": "moin"},
            {"name": "CONFIG_DIR", "value": "/config"},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "volumeMounts": [{"name": "config", "mountPath": "/config"}],
    });
    let volumes = json!([{"name": "config", "configMap": {"name": "motd"}}]);
    let spec = json!({"restartPolicy": "Never", "containers": [container], "volumes": volumes});
    let metadata = json!({"name": name, "labels": {"app": name}});
    cluster.api().create(PODS, &json!({"metadata": metadata, "spec": spec}));
}

fn service(cluster: &Cluster, name: &str, port: u16, node_port: Option<u16>) {
    let ports = json!([{"port": port, "nodePort": node_port}]);
    let kind = if node_port.is_some() { "NodePort" } else { "ClusterIP" };
    let spec = json!({"type": kind, "selector": {"app": name}, "ports": ports});
    cluster.api().create("/api/v1/namespaces/default/services", &json!({"metadata": {"name": name}, "spec": spec}));
}

/// Waits until the pod's program is compiled, however large it is, and its container has begun.
#[track_caller]
fn begun(cluster: &Cluster, name: &str) -> Value {
    let state = within(COMPILED_WITHIN, || {
        let pod = cluster.get(&format!("{PODS}/{name}"));
        let state = pod["status"]["containerStatuses"][0]["state"].clone();
        if state["running"].is_object() || state["terminated"].is_object() { Ok(state) } else { Err(state.to_string()) }
    });
    state.unwrap_or_else(|last| panic!("{name} never began: {last}"))
}

#[track_caller]
fn ended(cluster: &Cluster, name: &str) -> Value {
    begun(cluster, name);
    cluster.terminated(name)
}

#[track_caller]
fn has_lines(log: &str, lines: &[&str]) {
    for line in lines {
        assert!(log.lines().any(|l| l == *line), "{line:?} is missing in\n{log}");
    }
}

/// A command finds what its pod lists, and ends with the code, or the trap, that it means.
#[track_caller]
fn reports(guest: &str, lines: &[&str], panic_words: &str) {
    let cluster = cluster(guest);
    pod(&cluster, "report", &GIVEN);
    pod(&cluster, "exit", &["exit", "7"]);
    pod(&cluster, "panic", &["panic"]);
    let end = ended(&cluster, "report");
    let log = cluster.coracle("logs report").ok();
    assert_eq!((&end["exitCode"], &end["reason"]), (&json!(0), &json!("Completed")), "{end}\n{log}");
    has_lines(&log, lines);
    // Some libraries put a word before it.
    assert!(log.contains("a word on stderr\n"), "{log}");

    let end = ended(&cluster, "exit");
    assert_eq!((&end["exitCode"], &end["reason"]), (&json!(7), &json!("Error")), "{end}");
    let log = cluster.coracle("logs exit").ok();
    assert!(log.contains("arg 2: 7\n") && log.contains("a word on stderr\n"), "{log}");

    let end = ended(&cluster, "panic");
    assert_eq!(end["reason"], "Error", "{end}");
    assert_ne!(end["exitCode"], 0, "{end}");
    let log = cluster.coracle("logs panic").ok();
    assert!(log.contains(panic_words), "{panic_words:?} is missing in\n{log}");
}

/// A server answers, streams, calls another, and outlives its own failures.
#[track_caller]
fn answers(guest: &str) {
    let cluster = cluster(guest);
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    pod(&cluster, "server", &[]);
    service(&cluster, "server", 80, Some(31_180));
    begun(&cluster, "server");
    let port = cluster.node_port(31_180);
    let first = eventually("a first answer", || http::get(port, "/"));
    assert_eq!(first, (200, "moin from server\n".to_owned()));
    for _ in 0..4 {
        assert_eq!(http::get(port, "/"), Ok((200, "moin from server\n".to_owned())));
    }
    // Longer than what any part of the way keeps.
    let long = "a boat ".repeat(100_000);
    let (status, upper) = http::post(port, "/upper", &long).unwrap();
    assert_eq!(status, 200);
    assert!(upper == long.to_uppercase(), "{} of {} bytes", upper.len(), long.len());
    let (status, fetched) = eventually("what hello answers", || {
        let answer = http::get(port, "/fetch?host=hello")?;
        if answer.0 == 200 { Ok(answer) } else { Err(answer.1) }
    });
    assert!(status == 200 && fetched.starts_with("fetched: ") && fetched.contains(" from hello-"), "{fetched}");
    assert_eq!(http::get(port, "/nowhere").unwrap().0, 404);

    assert_eq!(http::get(port, "/panic").unwrap().0, 500);
    assert_eq!(http::get(port, "/"), Ok((200, "moin from server\n".to_owned())));
    let log = cluster.coracle("logs server").ok();
    has_lines(&log, &["request for /upper", "served"]);
    assert!(log.contains("asked to"), "{log}");
    let restarts = &cluster.get(&format!("{PODS}/server"))["status"]["containerStatuses"][0]["restartCount"];
    assert_eq!(restarts, 0);
}

fn report_with(note: &str) -> Vec<&str> {
    REPORT.into_iter().chain([note]).collect()
}

#[test]
fn rust_reports_through_wasi_0_3_what_it_was_given() {
    reports("rust3-command", &report_with("note: kept by rust 0.3"), "command3/src/lib.rs:");
}

#[test]
fn rust_answers_http_of_wasi_0_3() {
    answers("rust3-server");
}

#[test]
fn go_reports_what_it_was_given() {
    reports("go", &report_with("note: kept by go"), "panic: asked to");
}

#[test]
fn zig_reports_what_it_was_given() {
    reports("zig", &report_with("note: kept by zig"), "panic: asked to");
}

#[test]
fn assemblyscript_reports_what_it_was_given() {
    // Its library knows neither files nor pauses.
    let lines = ["arg 2: two words", "GREETING=moin", "stdin is empty", "random differs", "the clock is set"];
    reports("assemblyscript", &lines, "asked to");
}

#[test]
fn javascript_answers_http() {
    answers("javascript-server");
}

#[test]
fn python_reports_what_it_was_given() {
    reports("python-command", &report_with("note: kept by python"), "RuntimeError: asked to");
}

#[test]
fn python_answers_http() {
    answers("python-server");
}

#[test]
fn c_listens_looks_names_up_and_connects() {
    let cluster = cluster("c-tcp");
    pod(&cluster, "tcp", &["serve", "7777"]);
    service(&cluster, "tcp", 7777, None);
    cluster.ready_pods("app=tcp", 1);
    let service: std::net::IpAddr = cluster.get("/api/v1/namespaces/default/services/tcp")["spec"]["clusterIP"]
        .as_str()
        .and_then(|ip| ip.parse().ok())
        .unwrap();
    eventually("a connection through the Service", || {
        std::net::TcpStream::connect(SocketAddr::from((service, 7777))).map(drop).map_err(|error| error.to_string())
    });
    pod(&cluster, "ask", &["ask", "tcp", "7777", "hello there", "bye"]);
    let end = ended(&cluster, "ask");
    let log = cluster.coracle("logs ask").ok();
    assert_eq!(end["exitCode"], 0, "{end}\n{log}");
    has_lines(&log, &["tcp says HELLO THERE", "tcp says BYE"]);

    pod(&cluster, "lost", &["ask", "nobody", "7777"]);
    let end = ended(&cluster, "lost");
    // This C library tells the host success or failure, and no more: the 2 of `main` arrives as 1.
    assert_eq!(end["exitCode"], 1, "{end}");
    let log = cluster.coracle("logs lost").ok();
    assert!(log.starts_with("cannot find nobody: "), "{log}");
}

#[test]
fn c_finds_that_every_call_of_its_sockets_does_what_it_says() {
    let cluster = cluster("c-sockets");
    pod(&cluster, "sockets", &[]);
    let end = ended(&cluster, "sockets");
    let log = cluster.coracle("logs sockets").ok();
    assert_eq!((&end["exitCode"], log.contains("FAILED")), (&json!(0), false), "{end}\n{log}");
    assert!(log.lines().filter(|line| line.starts_with("ok ")).count() >= 80, "{log}");
}

#[test]
fn rust_finds_that_the_interfaces_of_wasi_0_2_do_what_they_say() {
    let cluster = cluster("conformance");
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.ready_pods("app=hello", 3);
    let container = json!({
        "name": "main",
        "image": "guest:1",
        "args": ["one", "", "zwölf & mehr"],
        "workingDir": "/data",
        "env": [{"name": "GREETING", "value": "moin"}, {"name": "EMPTY", "value": ""}],
        "volumeMounts": [{"name": "config", "mountPath": "/config"}, {"name": "data", "mountPath": "/data"}],
    });
    let volumes = json!([{"name": "config", "configMap": {"name": "motd"}}, {"name": "data", "emptyDir": {}}]);
    let aliases = json!([{"ip": "192.0.2.44", "hostnames": ["db.example"]}]);
    let spec = json!({"restartPolicy": "Never", "containers": [container], "volumes": volumes, "hostAliases": aliases});
    cluster.api().create(PODS, &json!({"metadata": {"name": "conformance"}, "spec": spec}));
    let end = ended(&cluster, "conformance");
    let log = cluster.coracle("logs conformance").ok();
    assert_eq!((&end["exitCode"], log.contains("FAILED")), (&json!(0), false), "{end}\n{log}");
    assert!(log.lines().filter(|line| line.starts_with("ok ")).count() >= 39, "{log}");
}
