//! Ingress: several sites on one port, as a person meets them: by kubectl and curl.

mod tls;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use coracle_tests::said::Said;
use coracle_tests::{Cluster, eventually};
use serde_json::{Value, json};

const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";

/// A Deployment and a Service of the sample hello that greets with its name.
fn site(cluster: &Cluster, name: &str, replicas: usize) {
    let container = json!({
        "name": "hello", "image": "hello:1", "imagePullPolicy": "IfNotPresent", "ports": [{"name": "web", "containerPort": 80}],
        "env": [
            {"name": "GREETING", "value": name},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
    });
    let labels = json!({"app": name});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": template});
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}},
    ]});
    cluster.kubectl_with("apply -f -", &objects.to_string()).ok();
}

fn rule(host: Option<&str>, paths: &[(&str, &str, &str)]) -> Value {
    let path = |(kind, path, service): &(&str, &str, &str)| json!({"pathType": kind, "path": path, "backend": {"service": {"name": service, "port": {"name": "http"}}}});
    json!({"host": host, "http": {"paths": paths.iter().map(path).collect::<Vec<_>>()}})
}

fn apply(cluster: &Cluster, name: &str, spec: Value) {
    let kind =
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name}, "spec": spec});
    cluster.kubectl_with("apply -f -", &kind.to_string()).ok();
}

/// Where an Ingress says that it is reached: by HTTP and by HTTPS.
fn reached(cluster: &Cluster, name: &str) -> (SocketAddr, SocketAddr) {
    eventually(&format!("an address of {name}"), || {
        let object = cluster.get(&format!("{INGRESSES}/{name}"));
        let point = &object["status"]["loadBalancer"]["ingress"][0];
        let at = |index: usize| {
            let port = u16::try_from(point["ports"][index]["port"].as_u64()?).ok()?;
            Some(SocketAddr::new(point["ip"].as_str()?.parse().ok()?, port))
        };
        at(0).zip(at(1)).ok_or_else(|| object["status"].to_string())
    })
}

/// Runs curl as if the name of the URL led to `to`; returns the status and the body.
fn curl(to: SocketAddr, url: &str, more: &[&str]) -> Result<(u16, String), String> {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "-w", "\n%{http_code}", "--connect-to", &format!("::{to}")]);
    let said = Said::run(command.args(more).arg(url), "").tried()?;
    let (body, code) = said.rsplit_once('\n').ok_or("no status")?;
    Ok((code.parse().map_err(|_| said.clone())?, body.to_owned()))
}

/// Asks until a body begins with these words.
#[track_caller]
fn answered(to: SocketAddr, url: &str, words: &str) -> String {
    eventually(&format!("{words:?} of {url}"), || match curl(to, url, &[])? {
        (200, body) if body.starts_with(words) => Ok(body),
        other => Err(format!("{other:?}")),
    })
}

#[test]
fn several_sites_are_served_at_one_port_by_host_and_path() {
    let cluster = Cluster::start();
    cluster.push("hello");
    for name in ["red", "blue", "rest"] {
        site(&cluster, name, 1);
    }
    let paths = [("Prefix", "/", "red"), ("Exact", "/blue", "blue"), ("Prefix", "/deep/blue", "blue")];
    apply(&cluster, "first", json!({"rules": [rule(Some("red.dev"), &paths)]}));
    let (http, _) = reached(&cluster, "first");
    answered(http, "http://red.dev/", "red");
    answered(http, "http://red.dev/blue", "blue");
    answered(http, "http://RED.dev/blue/", "red");
    answered(http, "http://red.dev/deep/blue/sea", "blue");
    answered(http, "http://red.dev/deep/blues", "red");
    assert_eq!(curl(http, "http://blue.dev/", &[]).unwrap().0, 404);

    // Another one: a wildcard, a path of a host that the first has, and what is left.
    let rest = json!({"service": {"name": "rest", "port": {"number": 80}}});
    let rules =
        [rule(Some("*.blue.dev"), &[("Prefix", "/", "blue")]), rule(Some("red.dev"), &[("Prefix", "/", "blue")])];
    apply(&cluster, "second", json!({"defaultBackend": rest, "rules": rules}));
    answered(http, "http://deep.blue.dev/", "blue");
    answered(http, "http://very.deep.blue.dev/", "rest");
    answered(http, "http://red.dev/", "red");
    answered(http, "http://other.dev/", "rest");
    assert!(cluster.event("second", "Conflict").contains("path \"/\" of host \"red.dev\""));

    let table = cluster.kubectl("get ingress").ok();
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["first", "coracle", "red.dev", http.ip().to_string().as_str(), "80"], "{table}");
    let told = cluster.kubectl("describe ingress first").ok();
    for words in ["Ingress Class:    coracle", "red.dev", "/deep/blue", "blue:http (127.", "Scheduled for sync"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    cluster.kubectl("delete ingress --all").ok();
    eventually("a closed port", || TcpStream::connect(http).map_or(Ok(()), |_| Err("it is open".to_owned())));
}

