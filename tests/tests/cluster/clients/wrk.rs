//! wrk, a load generator as it comes: at every door of a Service, while its pods are replaced.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use coracle_tests::paths::client;
use coracle_tests::{Cluster, eventually, http};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// Longer than any test: it is told when to end.
const FOR_EVER: &str = "600s";

/// A run of wrk, that is ended with the test.
struct Wrk(Option<Child>);

impl Wrk {
    /// Asks for a path on eight connections, each as soon as it is answered.
    fn start(at: SocketAddr, host: &str) -> Self {
        let mut command = Command::new(client("wrk").join("wrk"));
        command.args(["-t1", "-c8", "--timeout", "20s", "--latency", "-d", FOR_EVER]);
        command.args(["-H", &format!("Host: {host}"), &format!("http://{at}/healthz")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("wrk can be started");
        Self(Some(child))
    }

    /// Ends it; returns what it said.
    fn stop(mut self) -> String {
        let child = self.0.take().expect("it is stopped once");
        kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8(output.stdout).expect("it speaks in letters")
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How many requests wrk made, all of which were answered well: it tells of others alone.
#[track_caller]
fn faultless(door: &str, said: &str) -> usize {
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{door}: {said}");
    let line = said.lines().find(|line| line.contains(" requests in ")).unwrap_or_else(|| panic!("{door}: {said}"));
    line.split_whitespace().next().and_then(|count| count.parse().ok()).expect("a number")
}

#[test]
fn asks_at_every_door_and_misses_no_answer_in_a_rollout() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.ready_pods("app=hello", 3);
    let backend = json!({"service": {"name": "hello", "port": {"name": "http"}}});
    let ingress =
        json!({"metadata": {"name": "hello"}, "spec": {"ingressClassName": "coracle", "defaultBackend": backend}});
    cluster.api().create("/apis/networking.k8s.io/v1/namespaces/default/ingresses", &ingress);
    let ip = cluster.get("/api/v1/namespaces/default/services/hello")["spec"]["clusterIP"].clone();
    let by_ingress = eventually("where the Ingress is", || {
        let object = cluster.get("/apis/networking.k8s.io/v1/namespaces/default/ingresses/hello");
        let point = &object["status"]["loadBalancer"]["ingress"][0];
        let port = point["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        port.map(|port| cluster.node_port(port)).ok_or_else(|| object["status"].to_string())
    });
    let ip = ip.as_str().and_then(|ip| ip.parse().ok()).expect("an address");
    let doors =
        [("NodePort", cluster.node_port(30080)), ("ClusterIP", SocketAddr::new(ip, 80)), ("Ingress", by_ingress)];
    for (door, at) in doors {
        eventually(door, || match http::get(at, "/healthz")? {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    let runs: Vec<Wrk> = doors.iter().map(|(_, at)| Wrk::start(*at, "boat.dev")).collect();
    cluster.kubectl("rollout restart deploy/hello").ok();
    cluster.kubectl("rollout status deploy/hello --timeout=120s").ok();
    cluster.coracle("scale deploy/hello --replicas=1").ok();
    eventually("one pod", || match cluster.pods("app=hello").len() {
        1 => Ok(()),
        left => Err(format!("{left} pods")),
    });
    for ((door, _), run) in doors.iter().zip(runs) {
        let count = faultless(door, &run.stop());
        assert!(count > 100, "{door}: {count} requests");
    }
}
