//! Services as clients meet them: who is answered, by which pod, and that nothing is lost while pods change.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use coracle_tests::load::{Load, Tally};
use coracle_tests::{Cluster, eventually, http};
use serde_json::json;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// How long an answer may take before it is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// A cluster with so many replicas of hello, all of which answer at its ports: a pod is known as ready a little earlier.
fn hello(replicas: usize) -> Cluster {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.coracle(&format!("scale deploy/hello --replicas={replicas}")).ok();
    cluster.ready_pods("app=hello", replicas);
    for at in [at_cluster_ip(&cluster, "hello", 80), cluster.node_port(30080)] {
        let mut answering = BTreeSet::new();
        eventually("an answer of each pod", || {
            answering.insert(pod_in(&http::get(at, "/")?.1));
            if answering.len() == replicas { Ok(()) } else { Err(format!("{answering:?}")) }
        });
    }
    cluster
}

fn at_cluster_ip(cluster: &Cluster, service: &str, port: u16) -> SocketAddr {
    let service = cluster.get(&format!("{SERVICES}/{service}"));
    let ip: Ipv4Addr = service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap();
    SocketAddr::from((ip, port))
}

/// An address of this machine that no other test has, and that is neither a pod's nor the node's.
fn own_address(cluster: &Cluster) -> Ipv4Addr {
    let [_, second, _, fourth] = cluster.address().octets();
    Ipv4Addr::new(127, 60, second, fourth)
}

/// Asks with curl, from an address of this machine; returns status and body.
fn curl_from(source: &str, to: SocketAddr) -> Result<(u16, String), String> {
    let url = format!("http://{to}/");
    let arguments = ["-sS", "--max-time", "5", "--interface", source, "-w", "\n%{http_code}", &url];
    let output = Command::new("curl").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let (body, status) = text.rsplit_once('\n').unwrap();
    Ok((status.parse().unwrap(), body.trim_end().to_owned()))
}

/// The pod that answered.
fn pod_in(answer: &str) -> String {
    answer.rsplit(' ').next().unwrap().trim_end().to_owned()
}

fn nothing_lost(tally: &Tally) {
    assert!(tally.lost == 0 && tally.answered > 0, "{tally:#?}");
}

#[test]
fn a_rollout_under_load_loses_no_request() {
    let cluster = hello(6);
    let service = at_cluster_ip(&cluster, "hello", 80);
    let load = Load::start(&[cluster.node_port(30080), service], 8, "/healthz");
    for _ in 0..2 {
        let before = cluster.ready_pods("app=hello", 6);
        cluster.kubectl("rollout restart deploy/hello").ok();
        cluster.kubectl("rollout status deploy/hello --timeout=120s").ok();
        let after = eventually("none of the old pods", || {
            let pods = cluster.pods("app=hello");
            if pods.len() == 6 { Ok(pods) } else { Err(format!("{} pods", pods.len())) }
        });
        assert!(after.iter().all(|pod| !before.contains(&coracle_tests::cluster::name(pod))));
    }
    // A single pod that is deleted, and all but one that are scaled away.
    let pod = cluster.ready_pods("app=hello", 6).remove(0);
    cluster.kubectl(&format!("delete pod {pod}")).ok();
    cluster.coracle("scale deploy/hello --replicas=1").ok();
    eventually("one pod", || {
        let left = cluster.pods("app=hello").len();
        if left == 1 { Ok(()) } else { Err(format!("{left} pods")) }
    });
    let answered = load.answered();
    eventually("more answers", || if load.answered() > answered + 100 { Ok(()) } else { Err("none".to_owned()) });
    nothing_lost(&load.stop());
}

#[test]
fn a_pod_that_is_killed_costs_only_what_was_in_flight_in_it() {
    let cluster = hello(3);
    let connections = 8;
    let load = Load::start(&[cluster.node_port(30080)], connections, "/healthz");
    eventually("answers", || if load.answered() > 100 { Ok(()) } else { Err("none".to_owned()) });
    let pod = cluster.ready_pods("app=hello", 3).remove(0);
    cluster.kubectl(&format!("delete pod {pod} --grace-period=0 --force")).ok();
    cluster.ready_pods("app=hello", 3);
    let answered = load.answered();
    eventually("more answers", || if load.answered() > answered + 100 { Ok(()) } else { Err("none".to_owned()) });
    let tally = load.stop();
    assert!(tally.lost <= connections, "no client loses more than the one request that it waited for: {tally:#?}");
}