#[test]
fn a_class_is_made_once_and_other_classes_are_left_to_others() {
    let mut cluster = Cluster::start();
    cluster.push("hello");
    site(&cluster, "red", 1);
    let class = cluster.get("/apis/networking.k8s.io/v1/ingressclasses/coracle");
    assert_eq!(class["spec"]["controller"], "coracle.dev/ingress");
    let spec =
        |class: &str| json!({"ingressClassName": class, "rules": [rule(Some("red.dev"), &[("Prefix", "/", "red")])]});
    apply(&cluster, "theirs", spec("nginx"));
    apply(&cluster, "mine", spec("coracle"));
    let (http, _) = reached(&cluster, "mine");
    answered(http, "http://red.dev/", "red");
    assert_eq!(cluster.get(&format!("{INGRESSES}/theirs"))["status"]["loadBalancer"], json!({}));

    // Without a default class, nobody sees to an Ingress that names none, but for the old annotation.
    cluster.kubectl("delete ingressclass coracle").ok();
    eventually("no answer", || curl(http, "http://red.dev/", &[]).map_or(Ok(()), |it| Err(format!("{it:?}"))));
    cluster.kill_hard();
    cluster.restart();
    assert_eq!(cluster.kubectl("get ingressclass -o name").ok(), "", "it is not made again");
    let old = json!({"name": "old", "annotations": {"kubernetes.io/ingress.class": "coracle"}});
    let backend = json!({"defaultBackend": {"service": {"name": "red", "port": {"number": 80}}}});
    cluster.api().create(INGRESSES, &json!({"metadata": old, "spec": backend}));
    let (http, _) = reached(&cluster, "old");
    answered(http, "http://any.dev/", "red");
}

#[test]
fn what_is_missing_is_told_and_served_when_it_comes_and_again_after_a_crash() {
    let mut cluster = Cluster::start();
    cluster.push("hello");
    cluster.kubectl("apply -f samples/hello/ingress.yaml").ok();
    assert!(cluster.event("hello", "ServiceNotFound").starts_with("Service \"default/hello\" not found"));
    let (http, _) = reached(&cluster, "hello");
    let (status, body) = curl(http, "http://hello.localhost/", &[]).unwrap();
    assert_eq!((status, body.as_str()), (503, "no pod is ready to answer this request\n"));
    cluster.kubectl("apply -f samples/hello/hello.yaml").ok();
    answered(http, "http://hello.localhost/", "hello");
    cluster.kill_hard();
    cluster.restart();
    answered(http, "http://hello.localhost/", "hello");
}

#[test]
fn a_rollout_behind_an_ingress_loses_no_request() {
    let cluster = Cluster::start();
    cluster.push("hello");
    site(&cluster, "red", 3);
    cluster.ready_pods("app=red", 3);
    apply(&cluster, "red", json!({"rules": [rule(Some("red.dev"), &[("Prefix", "/", "red")])]}));
    let (http, _) = reached(&cluster, "red");
    answered(http, "http://red.dev/", "red");
    let before: BTreeSet<String> = cluster.ready_pods("app=red", 3).into_iter().collect();
    cluster.kubectl("rollout restart deploy/red").ok();
    let mut asked = 0;
    // One connection for all: it outlives the pods behind it.
    let mut connection = BufReader::new(TcpStream::connect(http).unwrap());
    eventually("other pods, and no request lost meanwhile", || {
        for _ in 0..20 {
            write!(connection.get_mut(), "GET / HTTP/1.1\r\nHost: red.dev\r\n\r\n").unwrap();
            let (status, _, body) = answer(&mut connection);
            assert_eq!(status, "HTTP/1.1 200 OK", "{}", String::from_utf8_lossy(&body));
            asked += 1;
        }
        let now: BTreeSet<String> = cluster.pods("app=red").iter().map(coracle_tests::cluster::name).collect();
        if now.len() == 3 && now.is_disjoint(&before) { Ok(()) } else { Err(format!("{now:?} after {asked} requests")) }
    });
}

