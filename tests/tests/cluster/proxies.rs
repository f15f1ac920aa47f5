//! What pods and Services serve, asked by the API server: by `kubectl get --raw`, and by any client of `kubectl proxy`.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use coracle_tests::stream::Stream;
use coracle_tests::{Api, Cluster, eventually, http, paths};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

const NAMESPACE: &str = "/api/v1/namespaces/default";

/// More than the API server reads of any body of its own, in bytes.
const LARGE: usize = 16 * 1024 * 1024;

/// What takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// `kubectl proxy`, which asks as the cluster's owner.
fn proxy(cluster: &Cluster) -> (Stream, SocketAddr) {
    let mut stream = cluster.kubectl_stream("proxy --port=0");
    let line = stream.until("where it serves", |line| line.contains("Starting to serve on"));
    let at = line.rsplit(' ').next().unwrap().trim().parse().unwrap();
    (stream, at)
}

#[test]
fn services_and_pods_are_asked_through_the_api() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    let pods = cluster.ready_pods("app=hello", 3);
    let get = |path: &str| cluster.kubectl(&format!("get --raw {NAMESPACE}/{path}"));
    eventually("an answer of the Service", || get("services/http:hello:80/proxy/").tried());
    for path in ["services/hello:http/proxy/", "services/hello:80/proxy/a/b?c=d", "services/:hello:http/proxy/../x"] {
        let said = get(path).ok();
        assert!(pods.iter().any(|pod| said.trim_end().ends_with(pod)), "{path}: {said}");
    }
    let pod = &pods[0];
    assert!(get(&format!("pods/{pod}/proxy/")).ok().trim_end().ends_with(pod));
    assert_eq!(get(&format!("pods/http:{pod}:80/proxy/healthz")).ok(), "ok\n");

    let refused = |path: &str| get(path).refused();
    assert!(refused("services/hello/proxy/").contains("no endpoints available for service \"hello\""));
    assert!(refused("services/hello:81/proxy/").contains("no service port 81 found for service \"hello\""));
    assert!(refused("services/none/proxy/").contains("services \"none\" not found"));
    assert!(refused("services/ftp:hello:80/proxy/").contains("invalid service request \"ftp:hello:80\""));
    let unheard = refused(&format!("pods/{pod}:81/proxy/"));
    assert!(
        unheard.contains("error trying to reach service: dial tcp") && unheard.contains("connection refused"),
        "{unheard}"
    );

    // The path is handed on as it came, and never leads out of the proxy.
    let paths = [
        ("/one?x=%2Ftwo", "/one?x=%2Ftwo"),
        ("/a/%2e%2e/b/../three", "/three"),
        ("/%2e%2E/%2e./four/", "/four/"),
        ("//five//", "//five//"),
    ];
    for (sent, _) in paths {
        get(&format!("pods/{pod}:80/proxy{sent}")).ok();
    }
    eventually("all of them in the log", || {
        let heard = cluster.kubectl(&format!("logs {pod}")).ok();
        let is_heard = |(_, path): &&(&str, &str)| heard.lines().any(|line| line == format!("GET {path}"));
        if paths.iter().filter(is_heard).count() == paths.len() { Ok(()) } else { Err(heard) }
    });
    let (_running, at) = proxy(&cluster);
    assert_eq!(http::get(at, &format!("{NAMESPACE}/pods/{pod}/proxy?a=b")).unwrap().0, 301);
}

