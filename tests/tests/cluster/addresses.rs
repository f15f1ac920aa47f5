//! The addresses of pods and Services: whose they are on this machine, with root's powers and without.
//!
//! Each test has a network of its own, where the machine lets it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use coracle_tests::server::BeforeServer;
use coracle_tests::{Cluster, eventually, namespace};

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

    // What a crash leaves leads nowhere, and is taken over.
    cluster.kill_hard();
    assert!(is_routed("10.42.0.0") && is_routed("10.43.0.0"));
    assert!(
        TcpStream::connect_timeout(&pod, PATIENCE).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
    );
    cluster.restart();
    for at in addresses(&cluster) {
        eventually("an echo after the crash", || echo(at));
    }

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