/// Reads one answer with a length: its first line, its headers and its body.
fn answer(from: &mut BufReader<TcpStream>) -> (String, String, Vec<u8>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(from.read_line(&mut head).unwrap(), 0, "closed after {head:?}");
    }
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body).unwrap();
    (head.lines().next().unwrap_or_default().to_owned(), head.clone(), body)
}

/// A server of this test's own: it echoes the length of what is posted, answers a GET with as many bytes as its path
/// says, and becomes an echo of words for a WebSocket.
fn serve(listener: TcpListener) {
    for stream in listener.incoming().map_while(Result::ok) {
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            loop {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if stream.read_line(&mut head).unwrap_or(0) == 0 {
                        return;
                    }
                }
                let lower = head.to_ascii_lowercase();
                let header = |name: &str| lower.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                let text = if header("upgrade") == Some("websocket") {
                    let agreed =
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
                    stream.get_mut().write_all(agreed.as_bytes()).unwrap();
                    let mut word = String::new();
                    stream.read_line(&mut word).unwrap();
                    stream.get_mut().write_all(word.to_uppercase().as_bytes()).unwrap();
                    return;
                } else if let Some(length) = header("content-length").and_then(|length| length.parse::<u64>().ok()) {
                    let read = std::io::copy(&mut (&mut stream).take(length), &mut std::io::sink()).unwrap();
                    format!("{read} by {}", header("x-forwarded-for").unwrap_or("nobody")).into_bytes()
                } else {
                    let length = head.split(['/', ' ']).find_map(|word| word.parse::<usize>().ok());
                    vec![b'x'; length.unwrap_or(0)]
                };
                write!(stream.get_mut(), "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len()).unwrap();
                if stream.get_mut().write_all(&text).is_err() {
                    return;
                }
            }
        });
    }
}

#[test]
fn large_bodies_and_websockets_pass_to_endpoints_that_others_wrote() {
    const MANY: usize = 50_000_000;
    let cluster = Cluster::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || serve(listener));
    let service = json!({"metadata": {"name": "out"}, "spec": {"ports": [{"name": "http", "port": 80}]}});
    cluster.api().create("/api/v1/namespaces/default/services", &service);
    let slice = json!({
        "metadata": {"name": "out", "labels": {"kubernetes.io/service-name": "out"}}, "addressType": "IPv4",
        "ports": [{"name": "http", "port": at.port()}], "endpoints": [{"addresses": ["127.0.0.1"]}],
    });
    cluster.api().create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice);
    apply(&cluster, "out", json!({"rules": [rule(None, &[("Prefix", "/", "out")])]}));
    let (http, _) = reached(&cluster, "out");
    eventually("an answer", || match curl(http, "http://any.dev/3", &[])? {
        (200, body) if body == "xxx" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let (_, body) = curl(http, &format!("http://any.dev/{MANY}"), &[]).unwrap();
    assert_eq!(body.len(), MANY);
    let file = cluster.file("large", "y".repeat(MANY));
    let (_, body) = curl(http, "http://any.dev/", &["--data-binary", &format!("@{file}")]).unwrap();
    assert_eq!(body, format!("{MANY} by {}", http.ip()).replace(&http.ip().to_string(), "127.0.0.1"));

    let mut stream = BufReader::new(TcpStream::connect(http).unwrap());
    let upgrade = "GET /chat HTTP/1.1\r\nHost: any.dev\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    writeln!(stream.get_mut(), "{upgrade}ahoy").unwrap();
    let (status, head, _) = answer(&mut stream);
    assert_eq!(status, "HTTP/1.1 101 Switching Protocols", "{head}");
    let mut word = String::new();
    stream.read_line(&mut word).unwrap();
    assert_eq!(word, "AHOY\n");
}