#[test]
fn a_guest_with_a_listener_of_its_own_is_asked_with_bodies_by_whoever_may() {
    let cluster = Cluster::start();
    cluster.push("kv");
    let container = json!({"name": "kv", "image": "kv:1", "env": [{"name": "PORT", "value": "8080"}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}], "ports": [{"name": "store", "containerPort": 8080}]});
    let spec = json!({"containers": [container], "volumes": [{"name": "data", "emptyDir": {}}]});
    let metadata = json!({"name": "kv-0", "labels": {"app": "kv"}});
    cluster.api().create(&format!("{NAMESPACE}/pods"), &json!({"metadata": metadata, "spec": spec}));
    let spec = json!({"selector": {"app": "kv"}, "ports": [{"port": 80, "targetPort": "store"}]});
    cluster.api().create(&format!("{NAMESPACE}/services"), &json!({"metadata": {"name": "kv"}, "spec": spec}));
    cluster.ready_pods("app=kv", 1);
    let (_running, at) = proxy(&cluster);
    let send =
        |method: &str, path: &str, text: &str| http::send(at, method, &format!("{NAMESPACE}/{path}"), text).unwrap();
    eventually("an answer of the store", || match send("GET", "services/kv/proxy/healthz", "") {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(send("PUT", "pods/kv-0/proxy/keys/boat", "coracle").0, 204);
    assert_eq!(send("GET", "services/kv:80/proxy/keys/boat", ""), (200, "coracle".to_owned()));
    assert_eq!(send("DELETE", "services/kv/proxy/keys/boat", "").0, 204);
    assert_eq!(send("GET", "pods/kv-0:8080/proxy/keys/boat", "").0, 404, "the store's own answer");

    // Who may see pods may not yet ask them.
    cluster.kubectl("create serviceaccount eve").ok();
    cluster.kubectl("create rolebinding eve --clusterrole=view --serviceaccount=default:eve").ok();
    let refused = cluster
        .kubectl(&format!("get --raw {NAMESPACE}/services/kv/proxy/keys --as system:serviceaccount:default:eve"))
        .refused();
    assert!(refused.contains("cannot get resource \"services/proxy\""), "{refused}");
}

/// A cluster with a pod whose server is the test: what it is sent, and what it answers, is read and written here.
struct Played {
    cluster: Cluster,
    /// Where the pod hands its connections over.
    back: SocketAddr,
}

/// The proxy of that pod, and of the Service before it.
const POD: &str = "/api/v1/namespaces/default/pods/relay:8080/proxy";
const SERVICE: &str = "/api/v1/namespaces/default/services/relay/proxy";

impl Played {
    fn start() -> Self {
        let cluster = Cluster::start();
        cluster.coracle(&format!("image push {} caller:1", paths::guest("caller").display())).ok();
        let container = json!({"name": "relay", "image": "caller:1", "args": ["relay", "8080"]});
        let metadata = json!({"name": "relay", "labels": {"app": "relay"}});
        let pod = json!({"metadata": metadata, "spec": {"containers": [container]}});
        cluster.api().create(&format!("{NAMESPACE}/pods"), &pod);
        let spec = json!({"selector": {"app": "relay"}, "ports": [{"port": 80, "targetPort": 8080}]});
        cluster.api().create(&format!("{NAMESPACE}/services"), &json!({"metadata": {"name": "relay"}, "spec": spec}));
        cluster.ready_pods("app=relay", 1);
        let ip: IpAddr = cluster.pods("app=relay")[0]["status"]["podIP"].as_str().unwrap().parse().unwrap();
        Self { cluster, back: (ip, 8081).into() }
    }

    /// The server's end of the next connection.
    fn server(&self) -> TcpStream {
        let server =
            eventually("a pod that listens", || TcpStream::connect(self.back).map_err(|error| error.to_string()));
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        server
    }

    /// A client's bare connection to the API.
    fn client(&self) -> impl Read + Write + use<> {
        let server = self.cluster.server();
        Api::raw(&server.kubeconfig, server.api)
    }
}

/// All that comes, up to this.
fn until(stream: &mut impl Read, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|e| panic!("{end:?}: {e}: {}", String::from_utf8_lossy(&read)));
        read.push(byte[0]);
    }
    String::from_utf8(read).unwrap()
}

/// What a server is sent before a body, in small letters.
fn head(stream: &mut impl Read) -> String {
    until(stream, "\r\n\r\n").to_ascii_lowercase()
}

