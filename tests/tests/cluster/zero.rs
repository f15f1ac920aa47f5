//! Scale to zero: a Service that sleeps while nobody uses it, and wakes for whoever comes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use coracle_tests::{Cluster, eventually, http, paths};
use serde_json::{Value, json};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// The port of the node where the Service of the sample hello is.
const HELLO: u16 = 30080;

/// Where a caller is asked.
const QUESTIONS: u16 = 7000;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with the sample hello, that has one replica and sleeps when it was not used for a second.
fn sleepy() -> Cluster {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.coracle("scale deploy/hello --replicas=1").ok();
    cluster.ready_pods("app=hello", 1);
    cluster.kubectl("annotate service hello coracle.dev/scale-to-zero=true coracle.dev/idle-after=1s").ok();
    cluster
}

fn replicas(cluster: &Cluster, deployment: &str) -> i64 {
    cluster.get(&format!("{DEPLOYMENTS}/{deployment}"))["spec"]["replicas"].as_i64().unwrap()
}

/// Waits until nothing is left of a Deployment's pods.
#[track_caller]
fn at_rest(cluster: &Cluster, deployment: &str) {
    eventually(&format!("{deployment} asleep"), || {
        match (replicas(cluster, deployment), cluster.pods(&format!("app={deployment}")).len()) {
            (0, 0) => Ok(()),
            (replicas, pods) => Err(format!("{replicas} replicas, {pods} pods")),
        }
    });
}

/// Asks once, and waits for the answer.
fn ask(at: SocketAddr) -> Result<String, String> {
    let exchange = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect(at)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        Ok(answer)
    };
    exchange().map_err(|error| error.to_string())
}

#[track_caller]
fn greets(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("hello from"), "{answer}");
}

fn cluster_ip(cluster: &Cluster, service: &str) -> IpAddr {
    cluster.get(&format!("{SERVICES}/{service}"))["spec"]["clusterIP"].as_str().unwrap().parse().unwrap()
}

/// How often an event was seen.
fn count(cluster: &Cluster, object: &str, reason: &str) -> i64 {
    let events = cluster.get("/api/v1/namespaces/default/events");
    let events = events["items"].as_array().cloned().unwrap_or_default();
    let fits = |event: &&Value| event["involvedObject"]["kind"] == object && event["reason"] == reason;
    events.iter().filter(fits).map(|event| event["count"].as_i64().unwrap_or(1)).sum()
}

#[test]
fn a_service_sleeps_when_nobody_uses_it_and_wakes_for_whoever_comes() {
    let cluster = sleepy();
    at_rest(&cluster, "hello");
    let said = cluster.event("hello", "ScaledToZero");
    assert_eq!(said, "Scaled down deployment hello from 1 to 0: not used for 1s");
    assert!(cluster.kubectl("get deployment hello").ok().contains("0/0"));

    greets(&ask(cluster.node_port(HELLO)).unwrap());
    assert_eq!(cluster.event("hello", "Woken"), "Scaled up deployment hello from 0 to 1: a client waits");
    let told = cluster.kubectl("describe service hello").ok();
    assert!(told.contains("Woken") && told.contains("ScaledToZero"), "{told}");
    at_rest(&cluster, "hello");
    greets(&ask(SocketAddr::new(cluster_ip(&cluster, "hello"), 80)).unwrap());

    // What a person scales it to while it is awake is what it wakes to.
    cluster.coracle("scale deploy/hello --replicas=3").ok();
    at_rest(&cluster, "hello");
    assert_eq!(cluster.get(&format!("{SERVICES}/hello"))["metadata"]["annotations"]["coracle.dev/replicas"], "3");
    greets(&ask(cluster.node_port(HELLO)).unwrap());
    assert_eq!(replicas(&cluster, "hello"), 3);

    // Without the annotation it stays as it is.
    at_rest(&cluster, "hello");
    cluster.kubectl("annotate service hello coracle.dev/scale-to-zero-").ok();
    eventually("a connection that nobody holds", || ask(cluster.node_port(HELLO)).map_or(Ok(()), Err));
    assert_eq!(replicas(&cluster, "hello"), 0);
}

