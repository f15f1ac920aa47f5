//! The addresses of pods and Services: whose they are on this machine, with root's powers and without.
//!
//! Each test has a network of its own, where the machine lets it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use coracle_tests::server::BeforeServer;
use coracle_tests::{Cluster, eventually, http, namespace, paths};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// Where the kernel lists what is local.
const LOCAL: &str = "/proc/thread-self/net/fib_trie";

const PATIENCE: Duration = Duration::from_secs(5);

/// The server, without ranges being said.
fn cluster(before: BeforeServer) -> Cluster {
    let cluster = Cluster::builder().ranges_as_they_come().before_server(before).start();
    cluster.push("echo");
    cluster.coracle("apply -f samples/echo/echo.yaml").ok();
    cluster
}

fn ip(object: &serde_json::Value, path: &str) -> Ipv4Addr {
    object.pointer(path).and_then(|ip| ip.as_str()).and_then(|ip| ip.parse().ok()).expect("it has an address")
}

fn addresses(cluster: &Cluster) -> [SocketAddr; 2] {
    cluster.ready_pods("app=echo", 1);
    let pod = ip(&cluster.pods("app=echo")[0], "/status/podIP");
    let service = ip(&cluster.get("/api/v1/namespaces/default/services/echo"), "/spec/clusterIP");
    [(pod, 7777).into(), (service, 7777).into()]
}

fn echo(at: SocketAddr) -> Result<(), String> {
    let exchange = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect_timeout(&at, PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.write_all(b"ahoy")?;
        connection.shutdown(Shutdown::Write)?;
        let mut back = String::new();
        connection.read_to_string(&mut back)?;
        Ok(back)
    };
    match exchange().map_err(|error| format!("{at}: {error}"))?.as_str() {
        "ahoy" => Ok(()),
        other => Err(format!("{at} answers {other:?}")),
    }
}

/// A Service whose pod sends datagrams back.
fn datagrams(cluster: &Cluster) -> SocketAddr {
    cluster.coracle(&format!("image push {} caller:1", paths::guest("caller").display())).ok();
    let container = json!({"name": "main", "image": "caller:1", "args": ["datagrams", "9000"]});
    let pod = json!({"metadata": {"name": "back", "labels": {"app": "back"}}, "spec": {"containers": [container]}});
    cluster.api().create("/api/v1/namespaces/default/pods", &pod);
    let spec = json!({"selector": {"app": "back"}, "ports": [{"port": 9000, "protocol": "UDP"}]});
    let services = "/api/v1/namespaces/default/services";
    let made = cluster.api().create(services, &json!({"metadata": {"name": "back"}, "spec": spec}));
    (ip(&made, "/spec/clusterIP"), 9000).into()
}

fn datagram(at: SocketAddr) -> Result<(), String> {
    let exchange = || -> std::io::Result<usize> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(at)?;
        socket.send(b"ahoy")?;
        socket.recv(&mut [0; 16])
    };
    exchange().map(|_| ()).map_err(|error| format!("{at}: {error}"))
}

/// Whether a client that plays another machine is not let in.
fn turned_away(cluster: &Cluster, at: SocketAddr) -> Result<(), String> {
    let exchange = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 77], 0).into())?;
        let mut client = socket.connect(at).await?;
        client.write_all(b"ahoy").await?;
        client.read_exact(&mut [0; 4]).await
    };
    match cluster.api().wait_for(exchange) {
        Ok(_) => Err("it is let in".to_owned()),
        Err(_) => Ok(()),
    }
}

/// What the Node says about them.
fn mode(cluster: &Cluster) -> (String, String) {
    let nodes = cluster.get("/api/v1/nodes");
    let annotation = |name: &str| {
        let annotations = &nodes["items"][0]["metadata"]["annotations"];
        annotations[format!("network.coracle.dev/{name}")].as_str().unwrap_or_default().to_owned()
    };
    (annotation("mode"), annotation("mode-reason"))
}

fn is_routed(range: &str) -> bool {
    std::fs::read_to_string(LOCAL).expect("the kernel tells").contains(range)
}

#[test]
fn who_may_make_routes_gives_pods_addresses_of_their_own() {
    if let Err(why) = namespace::enter() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut cluster = cluster(BeforeServer::default());
    assert_eq!(mode(&cluster).0, "routed");
    let [pod, service] = addresses(&cluster);
    assert_eq!(pod.ip().to_string().get(..6), Some("10.42."), "{pod}");
    assert_eq!(service.ip().to_string().get(..6), Some("10.43."), "{service}");
    for at in [pod, service] {
        eventually("an echo", || echo(at));
    }

    // Who asks a Service from here asks from the Service's own address, and is the node all the same.
    let datagrams = datagrams(&cluster);
    let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
    let policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    cluster.api().create(policies, &json!({"metadata": {"name": "deny"}, "spec": spec}));
    eventually("a client outside is turned away", || turned_away(&cluster, pod));
    eventually("an echo under a policy", || echo(service));
    eventually("a datagram under a policy", || datagram(datagrams));
    cluster.api().delete(&format!("{policies}/deny"));

    // What a crash leaves leads nowhere, and is taken over.
    cluster.kill_hard();
    assert!(is_routed("10.42.0.0") && is_routed("10.43.0.0"));
    assert!(
        TcpStream::connect_timeout(&pod, PATIENCE).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
    );
    cluster.restart();
    // What the pod's status says is of the last run, until this one has given it an address.
    eventually("an echo after the crash", || addresses(&cluster).into_iter().try_for_each(echo));

    cluster.stop();
    assert!(!is_routed("10.42.0.0") && !is_routed("10.43.0.0"), "the routes go with the server");
}

