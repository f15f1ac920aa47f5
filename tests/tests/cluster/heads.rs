//! Heads of HTTP/1 that somebody made up to hide a request in another, or out of nothing: sent to an HTTP pod, and to an
//! Ingress before it.
//!
//! Invariant of the servers: each connection comes to its end, and what a client put into a body is never a request.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use coracle_tests::{Cluster, eventually, http};
use serde_json::json;

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many heads are made up for each door.
const MADE_UP: usize = 400;

/// The request in the body.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: boat.dev\r\n\r\n";

/// Lines that are to confuse a server about where a body ends.
const CONFUSING: [&str; 40] = [
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: +5",
    "Content-Length: -1",
    "Content-Length: 0x5",
    "Content-Length: 5, 5",
    "Content-Length: 5,0",
    "Content-Length: ",
    "Content-Length: 99999999999999999999",
    "Content-Length : 0",
    "Content-Length:\t0",
    " Content-Length: 0",
    "content-length: 0",
    "Content_Length: 0",
    "Content-Length\0: 0",
    "Content-Length: 0\0",
    "X: a\nContent-Length: 0",
    "X: a\rContent-Length: 0",
    "X: a\r\n Content-Length: 0",
    "X: a\r\n\tb",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding:\x0bchunked",
    "Transfer-Encoding : chunked",
    " Transfer-Encoding: chunked",
    "Transfer-Encoding\t: chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked;q=1",
    "TRANSFER-ENCODING: CHUNKED",
    "X: a\nTransfer-Encoding: chunked",
    "X: a\r\n Transfer-Encoding: chunked",
    "Connection: content-length",
    "Connection: transfer-encoding, close",
    "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    "Expect: 100-continue",
    ": nothing",
];

/// Numbers that look like any, and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    /// Some lines, which are said to end the body early.
    fn lines(&mut self) -> Vec<&'static str> {
        (0..self.below(4)).map(|_| CONFUSING[self.below(CONFUSING.len())]).collect()
    }
}

/// What came back of these bytes, to the connection's end: the status of each answer, but for those that are not the last.
#[track_caller]
fn answers(to: SocketAddr, bytes: &[u8]) -> Vec<u16> {
    let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(500)]).into_owned();
    let mut connection = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who has heard enough closes before all is said.
    let _ = connection.write_all(bytes).and_then(|()| connection.shutdown(Shutdown::Write));
    let mut said = Vec::new();
    if let Err(error) = connection.read_to_end(&mut said) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "no end: {:?}", shown());
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    let statuses = said.lines().filter_map(|line| line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok());
    let statuses: Vec<u16> = statuses.filter(|status| *status != 100).collect();
    let is_known = |status: &u16| [200, 400, 405, 413, 414, 417, 431, 501, 505].contains(status);
    assert!(statuses.iter().all(is_known), "{statuses:?}: {:?}", shown());
    statuses
}

/// A request with another in its body, and lines around the one that says where the body ends.
fn hiding(dice: &mut Dice) -> Vec<u8> {
    let (framing, body) = if dice.below(2) == 0 {
        let body = format!("0\r\n\r\n{HIDDEN}");
        (format!("Content-Length: {}", body.len()), body)
    } else {
        ("Transfer-Encoding: chunked".to_owned(), format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()))
    };
    let before = dice.lines();
    let head = before.into_iter().chain([framing.as_str()]).chain(dice.lines());
    let head: String = head.map(|line| format!("{line}\r\n")).collect();
    format!("POST /whole HTTP/1.1\r\nHost: boat.dev\r\n{head}\r\n{body}").into_bytes()
}

