//! Policies, seen by pods that ask what they are told to ask, and by clients outside.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use coracle_tests::{Cluster, dns, eventually, paths};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// Where a caller is asked.
const QUESTIONS: u16 = 7000;

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

fn policies() -> String {
    "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies".to_owned()
}

/// A pod of one container, whose label `app` is its name.
fn pod(cluster: &Cluster, namespace: &str, name: &str, container: Value) {
    let mut container = container;
    container["name"] = json!("main");
    let object = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": [container]}});
    cluster.api().create(&pods(namespace), &object);
}

fn caller(cluster: &Cluster, namespace: &str, name: &str) {
    pod(cluster, namespace, name, json!({"image": "caller:1"}));
}

fn address(cluster: &Cluster, namespace: &str, name: &str) -> IpAddr {
    eventually(&format!("the address of {namespace}/{name}, which is ready"), || {
        let pod = cluster.get(&format!("{}/{name}", pods(namespace)));
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
        let ip = pod["status"]["podIP"].as_str().filter(|_| is_ready).and_then(|ip| ip.parse().ok());
        ip.ok_or_else(|| pod["status"].to_string())
    })
}

/// Has a caller ask; its node may always speak to it.
fn ask(caller: IpAddr, question: &str) -> Result<String, String> {
    let exchange = || -> std::io::Result<String> {
        let mut connection = TcpStream::connect((caller, QUESTIONS))?;
        connection.set_read_timeout(Some(Duration::from_secs(20)))?;
        writeln!(connection, "{question}")?;
        let mut answer = String::new();
        BufReader::new(connection).read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    };
    exchange().map_err(|error| format!("{question}: {error}"))
}

/// Waits until the answer is this one.
#[track_caller]
fn hears(caller: IpAddr, question: &str, wanted: &str) {
    eventually(&format!("{question}: {wanted}"), || match ask(caller, question)? {
        answer if answer == wanted => Ok(()),
        answer => Err(answer),
    });
}

/// What a client at an address of this machine is answered at `to`; nothing if it is turned away.
fn answered(cluster: &Cluster, from: &str, to: SocketAddr, text: &str) -> Option<String> {
    let exchange = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
        let mut client = socket.connect(to).await?;
        client.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.map(|_| answer)
    };
    cluster.api().wait_for(exchange).ok().filter(|answer| !answer.is_empty())
}

/// What comes back of a word to a server at `to` that sends all back; nothing if the client is turned away.
fn said_back(cluster: &Cluster, from: &str, to: SocketAddr) -> Option<String> {
    let exchange = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
        let mut client = socket.connect(to).await?;
        client.write_all(b"ahoy").await?;
        client.shutdown().await?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.map(|_| answer)
    };
    cluster.api().wait_for(exchange).ok().filter(|answer| !answer.is_empty())
}