#[test]
fn who_may_not_has_addresses_of_loopback_that_are_reached_as_well() {
    if let Err(why) = namespace::enter() {
        eprintln!("in the machine's own network: {why}");
    }
    let cluster = cluster(BeforeServer::without_capabilities());
    assert_eq!(mode(&cluster), ("loopback".to_owned(), "a route needs root or CAP_NET_ADMIN".to_owned()));
    let [pod, service] = addresses(&cluster);
    assert_eq!(pod.ip().to_string().get(..7), Some("127.42."), "{pod}");
    assert_eq!(service.ip().to_string().get(..7), Some("127.43."), "{service}");
    for at in [pod, service] {
        eventually("an echo", || echo(at));
    }
}

/// Changes the addresses and routes of this network, by a line for `ip`.
fn machine(line: &str) {
    let made = Command::new("ip").args(line.split(' ')).status().expect("ip of iproute2 runs");
    assert!(made.success(), "ip {line}");
}

#[test]
fn who_listens_everywhere_goes_by_the_address_that_leads_out() {
    if let Err(why) = namespace::enter() {
        eprintln!("skipped: {why}");
        return;
    }
    let own = Ipv4Addr::new(198, 51, 100, 7);
    machine("addr add 198.51.100.7/24 dev lo");
    machine("route add default dev lo src 198.51.100.7");
    let cluster =
        Cluster::builder().bound_to(Ipv4Addr::UNSPECIFIED).flags("--tls-san edge.example,198.51.100.8").start();
    eventually("a node", || match cluster.get("/api/v1/nodes").pointer("/items/0/status/addresses/0/address") {
        Some(found) if *found == own.to_string() => Ok(()),
        other => Err(format!("{other:?}")),
    });

    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.kubectl("expose deploy/hello --name=balanced --type=LoadBalancer --port=8088 --target-port=80").ok();
    cluster.kubectl("create ingress all --default-backend=hello:80").ok();
    cluster.ready_pods("app=hello", 3);
    let pod = &cluster.pods("app=hello")[0];
    assert_eq!(ip(pod, "/status/hostIP"), own, "{pod}");
    let places =
        ["/api/v1/namespaces/default/services/balanced", "/apis/networking.k8s.io/v1/namespaces/default/ingresses/all"];
    for place in places {
        eventually("its address", || match cluster.get(place).pointer("/status/loadBalancer/ingress/0/ip") {
            Some(found) if *found == own.to_string() => Ok(()),
            other => Err(format!("{place}: {other:?}")),
        });
    }

    // The Services' own addresses have the same ports, and keep them.
    let cluster_ip =
        |name: &str| ip(&cluster.get(&format!("/api/v1/namespaces/default/services/{name}")), "/spec/clusterIP");
    let node_port = cluster.get("/api/v1/namespaces/default/services/hello")["spec"]["ports"][0]["nodePort"].clone();
    let node_port = node_port.as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port of the node");
    let mut asked = vec![(cluster_ip("balanced"), 8088), (cluster_ip("hello"), 80)];
    for address in [own, Ipv4Addr::LOCALHOST] {
        asked.extend([(address, 8088), (address, 80), (address, node_port)]);
    }
    for at in asked {
        let (code, text) = eventually("an answer", || http::get(at.into(), "/"));
        assert!(code == 200 && text.starts_with("hello from hello-"), "{at:?}: {code} {text}");
    }

    let at: SocketAddr = (cluster_ip("hello"), 443).into();
    let refused = TcpStream::connect_timeout(&at, PATIENCE).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "Ingresses are not at a Service's address");

    // A machine gets addresses and loses them.
    let later = Ipv4Addr::new(198, 51, 100, 9);
    machine("addr add 198.51.100.9/24 dev lo");
    for port in [80, 8088, node_port] {
        assert_eq!(eventually("an answer there too", || http::get((later, port).into(), "/")).0, 200);
    }
    machine("addr del 198.51.100.9/24 dev lo");
    assert_eq!(eventually("an answer still", || http::get((own, 8088).into(), "/")).0, 200);
    machine("addr add 198.51.100.9/24 dev lo");
    assert_eq!(eventually("an answer again", || http::get((later, 8088).into(), "/")).0, 200);

    // A client elsewhere believes the certificate at this address, and at those that were said.
    let server = cluster.kubectl("config view --minify -o jsonpath={.clusters[0].cluster.server}").ok();
    let port = server.rsplit(':').next().expect("a port");
    let asked_for = |name: &str| cluster.kubectl(&format!("--server=https://{own}:{port} {name} get nodes"));
    for name in ["", "--tls-server-name=edge.example", "--tls-server-name=198.51.100.8"] {
        asked_for(name).ok();
    }
    let refused = asked_for("--tls-server-name=other.example").refused();
    assert!(refused.contains("not other.example"), "{refused}");
}