#[test]
fn a_client_with_affinity_comes_back_to_its_pod() {
    let cluster = hello(3);
    let config = json!({"clientIP": {"timeoutSeconds": 600}});
    let spec = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config});
    cluster.api().patch(&format!("{SERVICES}/hello"), &json!({"spec": spec}));
    let node = cluster.node_port(30080);
    let ask = |source: &str| pod_in(&curl_from(source, node).unwrap().1);
    let homes =
        |sources: std::ops::Range<u8>| -> BTreeSet<String> { sources.map(|n| ask(&format!("127.0.0.{n}"))).collect() };
    let home = eventually("the same pod again and again", || {
        let pods: BTreeSet<String> = (0..10).map(|_| ask("127.0.0.1")).collect();
        if pods.len() == 1 { Ok(pods.first().unwrap().clone()) } else { Err(format!("{pods:?}")) }
    });
    assert_eq!(homes(10..30).len(), 3, "other clients have other pods");
    assert_eq!(ask("127.0.0.1"), home);
    // The cluster address is another door to the same port.
    let (_, answer) = curl_from("127.0.0.1", at_cluster_ip(&cluster, "hello", 80)).unwrap();
    assert_eq!(pod_in(&answer), home);
    cluster.kubectl(&format!("delete pod {home}")).ok();
    let next = ask("127.0.0.1");
    assert_ne!(next, home);
    assert_eq!(ask("127.0.0.1"), next);
}

#[test]
fn a_load_balancer_lets_in_who_may_and_tells_its_health() {
    let cluster = hello(2);
    let spec = json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerSourceRanges": ["127.0.0.9/32"],
        "selector": {"app": "hello"}, "ports": [{"port": 8099, "targetPort": "http"}],
    });
    cluster.api().create(SERVICES, &json!({"metadata": {"name": "public"}, "spec": spec}));
    let at = cluster.node_port(8099);
    eventually("an answer to one who may", || curl_from("127.0.0.9", at));
    // The reset may come before curl has seen that it was connected.
    let refused = curl_from("127.0.0.1", at).unwrap_err();
    assert!(["reset by peer", "Failed to connect"].iter().any(|words| refused.contains(words)), "{refused}");
    let service = cluster.get(&format!("{SERVICES}/public"));
    assert_eq!(service["status"]["loadBalancer"]["ingress"][0]["ip"], json!(cluster.address()));
    let node_port = |port: &serde_json::Value| cluster.node_port(u16::try_from(port.as_i64().unwrap()).unwrap());
    let open = node_port(&service["spec"]["ports"][0]["nodePort"]);
    assert_eq!(curl_from("127.0.0.1", open).unwrap().0, 200, "the ranges are the balancer's alone");

    let health = node_port(&service["spec"]["healthCheckNodePort"]);
    let healthy = eventually("two endpoints", || match curl_from("127.0.0.1", health) {
        Ok((200, body)) if body.contains("\"localEndpoints\": 2") => Ok(body),
        other => Err(format!("{other:?}")),
    });
    let body: serde_json::Value = serde_json::from_str(&healthy).unwrap();
    let named = json!({"namespace": "default", "name": "public"});
    assert_eq!(body, json!({"service": named, "localEndpoints": 2, "serviceProxyHealthy": true}));
    cluster.coracle("scale deploy/hello --replicas=0").ok();
    eventually("a node without endpoints", || match curl_from("127.0.0.1", health) {
        Ok((503, body)) if body.contains("\"localEndpoints\": 0") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    cluster.kubectl("delete service public").ok();
    eventually("closed ports", || match (curl_from("127.0.0.1", health), curl_from("127.0.0.9", at)) {
        (Err(_), Err(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn an_external_address_of_this_machine_is_served() {
    let cluster = hello(2);
    let external = own_address(&cluster);
    // The second is another machine's: nothing is to be opened, and nobody to be told.
    let ports = json!([{"name": "http", "port": 8088, "targetPort": "http", "nodePort": 30080}]);
    let spec = json!({"externalIPs": [external, "192.0.2.77"], "ports": ports});
    cluster.api().patch(&format!("{SERVICES}/hello"), &json!({"spec": spec}));
    let at = SocketAddr::from((external, 8088));
    assert_eq!(eventually("an answer", || http::get(at, "/")).0, 200);
    assert!(cluster.kubectl("get service hello").ok().contains(&external.to_string()));
    cluster.api().patch(&format!("{SERVICES}/hello"), &json!({"spec": {"externalIPs": null}}));
    eventually("a closed door", || if TcpStream::connect(at).is_err() { Ok(()) } else { Err("open".to_owned()) });
}

#[test]
fn a_node_port_that_another_service_has_is_refused() {
    let cluster = Cluster::start();
    let service = |name: &str, port: u16| {
        let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}).to_string()
    };
    cluster.kubectl_with("apply -f -", &service("a", 30_123)).ok();
    let refused = cluster.kubectl_with("apply -f -", &service("b", 30_123)).refused();
    let said = "The Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 30123: provided port is already allocated";
    assert!(refused.contains(said), "{refused}");
    let refused = cluster.kubectl_with("apply -f -", &service("b", 80)).refused();
    assert!(refused.contains("The range of valid ports is 30000-32767"), "{refused}");
    cluster.kubectl("delete service a").ok();
    cluster.kubectl_with("apply -f -", &service("b", 30_123)).ok();
}

/// A server of this machine that says its name to everybody.
fn say_name(name: &'static str, at: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind((at, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut connection, _)) = listener.accept() {
            let _ = connection.write_all(name.as_bytes());
        }
    });
    port
}

fn name_at(to: SocketAddr) -> Result<String, String> {
    let mut said = String::new();
    let heard = TcpStream::connect_timeout(&to, PATIENCE).and_then(|mut c| c.read_to_string(&mut said));
    heard.map(|_| said).map_err(|error| error.to_string())
}

#[test]
fn endpoints_written_by_hand_are_mirrored_and_led_to() {
    let cluster = Cluster::start();
    let host = own_address(&cluster);
    let (one, two) = (say_name("one", host), say_name("two", host));
    let endpoints = |port: u16| {
        let subsets = json!([{"addresses": [{"ip": host}], "ports": [{"port": port}]}]);
        let metadata = json!({"name": "db", "labels": {"app": "db"}});
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}).to_string()
    };
    cluster.api().create(SERVICES, &json!({"metadata": {"name": "db"}, "spec": {"ports": [{"port": 5432}]}}));
    cluster.kubectl_with("apply -f -", &endpoints(one)).ok();
    let at = at_cluster_ip(&cluster, "db", 5432);
    let says = |name: &str| {
        eventually(name, || match name_at(at) {
            Ok(said) if said == name => Ok(()),
            other => Err(format!("{other:?}")),
        });
    };
    says("one");
    let shown = cluster.kubectl("get endpointslices -l kubernetes.io/service-name=db --show-labels").ok();
    assert!(shown.contains("endpointslicemirroring-controller.k8s.io") && shown.contains("app=db"), "{shown}");
    cluster.kubectl_with("apply -f -", &endpoints(two)).ok();
    says("two");
    cluster.kubectl("delete endpoints db").ok();
    eventually("a refused connection", || match name_at(at) {
        Err(reason) => Ok(reason),
        Ok(said) => Err(said),
    });
}