/// Whether a web server at `to` serves it.
fn is_served(cluster: &Cluster, from: &str, to: SocketAddr) -> bool {
    let answer = answered(cluster, from, to, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// A policy about the pod of this name.
fn policy(cluster: &Cluster, name: &str, about: &str, mut spec: Value) {
    let selector = if about.is_empty() { json!({}) } else { json!({"matchLabels": {"app": about}}) };
    spec["podSelector"] = selector;
    cluster.api().create(&policies(), &json!({"metadata": {"name": name}, "spec": spec}));
}

fn without_policy(cluster: &Cluster, name: &str) {
    cluster.api().delete(&format!("{}/{name}", policies()));
}

/// A cluster with callers and a server.
fn with_callers(callers: &[(&str, &str)]) -> Cluster {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle(&format!("image push {} caller:1", paths::guest("caller").display())).ok();
    cluster.api().create("/api/v1/namespaces", &json!({"metadata": {"name": "far", "labels": {"team": "far"}}}));
    pod(&cluster, "default", "hello", json!({"image": "hello:1", "ports": [{"name": "web", "containerPort": 80}]}));
    let ports = json!([{"port": 80, "targetPort": "web", "nodePort": 30180}]);
    let spec = json!({"type": "NodePort", "selector": {"app": "hello"}, "ports": ports});
    cluster.api().create("/api/v1/namespaces/default/services", &json!({"metadata": {"name": "hello"}, "spec": spec}));
    for (namespace, name) in callers {
        caller(&cluster, namespace, name);
    }
    cluster
}

#[test]
fn policies_decide_who_reaches_a_pod_while_everybody_runs() {
    let cluster = with_callers(&[("default", "friend"), ("default", "other"), ("far", "friend")]);
    let hello = address(&cluster, "default", "hello");
    let friend = address(&cluster, "default", "friend");
    let (other, far) = (address(&cluster, "default", "other"), address(&cluster, "far", "friend"));
    let (direct, by_service) = (format!("tcp {hello}:80"), "http hello.default.svc.cluster.local:80");
    let node_port = cluster.node_port(30180);
    for who in [friend, other, far] {
        hears(who, &direct, "ok");
        hears(who, by_service, "ok");
    }
    assert!(is_served(&cluster, "127.0.0.77", node_port));
    let to_guest = || answered(&cluster, "127.0.0.77", SocketAddr::new(friend, QUESTIONS), "tcp 127.0.0.1:7000\n");
    assert_eq!(to_guest().as_deref(), Some("ok\n"));

    // Default deny. The node, and a pod itself, are never kept away.
    policy(&cluster, "deny", "", json!({"policyTypes": ["Ingress"]}));
    for who in [friend, other, far] {
        hears(who, &direct, "denied");
        assert_eq!(ask(who, by_service), Ok("denied".to_owned()));
    }
    assert_eq!(ask(friend, &format!("tcp {friend}:7000")), Ok("ok".to_owned()));
    assert_eq!(ask(friend, "tcp 127.0.0.1:7000"), Ok("ok".to_owned()));
    assert!(is_served(&cluster, "127.0.0.1", node_port) && !is_served(&cluster, "127.0.0.77", node_port));
    assert!(!is_served(&cluster, "127.0.0.77", SocketAddr::new(hello, 80)));
    assert_eq!(to_guest(), None, "what a guest accepts by its own sockets is judged as well");

    let from_friends =
        json!([{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"port": "web"}]}]);
    policy(&cluster, "friends", "hello", json!({"ingress": from_friends}));
    hears(friend, by_service, "ok");
    assert_eq!([ask(other, &direct), ask(far, &direct)], [Ok("denied".to_owned()), Ok("denied".to_owned())]);
    let label = |app: &str| {
        cluster.api().patch(&format!("{}/other", pods("default")), &json!({"metadata": {"labels": {"app": app}}}));
    };
    label("friend");
    hears(other, &direct, "ok");
    label("other");
    hears(other, &direct, "denied");

    let from_far = json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "far"}}}]}]);
    policy(&cluster, "far", "hello", json!({"ingress": from_far}));
    hears(far, by_service, "ok");
    cluster.api().patch("/api/v1/namespaces/far", &json!({"metadata": {"labels": {"team": "near"}}}));
    hears(far, by_service, "denied");

    let block = json!({"cidr": "127.0.0.0/24", "except": ["127.0.0.78/32"]});
    policy(&cluster, "block", "hello", json!({"ingress": [{"from": [{"ipBlock": block}]}]}));
    eventually("a client of the block is let in", || {
        if is_served(&cluster, "127.0.0.77", node_port) { Ok(()) } else { Err("it is reset".to_owned()) }
    });
    assert!(is_served(&cluster, "127.0.0.77", SocketAddr::new(hello, 80)));
    assert!(!is_served(&cluster, "127.0.0.78", node_port));

    ["deny", "friends", "far", "block"].iter().for_each(|name| without_policy(&cluster, name));
    for who in [friend, other, far] {
        hears(who, by_service, "ok");
    }
}

#[test]
fn policies_decide_whom_a_pod_reaches() {
    let cluster = with_callers(&[("default", "friend"), ("default", "other")]);
    let (hello, friend) = (address(&cluster, "default", "hello"), address(&cluster, "default", "friend"));
    let other = address(&cluster, "default", "other");
    let name = "name hello.default.svc.cluster.local";
    let found =
        eventually("the name", || ask(friend, name).and_then(|ip| if ip == "unknown" { Err(ip) } else { Ok(ip) }));

    policy(&cluster, "deny", "friend", json!({"policyTypes": ["Egress"]}));
    hears(friend, "http hello:80", "denied");
    assert_eq!(ask(friend, &format!("tcp {hello}:80")), Ok("denied".to_owned()));
    assert_eq!(ask(friend, "tcp 192.0.2.1:80"), Ok("denied".to_owned()));
    assert_eq!(ask(friend, &format!("udp {other}:7000")), Ok("denied".to_owned()));
    assert_eq!(ask(friend, name), Ok(found), "a look-up is no traffic");
    assert_eq!(ask(friend, "tcp kubernetes.default.svc.cluster.local:443"), Ok("ok".to_owned()), "the node is reached");
    assert_eq!(ask(other, "http hello:80"), Ok("ok".to_owned()));

    let to_hello =
        json!([{"to": [{"podSelector": {"matchLabels": {"app": "hello"}}}], "ports": [{"port": 79, "endPort": 80}]}]);
    policy(&cluster, "hello", "friend", json!({"policyTypes": ["Egress"], "egress": to_hello}));
    hears(friend, "http hello:80", "ok");
    assert_eq!(ask(friend, &format!("tcp {hello}:81")), Ok("denied".to_owned()));
    assert_eq!(ask(friend, &format!("tcp {other}:7000")), Ok("denied".to_owned()));
}