/// A request with some bytes that are not those it had, and without an end.
fn broken(dice: &mut Dice) -> Vec<u8> {
    let mut bytes =
        b"GET /broken?a=b HTTP/1.1\r\nHost: boat.dev\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n".to_vec();
    for _ in 0..=dice.below(6) {
        let (at, byte) = (dice.below(bytes.len()), u8::try_from(dice.below(256)).unwrap());
        match dice.below(3) {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

fn noise(dice: &mut Dice) -> Vec<u8> {
    (0..=dice.below(300)).map(|_| u8::try_from(dice.below(256)).unwrap()).collect()
}

/// What is wrong in one way, and how it is answered by a server that is not to be fooled.
fn plain_cases(to: SocketAddr) {
    let get = "GET / HTTP/1.1\r\nHost: boat.dev\r\n";
    let check = |text: &str, expected: &[u16]| assert_eq!(answers(to, text.as_bytes()), expected, "{text:?}");
    check(&format!("{get}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab{HIDDEN}"), &[400]);
    check(&format!("{get}Content-Length: 1, 2\r\n\r\nab{HIDDEN}"), &[400]);
    check(&format!("{get}Content-Length: -1\r\n\r\n{HIDDEN}"), &[400]);
    check(&format!("{get}Content-Length: +1\r\n\r\na{HIDDEN}"), &[400]);
    check(&format!("{get}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{HIDDEN}"), &[400]);
    check(&format!("{get}X: a\r\n b\r\n\r\n{HIDDEN}"), &[400]);
    check(&format!("{get}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{HIDDEN}"), &[400]);
    check(&format!("{get}X\0: a\r\n\r\n{HIDDEN}"), &[400]);
    // Both: the one that may not lie is taken, and the connection ends with the answer.
    check(&format!("{get}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"), &[200]);
    check(&format!("{get}X: {}\r\n\r\n", "a".repeat(100_000)), &[431]);
    check(&format!("GET /{} HTTP/1.1\r\nHost: boat.dev\r\n\r\n", "a".repeat(100_000)), &[431]);
    check("GET / HTTP/9.9\r\nHost: boat.dev\r\n\r\n", &[400]);
    check("\u{16}\u{3}\u{1}\u{2}\u{0}\r\n\r\n", &[400]);
}

#[test]
fn no_head_hides_a_request_or_holds_a_connection() {
    let cluster = Cluster::start();
    cluster.push("hello");
    cluster.coracle("apply -f samples/hello/hello.yaml").ok();
    cluster.coracle("scale deploy/hello --replicas=1").ok();
    cluster.ready_pods("app=hello", 1);
    let backend = json!({"service": {"name": "hello", "port": {"name": "http"}}});
    let spec = json!({"ingressClassName": "coracle", "defaultBackend": backend});
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    cluster.api().create(ingresses, &json!({"metadata": {"name": "hello"}, "spec": spec}));
    let by_ingress = eventually("where the Ingress is", || {
        let object = cluster.get(&format!("{ingresses}/hello"));
        let port = object["status"]["loadBalancer"]["ingress"][0]["ports"][0]["port"].as_u64();
        port.map(|port| cluster.node_port(u16::try_from(port).unwrap())).ok_or_else(|| object["status"].to_string())
    });
    for (door, to) in [("pod", cluster.node_port(30080)), ("Ingress", by_ingress)] {
        eventually(door, || match http::get(to, "/healthz")? {
            (200, _) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        plain_cases(to);
        let mut dice = Dice(0x5eed_c0de);
        for _ in 0..MADE_UP {
            answers(to, &hiding(&mut dice));
            answers(to, &broken(&mut dice));
            answers(to, &noise(&mut dice));
        }
        assert_eq!(http::get(to, &format!("/last-by-{door}")).unwrap().0, 200);
    }
    let heard = eventually("the last request in the log", || {
        let heard = cluster.kubectl("logs deploy/hello").ok();
        if heard.contains("/last-by-Ingress") { Ok(heard) } else { Err("it is not there".to_owned()) }
    });
    assert!(heard.contains("/last-by-pod") && heard.contains("POST /whole"), "what was whole has come: {heard}");
    assert!(!heard.contains("/smuggled"), "{heard}");
}