#[test]
fn datagrams_follow_the_slices_that_others_write() {
    let cluster = Cluster::start();
    let host = own_address(&cluster);
    let servers: Vec<UdpSocket> = (0..2).map(|_| UdpSocket::bind((host, 0)).unwrap()).collect();
    for server in &servers {
        server.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let slice = |port: u16| {
        let labels = json!({"kubernetes.io/service-name": "dgram", "endpointslice.kubernetes.io/managed-by": "me"});
        json!({
            "metadata": {"name": "dgram-me", "labels": labels}, "addressType": "IPv4",
            "ports": [{"port": port, "protocol": "UDP"}], "endpoints": [{"addresses": [host]}],
        })
    };
    let ports: Vec<u16> = servers.iter().map(|server| server.local_addr().unwrap().port()).collect();
    let spec = json!({"ports": [{"port": 9000, "protocol": "UDP"}]});
    cluster.api().create(SERVICES, &json!({"metadata": {"name": "dgram"}, "spec": spec}));
    cluster.api().create(SLICES, &slice(ports[0]));
    let client = UdpSocket::bind((host, 0)).unwrap();
    client.connect(at_cluster_ip(&cluster, "dgram", 9000)).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut buffer = [0; 16];
    let mut exchange = |server: &UdpSocket, word: &[u8]| -> Result<(), String> {
        client.send(word).map_err(|e| e.to_string())?;
        server.set_read_timeout(Some(Duration::from_millis(200))).map_err(|e| e.to_string())?;
        let (length, from) = server.recv_from(&mut buffer).map_err(|e| e.to_string())?;
        server.send_to(&buffer[..length], from).map_err(|e| e.to_string())?;
        let length = client.recv(&mut buffer).map_err(|e| e.to_string())?;
        if &buffer[..length] == word { Ok(()) } else { Err("another word".to_owned()) }
    };
    eventually("a word and its echo", || exchange(&servers[0], b"first"));
    // The flow is in use, and its endpoint goes: the same client reaches the next one.
    cluster.api().patch(&format!("{SLICES}/dgram-me"), &json!({"ports": [{"port": ports[1], "protocol": "UDP"}]}));
    eventually("an echo of the other", || exchange(&servers[1], b"second"));
}