#[test]
fn policies_are_of_datagrams_too_and_answers_pass() {
    let cluster = with_callers(&[("default", "friend"), ("default", "other")]);
    pod(&cluster, "default", "back", json!({"image": "caller:1", "args": ["datagrams", "7100"]}));
    let (friend, other) = (address(&cluster, "default", "friend"), address(&cluster, "default", "other"));
    let question = format!("udp {}:7100", address(&cluster, "default", "back"));
    hears(friend, &question, "ok");
    // Everybody is kept from everybody: what comes back to a question is no question.
    policy(&cluster, "deny", "", json!({"policyTypes": ["Ingress", "Egress"]}));
    hears(friend, &question, "denied");
    let friend_of = |side: &str, app: &str| json!([{side: [{"podSelector": {"matchLabels": {"app": app}}}], "ports": [{"protocol": "UDP", "port": 7100}]}]);
    policy(&cluster, "in", "back", json!({"ingress": friend_of("from", "friend")}));
    policy(&cluster, "out", "", json!({"policyTypes": ["Egress"], "egress": friend_of("to", "back")}));
    hears(friend, &question, "ok");
    assert_eq!(ask(other, &question), Ok("denied".to_owned()));
}

#[test]
fn policies_are_in_force_before_any_pod_runs() {
    let mut cluster = with_callers(&[("default", "friend")]);
    address(&cluster, "default", "hello");
    hears(address(&cluster, "default", "friend"), "http hello:80", "ok");
    policy(&cluster, "deny", "hello", json!({}));
    for _ in 0..3 {
        cluster.restart();
        // What its status says is of the last run until this one has said otherwise: its address may be another now.
        let answer = eventually("an answer that is not of a server that starts", || {
            match ask(address(&cluster, "default", "friend"), "http hello:80")? {
                answer if ["denied", "ok"].contains(&answer.as_str()) => Ok(answer),
                answer => Err(answer),
            }
        });
        assert_eq!(answer, "denied");
    }
}

#[test]
fn what_a_guest_accepts_by_sockets_of_wasi_0_3_is_judged_as_well() {
    let cluster = with_callers(&[("default", "friend")]);
    cluster.coracle(&format!("image push {} echo3:1", paths::guest("echo3").display())).ok();
    pod(&cluster, "default", "back", json!({"image": "echo3:1"}));
    let back = address(&cluster, "default", "back");
    let (at, question) = (SocketAddr::new(back, 7003), format!("tcp {back}:7003"));
    let friend = address(&cluster, "default", "friend");
    hears(friend, &question, "ok");
    let told = |from: &str| said_back(&cluster, from, at);
    assert_eq!(told("127.0.0.77"), Some("ahoy".to_owned()));

    policy(&cluster, "deny", "back", json!({"policyTypes": ["Ingress"]}));
    hears(friend, &question, "denied");
    assert_eq!(told("127.0.0.77"), None, "it is outside");
    assert_eq!(told("127.0.0.1"), Some("ahoy".to_owned()), "it is the node");
    let block = json!({"from": [{"ipBlock": {"cidr": "127.0.0.77/32"}}], "ports": [{"port": 7003}]});
    policy(&cluster, "block", "back", json!({"ingress": [block]}));
    eventually("the one is let in", || told("127.0.0.77").ok_or_else(|| "it is turned away".to_owned()));
    assert_eq!(told("127.0.0.78"), None);
    ["deny", "block"].iter().for_each(|name| without_policy(&cluster, name));
    eventually("all are let in", || told("127.0.0.78").ok_or_else(|| "it is turned away".to_owned()));
}

/// An address that this machine has beside those of loopback, if it has one. Nothing is sent to find it.
fn own_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    socket.connect(("192.0.2.1", 9)).ok()?;
    let ip = socket.local_addr().unwrap().ip();
    Some(ip).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[test]
fn a_machine_is_its_node_at_all_of_its_addresses() {
    let Some(own) = own_address() else { return eprintln!("skipped: this machine has no address but loopback's") };
    let cluster = with_callers(&[("default", "friend")]);
    let hello = address(&cluster, "default", "hello");
    hears(address(&cluster, "default", "friend"), "http hello:80", "ok");
    policy(&cluster, "deny", "", json!({"policyTypes": ["Ingress"]}));
    hears(address(&cluster, "default", "friend"), "http hello:80", "denied");
    assert!(is_served(&cluster, &own.to_string(), SocketAddr::new(hello, 80)));
    assert!(!is_served(&cluster, "127.0.0.77", SocketAddr::new(hello, 80)));
}

