//! What a file becomes, and when it counts as ready.

use clap::Parser;
use expect_test::{Expect, expect};
use serde_json::json;

use super::wait::{Progress, holder, progress};
use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// The smallest core module of preview 1: it exports `_start`.
const COMMAND: &[u8] =
    b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

fn made(line: &str) -> anyhow::Result<Wanted> {
    let words = std::iter::once("run").chain(line.split(' '));
    wanted(&Line::try_parse_from(words)?.arguments, COMMAND)
}

fn check(wanted: &Wanted, expected: Expect) {
    let documents: Vec<String> = wanted.objects().iter().map(|o| rendered(o, Format::Yaml).unwrap()).collect();
    expected.assert_eq(&documents.join("---\n"));
}

#[test]
fn a_command_becomes_a_deployment_alone() {
    check(
        &made("dir/My_App.wasm -r 2 -e A=b=c --env D= -n boats -- -v two").unwrap(),
        expect![[r#"
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          labels:
            app: my-app
            app.kubernetes.io/managed-by: coracle-run
          name: my-app
          namespace: boats
        spec:
          replicas: 2
          selector:
            matchLabels:
              app: my-app
          template:
            metadata:
              labels:
                app: my-app
            spec:
              containers:
              - args:
                - -v
                - two
                env:
                - name: A
                  value: b=c
                - name: D
                  value: ""
                image: my-app:5647c39a1d25d872
                imagePullPolicy: IfNotPresent
                name: my-app
    "#]],
    );
}

#[test]
fn what_has_a_port_gets_a_load_balancer() {
    let mut server = made("web.wasm").unwrap();
    (server.port, server.target_port) = (Some(9000), Some(7));
    check(
        &server,
        expect![[r#"
        apiVersion: apps/v1
        kind: Deployment
        metadata:
          labels:
            app: web
            app.kubernetes.io/managed-by: coracle-run
          name: web
        spec:
          selector:
            matchLabels:
              app: web
          template:
            metadata:
              labels:
                app: web
            spec:
              containers:
              - image: web:5647c39a1d25d872
                imagePullPolicy: IfNotPresent
                name: web
                ports:
                - containerPort: 7
                  name: tcp
                startupProbe:
                  failureThreshold: 120
                  periodSeconds: 1
                  tcpSocket:
                    port: tcp
        ---
        apiVersion: v1
        kind: Service
        metadata:
          labels:
            app: web
            app.kubernetes.io/managed-by: coracle-run
          name: web
        spec:
          ports:
          - name: tcp
            port: 9000
            targetPort: 7
          selector:
            app: web
          type: LoadBalancer
    "#]],
    );
    server.http = true;
    let container = &server.objects()[0]["spec"]["template"]["spec"]["containers"][0];
    assert!(container.get("startupProbe").is_none() && container["ports"][0]["name"] == "http", "{container}");
}

#[test]
fn an_image_is_tagged_by_its_content() {
    assert_eq!(objects::image("web", b"a"), "web:ca978112ca1bbdca");
    assert_ne!(objects::image("web", b"a"), objects::image("web", b"b"));
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_fix() {
    let refused = |line: &str| format!("{:#}", made(line).unwrap_err());
    assert!(refused("-").contains("give one"), "{}", refused("-"));
    assert!(refused("123.wasm").contains("give 123.wasm a name"));
    assert!(refused("web.wasm Web").contains("\"Web\" is no name"));
    assert!(refused("web.wasm -e A").contains("write NAME=VALUE"));
    assert!(refused("web.wasm --port 80").contains("preview 1, which has no sockets"));
    assert!(refused("web.wasm --target-port 80").contains("say with --port"));
    assert!(refused("web.wasm --port 0").contains("0 is not in 1..=65535"));
    let arguments = Line::try_parse_from(["run", "web.wasm"]).unwrap().arguments;
    let nothing = wanted(&arguments, b"\0asm\x01\0\0\0").unwrap_err();
    assert!(format!("{nothing:#}").contains("cannot run"), "{nothing:#}");
}

#[test]
fn who_has_a_port_already_is_named() {
    let service = |name: &str, port: u16, status: Value| json!({ "metadata": { "namespace": "n", "name": name }, "spec": { "ports": [{ "port": port }] }, "status": status });
    let open = json!({ "loadBalancer": { "ingress": [{ "ip": "127.0.0.1" }] } });
    let services = json!({ "items": [service("pending", 80, json!({})), service("open", 80, open)] });
    assert_eq!(holder(&services, 80).as_deref(), Some("n/open"));
    assert_eq!(holder(&services, 81), None);
}

#[test]
fn a_deployment_is_ready_when_all_replicas_are_new_and_available() {
    let deployment = |seen: u64, all: u64, updated: u64, available: u64| {
        json!({ "metadata": { "generation": 2 }, "spec": { "replicas": 2 }, "status": {
            "observedGeneration": seen, "replicas": all, "updatedReplicas": updated, "availableReplicas": available,
        }})
    };
    let pod = |image: &str, state: Value, last: Value| {
        let status = json!({ "containerStatuses": [{ "state": state, "lastState": last }] });
        json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "image": image }] }, "status": status })
    };
    let shown = |deployment: Value, pods: &[Value]| match progress(&deployment, pods, "i:1") {
        Progress::Ready => "ready".to_owned(),
        Progress::Waiting(why) => format!("waiting: {why}"),
        Progress::Failed(why) => format!("failed: {why}"),
    };
    let waiting = |reason: &str, message: &str| json!({ "waiting": { "reason": reason, "message": message } });
    let crash = waiting("CrashLoopBackOff", "back-off 10s");
    let ended = |code: i64| json!({ "terminated": { "reason": "Error", "exitCode": code, "message": "trap" } });
    let lines = [
        shown(deployment(1, 2, 2, 2), &[]),
        shown(deployment(2, 3, 1, 2), &[]),
        shown(deployment(2, 2, 2, 1), &[]),
        shown(deployment(2, 2, 2, 2), &[]),
        shown(deployment(2, 2, 2, 0), &[pod("i:1", waiting("ErrImagePull", "no such image"), json!({}))]),
        shown(deployment(2, 2, 2, 0), &[pod("i:1", waiting("InvalidImage", "it is a module"), json!({}))]),
        shown(deployment(2, 2, 2, 2), &[pod("i:0", waiting("InvalidImage", "the old one"), json!({}))]),
        shown(deployment(2, 2, 2, 0), &[pod("i:1", crash.clone(), ended(3))]),
        shown(deployment(2, 2, 2, 0), &[pod("i:1", crash, ended(0))]),
    ];
    expect![[r#"
        waiting: the deployment controller has not seen it yet
        waiting: 1 of 2 replicas are new, 2 old ones are still there
        waiting: 1 of 2 replicas are ready
        ready
        waiting: ErrImagePull: no such image
        failed: pod p: InvalidImage: it is a module
        ready
        failed: pod p ends again and again (Error, exit code 3): trap; `coracle logs p --previous` shows what it wrote
        failed: pod p ran to its end, and a Deployment is for what goes on running; `coracle logs p --previous` shows what it wrote"#]]
    .assert_eq(&lines.join("\n"));
}