#[test]
fn a_hundred_at_once_wake_it_once_and_are_all_answered() {
    let cluster = sleepy();
    at_rest(&cluster, "hello");
    let at = cluster.node_port(HELLO);
    let before = count(&cluster, "Deployment", "Woken");
    thread::scope(|scope| {
        let clients: Vec<_> = (0..100).map(|_| scope.spawn(move || ask(at))).collect();
        for client in clients {
            greets(&client.join().unwrap().unwrap());
        }
    });
    eventually("an event of the one time", || match count(&cluster, "Deployment", "Woken") - before {
        1 => Ok(()),
        count => Err(count.to_string()),
    });
    at_rest(&cluster, "hello");
    assert_eq!(count(&cluster, "Deployment", "Woken") - before, 1);
}

#[test]
fn a_connection_that_is_open_keeps_it_awake() {
    let cluster = Cluster::start();
    cluster.push("echo");
    cluster.coracle("apply -f samples/echo/echo.yaml").ok();
    cluster.ready_pods("app=echo", 1);
    cluster.kubectl("annotate service echo coracle.dev/scale-to-zero=true coracle.dev/idle-after=1s").ok();
    at_rest(&cluster, "echo");
    let mut open = TcpStream::connect((cluster_ip(&cluster, "echo"), 7777)).unwrap();
    open.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut word = [0; 4];
    let mut exchange = |open: &mut TcpStream| {
        open.write_all(b"ahoy").unwrap();
        open.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"ahoy");
    };
    exchange(&mut open);
    // Longer than it may be idle: a second Service of the cluster falls asleep meanwhile.
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.kubectl("annotate service hello coracle.dev/scale-to-zero=true coracle.dev/idle-after=3s").ok();
    eventually("hello asleep", || match replicas(&cluster, "hello") {
        0 => Ok(()),
        count => Err(count.to_string()),
    });
    assert_eq!(replicas(&cluster, "echo"), 1);
    exchange(&mut open);
    drop(open);
    at_rest(&cluster, "echo");
}

/// A pod that asks what it is told to ask.
fn caller(cluster: &Cluster) -> IpAddr {
    let container = json!({"name": "main", "image": "caller:1"});
    cluster.api().create(PODS, &json!({"metadata": {"name": "caller"}, "spec": {"containers": [container]}}));
    eventually("a caller", || {
        let pod = cluster.get(&format!("{PODS}/caller"));
        let ip = pod["status"]["podIP"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
        let ip = ip.ok_or_else(|| pod["status"].to_string())?;
        TcpStream::connect((ip, QUESTIONS)).map(|_| ip).map_err(|error| error.to_string())
    })
}

/// What a caller says of a question.
fn asked(caller: IpAddr, question: &str) -> String {
    let mut connection = TcpStream::connect((caller, QUESTIONS)).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(connection, "{question}").unwrap();
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer).unwrap();
    answer.trim().to_owned()
}

#[test]
fn pods_and_ingresses_wake_it_as_well() {
    let cluster = sleepy();
    cluster.coracle(&format!("image push {} caller:1", paths::guest("caller").display())).ok();
    let caller = caller(&cluster);
    let hears = |question: &str| {
        at_rest(&cluster, "hello");
        assert_eq!(asked(caller, question), "ok", "{question}");
    };
    hears("tcp hello:80");
    hears("http hello:80");

    let path =
        json!({"pathType": "Prefix", "path": "/", "backend": {"service": {"name": "hello", "port": {"number": 80}}}});
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "site"},
        "spec": {"rules": [{"http": {"paths": [path]}}]}});
    cluster.kubectl_with("apply -f -", &ingress.to_string()).ok();
    let at = eventually("an address of the Ingress", || {
        let object = cluster.get("/apis/networking.k8s.io/v1/namespaces/default/ingresses/site");
        let point = &object["status"]["loadBalancer"]["ingress"][0];
        let port = point["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let ip = point["ip"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
        ip.zip(port).map(SocketAddr::from).ok_or_else(|| object["status"].to_string())
    });
    at_rest(&cluster, "hello");
    greets(&ask(at).unwrap());
    at_rest(&cluster, "hello");
}

/// A Service without pods whose Deployment, once it is woken, sends datagrams back.
fn sleeping_datagrams(cluster: &Cluster) {
    cluster.coracle(&format!("image push {} caller:1", paths::guest("caller").display())).ok();
    let labels = json!({"app": "echo"});
    let container = json!({"name": "main", "image": "caller:1", "args": ["datagrams", "9000"]});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    let spec = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template});
    let ports = json!([{"port": 9000, "protocol": "UDP", "nodePort": 30090}]);
    let annotations = json!({"coracle.dev/scale-to-zero": "true", "coracle.dev/scale-target": "deployment/echo"});
    cluster.api().create(DEPLOYMENTS, &json!({"metadata": {"name": "echo"}, "spec": spec}));
    cluster.api().create(
        SERVICES,
        &json!({"metadata": {"name": "echo", "annotations": annotations},
            "spec": {"type": "NodePort", "selector": labels, "ports": ports}}),
    );
}