#[test]
fn a_host_outside_is_reached_by_the_name_that_is_allowed_and_no_other() {
    let Some(own) = own_address() else { return eprintln!("skipped: this machine has no address but loopback's") };
    let IpAddr::V4(own) = own else { return eprintln!("skipped: its address is of IPv6") };
    let outside = dns::Outside::start();
    let cluster = Cluster::builder().flags(&format!("--dns-stub-domain example.com={}", outside.address())).start();
    cluster.coracle(&format!("image push {} caller:1", paths::guest("caller").display())).ok();
    // Two servers of this machine are two hosts outside, which only their ports tell apart.
    let serve = || {
        let listener = TcpListener::bind((own, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let _ = client.read(&mut [0; 1024]).and_then(|_| write!(client, "HTTP/1.0 200 OK\r\n\r\n"));
            }
        });
        port
    };
    let (database, other) = (serve(), serve());
    outside.knows("db.example.com", own);
    outside.knows("elsewhere.example.com", own);
    let narrowed = json!({"coracle.dev/allowed-hosts": format!("db.example.com:{database}, *.example.net")});
    for (name, annotations) in [("narrow", narrowed), ("wide", json!({}))] {
        let spec = json!({"containers": [{"name": "main", "image": "caller:1"}]});
        let object = json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec});
        cluster.api().create(&pods("default"), &object);
    }
    let (narrow, wide) = (address(&cluster, "default", "narrow"), address(&cluster, "default", "wide"));
    hears(wide, &format!("http elsewhere.example.com:{other}"), "ok");
    hears(wide, &format!("tcp {own}:{database}"), "ok");

    let asks = |question: String| ask(narrow, &question).unwrap();
    assert_eq!(asks(format!("tcp {own}:{database}")), "denied", "it has not looked it up");
    assert_eq!(asks(format!("http db.example.com:{database}")), "ok");
    assert_eq!(asks(format!("tcp db.example.com:{database}")), "ok");
    assert_eq!(asks(format!("tcp {own}:{database}")), "ok", "this is where its look-up led");
    assert_eq!(asks("name elsewhere.example.com".to_owned()), "unknown");
    assert_eq!(asks(format!("http elsewhere.example.com:{database}")), "unknown");
    for place in ["db.example.com".to_owned(), own.to_string()] {
        assert_eq!(asks(format!("tcp {place}:{other}")), "denied", "{place}: that is not its port");
        assert_eq!(asks(format!("http {place}:{other}")), "denied", "{place}: that is not its port");
    }
}

#[test]
fn annotations_keep_a_pod_from_what_is_outside_and_tell_what_it_can_use() {
    let cluster = with_callers(&[]);
    let narrowed = |name: &str, annotation: &str, value: &str| {
        let container = json!({"name": "main", "image": "caller:1"});
        json!({"metadata": {"name": name, "annotations": {annotation: value}}, "spec": {"containers": [container]}})
    };
    let path = pods("default");
    cluster.api().create(&path, &narrowed("closed", "coracle.dev/allow-outside", "false"));
    cluster.api().create(&path, &narrowed("some", "coracle.dev/allowed-hosts", "192.0.2.1:443"));
    address(&cluster, "default", "hello");
    for name in ["closed", "some"] {
        let pod = address(&cluster, "default", name);
        hears(pod, "http hello:80", "ok");
        assert_eq!(ask(pod, "tcp kubernetes.default.svc.cluster.local:443"), Ok("ok".to_owned()), "{name}");
        for question in ["tcp 192.0.2.1:80", "udp 192.0.2.1:53", "http 192.0.2.1:80"] {
            assert_eq!(ask(pod, question), Ok("denied".to_owned()), "{name}: {question}");
        }
    }
    let imports = &cluster.get(&format!("{path}/closed"))["metadata"]["annotations"]["coracle.dev/imports"];
    let imports = imports.as_str().expect("the node says what the pod imports");
    assert!(imports.contains("wasi:http") && imports.contains("wasi:sockets"), "{imports}");

    let bad = narrowed("bad", "coracle.dev/allowed-hosts", "http://a.example");
    let (code, answer) = cluster.api().call(&http::Method::POST, &path, &bad);
    let message = answer["message"].as_str().unwrap_or_default();
    assert!(code == 422 && message.contains("is no host: write a name"), "{answer}");
    let mut opened = cluster.get(&format!("{path}/closed"));
    opened["metadata"]["annotations"] = json!({});
    let (code, answer) = cluster.api().call(&http::Method::PUT, &format!("{path}/closed"), &opened);
    assert!(
        code == 422 && answer["message"].as_str().unwrap_or_default().contains("is fixed when it is created"),
        "{answer}"
    );
}