#[test]
fn bodies_go_through_as_they_come() {
    let played = Played::start();
    let (mut client, mut server) = (played.client(), played.server());
    write!(client, "POST {POD}/in?x=1 HTTP/1.1\r\nHost: asked.example\r\nX-Remote-User: eve\r\n").unwrap();
    write!(client, "X-Forwarded-For: 192.0.2.7\r\nContent-Length: 10\r\n\r\nahoy ").unwrap();
    let told = until(&mut server, "ahoy ");
    assert!(told.starts_with("POST /in?x=1 HTTP/1.1\r\n"), "{told}");
    for line in ["host: asked.example", "content-length: 10", &format!("x-forwarded-uri: {POD}/in")] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
    assert!(told.contains("x-forwarded-for: 192.0.2.7, 127.") && !told.contains("eve"), "{told}");
    // An answer without an end, while the question goes on.
    write!(server, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n").unwrap();
    let answer = until(&mut client, "data: one\n\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    write!(client, "there").unwrap();
    until(&mut server, "there");
    write!(server, "data: two\n\n").unwrap();
    until(&mut client, "data: two\n\n");
    drop(server);
    assert_eq!(until(&mut client, "0\r\n\r\n"), "\r\n0\r\n\r\n", "the answer is over");

    // More than anybody would hold.
    let (_running, at) = proxy(&played.cluster);
    let file = played.cluster.file("large", vec![b'x'; LARGE]);
    let mut server = played.server();
    let serving = thread::spawn(move || {
        assert!(head(&mut server).starts_with("put /large http/1.1"));
        let mut read = 0;
        let mut piece = vec![0; 65536];
        while read < LARGE {
            read += server.read(&mut piece).unwrap();
        }
        write!(server, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
        (0..LARGE / piece.len()).for_each(|_| server.write_all(&piece).unwrap());
    });
    let curl =
        Command::new("curl").args(["-sS", "-T", &file, &format!("http://{at}{SERVICE}/large")]).output().unwrap();
    assert_eq!((curl.status.code(), curl.stdout.len()), (Some(0), LARGE), "{}", String::from_utf8_lossy(&curl.stderr));
    serving.join().unwrap();
}

#[test]
fn who_leaves_takes_the_question_along() {
    let played = Played::start();
    let gone = |mut server: TcpStream| {
        let mut rest = Vec::new();
        // A connection that is reset is over as well.
        let ended = server.read_to_end(&mut rest).map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |_| true);
        assert!(ended, "the pod still talks to somebody");
    };
    // While it waits for an answer, while it reads one, and while it sends.
    let (mut client, mut server) = (played.client(), played.server());
    write!(client, "GET {POD}/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    head(&mut server);
    drop(client);
    gone(server);
    let (mut client, mut server) = (played.client(), played.server());
    write!(client, "GET {POD}/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    head(&mut server);
    write!(server, "HTTP/1.1 200 OK\r\n\r\none").unwrap();
    until(&mut client, "one");
    drop(client);
    gone(server);
    let (mut client, mut server) = (played.client(), played.server());
    write!(client, "POST {POD}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\none").unwrap();
    until(&mut server, "one");
    drop(client);
    gone(server);
    // A pod that leaves is told of, and the API goes on.
    let (mut client, mut server) = (played.client(), played.server());
    write!(client, "POST {POD}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\none").unwrap();
    until(&mut server, "one");
    drop(server);
    let answer = until(&mut client, "}");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("error trying to reach service"), "{answer}");
}

#[test]
fn what_is_asked_is_asked_and_where_to_go_is_told_as_the_client_sees_it() {
    let played = Played::start();
    let (_running, at) = proxy(&played.cluster);
    let asked = |method: &str, path: &str, location: &dyn Fn(&str) -> String| {
        let mut client = TcpStream::connect(at).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(client, "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").unwrap();
        let mut server = played.server();
        let told = head(&mut server);
        let location = location(told.lines().find_map(|line| line.strip_prefix("host: ")).unwrap());
        write!(server, "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 4\r\n\r\n").unwrap();
        if method != "HEAD" {
            write!(server, "gone").unwrap();
        }
        let answer = head(&mut client);
        let location = answer.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or_default().to_owned();
        let mut body = String::new();
        client.read_to_string(&mut body).unwrap();
        (told.lines().next().unwrap().to_owned(), location, body)
    };
    let (told, location, body) = asked("HEAD", &format!("{POD}/a"), &|_| "/b?c=d".to_owned());
    assert_eq!((told, location, body), ("head /a http/1.1".to_owned(), format!("{POD}/b?c=d"), String::new()));
    let (told, location, body) = asked("OPTIONS", &format!("{SERVICE}/"), &|host| format!("http://{host}/b/"));
    assert_eq!((told, location, body), ("options / http/1.1".to_owned(), format!("{SERVICE}/b/"), "gone".to_owned()));
    let (_, location, _) = asked("DELETE", &format!("{POD}/a"), &|_| "https://example.com/b".to_owned());
    assert_eq!(location, "https://example.com/b");
    let trace = http::send(at, "TRACE", &format!("{POD}/"), "").unwrap();
    assert_eq!(trace.0, 405, "{}", trace.1);
    let moved = http::send(at, "HEAD", POD, "").map(|(code, _)| code);
    assert_eq!(moved, Ok(301));
}

#[test]
fn a_connection_that_changes_its_protocol_goes_on_through_the_api() {
    let played = Played::start();
    let (_running, at) = proxy(&played.cluster);
    let by_kubectl = || {
        let client = TcpStream::connect(at).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    };
    fn converse(played: &Played, mut client: impl Read + Write, path: &str) {
        write!(client, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n").unwrap();
        write!(client, "Upgrade: websocket\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13\r\n\r\n").unwrap();
        let mut server = played.server();
        let told = head(&mut server);
        for line in ["get /chat http/1.1", "connection: upgrade", "upgrade: websocket", "sec-websocket-key: a"] {
            assert!(told.lines().any(|told| told == line), "{line}: {told}");
        }
        write!(server, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
            .unwrap();
        let answer = until(&mut client, "first").to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101 ") && answer.contains("upgrade: websocket"), "{answer}");
        for word in ["over", "and", "over"] {
            write!(client, "{word}").unwrap();
            until(&mut server, word);
            write!(server, "{word} back").unwrap();
            until(&mut client, " back");
        }
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0, "the client is gone");
    }
    converse(&played, played.client(), &format!("{POD}/chat"));
    converse(&played, by_kubectl(), &format!("{SERVICE}/chat"));

    let (mut client, mut server) = (by_kubectl(), played.server());
    write!(client, "GET {POD}/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    head(&mut server);
    write!(server, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").unwrap();
    assert!(until(&mut client, "no").starts_with("HTTP/1.1 403 "));
}

#[test]
fn a_pod_that_speaks_tls_is_asked_whoever_signed_for_it() {
    let played = Played::start();
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["nobody.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.der().clone()], key).unwrap();
    let server = played.server();
    let serving = thread::spawn(move || {
        let mut server = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), server);
        let told = head(&mut server);
        write!(server, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsafe").unwrap();
        server.flush().unwrap();
        told
    });
    let got = played.cluster.kubectl(&format!("get --raw {NAMESPACE}/services/https:relay:80/proxy/a"));
    assert_eq!(got.ok(), "safe");
    assert!(serving.join().unwrap().starts_with("get /a http/1.1"));
}

#[test]
fn the_api_leads_to_pods_and_nowhere_else() {
    let cluster = Cluster::start();
    let ports = json!([{"port": 80}]);
    cluster
        .api()
        .create(&format!("{NAMESPACE}/services"), &json!({"metadata": {"name": "far"}, "spec": {"ports": ports}}));
    // Whoever may write endpoints gets by the API to no more than he may himself.
    let slice = json!({"metadata": {"name": "far-1", "labels": {"kubernetes.io/service-name": "far"}},
        "addressType": "IPv4", "ports": ports, "endpoints": [{"addresses": ["192.0.2.1"]},
            {"addresses": ["192.0.2.1"], "targetRef": {"kind": "Pod", "namespace": "default", "name": "nobody"}}]});
    cluster.api().create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice);
    let refused = cluster.kubectl(&format!("get --raw {NAMESPACE}/services/far:80/proxy/")).refused();
    assert!(refused.contains("no endpoints available for service \"far:80\""), "{refused}");

    // Who asks before it sends need not send.
    let server = cluster.server();
    let mut client = Api::raw(&server.kubeconfig, server.api);
    write!(client, "PUT {NAMESPACE}/pods/nobody/proxy/ HTTP/1.1\r\nHost: x\r\n").unwrap();
    write!(client, "Expect: 100-continue\r\nContent-Length: 100000000\r\n\r\n").unwrap();
    let answer = until(&mut client, "Failure");
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("pods \\\"nobody\\\" not found"), "{answer}");
}