#[test]
fn a_datagram_waits_until_a_guest_listens() {
    let cluster = Cluster::start();
    sleeping_datagrams(&cluster);
    let client = UdpSocket::bind((cluster.address(), 0)).unwrap();
    client.connect(cluster.node_port(30090)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut word = [0; 16];
    // The port may not be open yet; once it is, one datagram is enough.
    let length = eventually("an echo", || {
        client.send(b"ahoy").and_then(|_| client.recv(&mut word)).map_err(|error| error.to_string())
    });
    assert_eq!(&word[..length], b"ahoy");
    assert_eq!(replicas(&cluster, "echo"), 1);
}

#[test]
fn a_datagram_of_a_guest_waits_as_well() {
    let cluster = Cluster::start();
    sleeping_datagrams(&cluster);
    let caller = caller(&cluster);
    eventually("its name", || match asked(caller, "name echo").as_str() {
        "unknown" => Err("it has no address".to_owned()),
        _ => Ok(()),
    });
    assert_eq!(replicas(&cluster, "echo"), 0, "a look-up wakes nobody");
    // As a rule the first one is answered: it is held until somebody listens.
    eventually("an echo", || match asked(caller, "udp echo:9000 10").as_str() {
        "ok" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(replicas(&cluster, "echo"), 1);
    assert_eq!(cluster.event("echo", "Woken"), "Scaled up deployment echo from 0 to 1: a client waits");
    assert_eq!(count(&cluster, "Deployment", "Woken"), 1);
}

#[test]
fn who_waits_in_vain_is_refused_after_a_while_and_a_person_is_told() {
    let cluster = sleepy();
    cluster.kubectl("annotate service hello coracle.dev/wake-timeout=1s").ok();
    at_rest(&cluster, "hello");
    cluster.kubectl("set image deploy/hello hello=nobody.invalid/nothing:1").ok();
    ask(cluster.node_port(HELLO)).unwrap_err();
    let said = cluster.event("hello", "WakeTimedOut");
    assert!(said.starts_with("No pod of deployment hello took connections in time: clients refused: 1;"), "{said}");
    // It sleeps again, and is well when its image is.
    at_rest(&cluster, "hello");
    cluster.kubectl("set image deploy/hello hello=hello:1").ok();
    cluster.kubectl("annotate --overwrite service hello coracle.dev/wake-timeout=30s").ok();
    eventually("an answer", || ask(cluster.node_port(HELLO)).map(|answer| greets(&answer)));
}

#[test]
fn a_wish_that_cannot_be_followed_is_told() {
    let cluster = Cluster::start();
    let service = |name: &str, annotations: Value, spec: Value| {
        let mut annotations = annotations;
        annotations["coracle.dev/scale-to-zero"] = json!("true");
        cluster.api().create(SERVICES, &json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec}));
    };
    let ports = json!([{"port": 80}]);
    service("late", json!({"coracle.dev/idle-after": "soon"}), json!({"ports": ports, "selector": {"app": "x"}}));
    service("headless", json!({}), json!({"ports": ports, "clusterIP": "None", "selector": {"app": "x"}}));
    service("lonely", json!({"coracle.dev/scale-target": "deployment/nobody"}), json!({"ports": ports}));
    assert!(cluster.event("late", "InvalidScaleToZero").contains("coracle.dev/idle-after"));
    assert!(cluster.event("headless", "InvalidScaleToZero").contains("without a cluster address"));
    assert!(cluster.event("lonely", "ScaleTargetNotFound").contains("There is no deployment nobody"));
}

#[test]
fn a_server_that_is_killed_finds_it_asleep_or_waking() {
    let mut cluster = sleepy();
    cluster.coracle("scale deploy/hello --replicas=2").ok();
    at_rest(&cluster, "hello");
    cluster.kill_hard();
    cluster.restart();
    let at = cluster.node_port(HELLO);
    eventually("an answer", || http::get(at, "/"));
    assert_eq!(replicas(&cluster, "hello"), 2);
    at_rest(&cluster, "hello");
    // Killed while it wakes: the client is lost, and the next one is served.
    let mut client = TcpStream::connect(at).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    cluster.kill_hard();
    cluster.restart();
    eventually("an answer", || http::get(at, "/"));
    at_rest(&cluster, "hello");
}
