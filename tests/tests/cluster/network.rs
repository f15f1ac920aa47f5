//! Services and names: how a pod is found, and what happens to a port that is taken.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use coracle_tests::{Cluster, dns, eventually, http};
use serde_json::json;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn cluster_ip(cluster: &Cluster, service: &str) -> Ipv4Addr {
    cluster.get(&format!("{SERVICES}/{service}"))["spec"]["clusterIP"].as_str().unwrap().parse().unwrap()
}

/// Says something to an echo server and returns what comes back.
fn echo(addr: SocketAddr, text: &str) -> Result<String, String> {
    let exchange = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        connection.write_all(text.as_bytes())?;
        connection.shutdown(std::net::Shutdown::Write)?;
        let mut back = String::new();
        connection.read_to_string(&mut back)?;
        Ok(back)
    };
    exchange().map_err(|error| format!("{addr}: {error}"))
}

#[test]
fn a_guest_that_listens_is_reached_by_its_service_and_by_its_own_address() {
    let cluster = Cluster::start();
    cluster.push("echo");
    cluster.coracle("apply -f samples/echo/echo.yaml").ok();
    cluster.ready_pods("app=echo", 1);
    let service = SocketAddr::from((cluster_ip(&cluster, "echo"), 7777));
    let said = eventually("an echo through the Service", || echo(service, "ahoy"));
    assert_eq!(said, "ahoy");
    let pod_ip: Ipv4Addr = cluster.pods("app=echo")[0]["status"]["podIP"].as_str().unwrap().parse().unwrap();
    assert_eq!(echo((pod_ip, 7777).into(), "direct"), Ok("direct".to_owned()));
    // Much at once, more than any buffer between holds.
    let much = "coracle ".repeat(200_000);
    let mut connection = TcpStream::connect(service).unwrap();
    let mut writer = connection.try_clone().unwrap();
    let text = much.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(text.as_bytes()).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = String::new();
    connection.read_to_string(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == much, "{} of {} bytes came back as they were", back.len(), much.len());

    // Without pods, nobody answers; with new ones, the same address does.
    cluster.coracle("scale deploy/echo --replicas=0").ok();
    eventually("a refused connection", || echo(service, "x").map_or(Ok(()), Err));
    cluster.coracle("scale deploy/echo --replicas=2").ok();
    cluster.ready_pods("app=echo", 2);
    eventually("an echo again", || echo(service, "again").and_then(|s| if s == "again" { Ok(()) } else { Err(s) }));
}

#[test]
fn a_guest_serves_hundreds_of_connections_at_once() {
    let cluster = Cluster::start();
    cluster.push("echo");
    cluster.coracle("apply -f samples/echo/echo.yaml").ok();
    cluster.ready_pods("app=echo", 1);
    let pod: Ipv4Addr = cluster.pods("app=echo")[0]["status"]["podIP"].as_str().unwrap().parse().unwrap();
    let pod = SocketAddr::from((pod, 7777));
    eventually("an echo", || echo(pod, "ahoy"));
    // All are open, and all have something to say, before any is read: the guest is woken by hundreds at once.
    let mut connections: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(pod).unwrap()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        connection.write_all(number.to_string().as_bytes()).unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
    }
    for (number, connection) in connections.iter_mut().enumerate() {
        let mut back = String::new();
        connection.read_to_string(&mut back).unwrap();
        assert_eq!(back, number.to_string());
    }
}

#[test]
fn an_http_component_answers_at_its_cluster_ip_and_only_ready_pods_are_asked() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    let pods: BTreeSet<String> = cluster.ready_pods("app=hello", 3).into_iter().collect();
    let service = SocketAddr::from((cluster_ip(&cluster, "hello"), 80));
    eventually("an answer at the ClusterIP", || http::get(service, "/"));
    let mut answered = BTreeSet::new();
    for _ in 0..60 {
        let (status, body) = http::get(service, "/").unwrap();
        assert_eq!(status, 200, "{body}");
        answered.insert(body.trim_end().rsplit(' ').next().unwrap().to_owned());
    }
    assert_eq!(answered, pods);

    // While pods are replaced, every request is answered.
    cluster.coracle("scale deploy/hello --replicas=1").ok();
    eventually("one pod left, and no request lost meanwhile", || {
        let (status, body) = http::get(service, "/").expect("an answer");
        assert_eq!(status, 200, "{body}");
        let left = cluster.pods("app=hello").len();
        if left == 1 { Ok(()) } else { Err(format!("{left} pods")) }
    });
}

#[test]
fn names_of_services_are_answered_over_udp() {
    let cluster = Cluster::start();
    let server = cluster.server().dns.expect("the server printed where it answers");
    let kubernetes = cluster_ip(&cluster, "kubernetes");
    let ask = |name: &str| dns::ask(server, &format!("{name}.svc.cluster.local"));
    let answer = eventually("kubernetes.default", || match ask("kubernetes.default") {
        Ok(answer) if !answer.addresses.is_empty() => Ok(answer),
        other => Err(format!("{other:?}")),
    });
    assert_eq!((answer.code, answer.addresses), (0, vec![kubernetes]));

    let spec = json!({"ports": [{"port": 80}], "selector": {"app": "nobody"}});
    cluster.api().create(SERVICES, &json!({"metadata": {"name": "boat"}, "spec": spec}));
    let boat = cluster_ip(&cluster, "boat");
    let knows = |addresses: &[Ipv4Addr]| {
        eventually(&format!("boat at {addresses:?}"), || match ask("boat.default") {
            Ok(answer) if answer.addresses == addresses => Ok(answer.code),
            other => Err(format!("{other:?}")),
        })
    };
    assert_eq!(knows(&[boat]), 0);
    assert_eq!(ask("BOAT.default").unwrap().addresses, [boat], "names have no case");
    cluster.api().delete(&format!("{SERVICES}/boat"));
    assert_eq!(knows(&[]), 3, "the name is gone");
    assert_eq!(ask("never.default").unwrap().code, 3);
}

#[test]
fn a_node_port_that_is_taken_is_told_and_opened_when_it_is_free() {
    let cluster = Cluster::builder().expect_log("30090", "the test takes the port itself").start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.ready_pods("app=hello", 3);
    let squatter = TcpListener::bind(cluster.node_port(30090)).unwrap();
    cluster.api().patch(
        &format!("{SERVICES}/hello"),
        &json!({"spec": {"ports": [
            {"name": "http", "port": 80, "targetPort": "http", "nodePort": 30090, "protocol": "TCP"},
        ]}}),
    );
    let message = cluster.event("hello", "FailedToBind");
    assert!(message.contains("30090"), "{message}");
    drop(squatter);
    eventually("an answer at the NodePort", || http::get(cluster.node_port(30090), "/"));
}
