//! How fast is the proxy?
//!
//! Goal: what is carried through a Service comes at 0.9 of the speed that it has without one, and a word there and back
//! takes no longer than by another proxy in user space.
//! Method: a server of this machine behind an address of its own, which an EndpointSlice names; a guest (`samples/echo`)
//! at its pod's address. Both are asked directly and through Coracle's NodePort, the first also through Debian's haproxy
//! and nginx where they are installed. 256 MB are sent on one connection and on eight and read to the end; what comes
//! back of a guest is its echo, so each byte goes twice. Then a connection says a word and waits for it, again and again.
//! Three rounds, the ways in turn; the median is shown.
//! Back of the envelope: loopback carries 2–5 GB/s a core; a proxy that copies adds two system calls and two copies for
//! each piece, one that splices adds the calls alone. A word: two more hops, 15 µs each.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that cannot measure ends with a message")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use coracle_benches::{Spread, Table};
use coracle_tests::{Cluster, eventually};
use serde_json::json;

const BYTES: usize = 256 << 20;
const PIECE: usize = 64 << 10;
const WORDS: usize = 5000;
const ROUNDS: usize = 3;
const NODE_PORT: u16 = 31_007;
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A way to an echo.
struct Way {
    name: String,
    address: SocketAddr,
    speeds: [Vec<f64>; 2],
    words: Vec<f64>,
}

const CONNECTIONS: [usize; 2] = [1, 8];

fn main() {
    let cluster = Cluster::start();
    let [_, second, _, fourth] = cluster.address().octets();
    let host = Ipv4Addr::new(127, 60, second, fourth);
    let server = echo_server(host);
    route(&cluster, server);
    let guest = guest(&cluster);
    let service = cluster.get(&format!("{SERVICES}/echo"));
    let through = service.pointer("/spec/clusterIP").and_then(|ip| ip.as_str()).expect("an address");
    let mut ways = vec![
        Way::new("host, direct", server),
        Way::new("host, Coracle's NodePort", cluster.node_port(NODE_PORT)),
        Way::new("guest, direct", guest),
        Way::new("guest, Coracle's ClusterIP", SocketAddr::new(through.parse().expect("an address"), 7777)),
    ];
    let _proxies: Vec<Proxy> =
        ["haproxy", "nginx"].iter().filter_map(|name| Proxy::start(name, &cluster, host, server, &mut ways)).collect();
    for way in &ways {
        eventually(&way.name, || word(way.address).map_err(|error| error.to_string()));
    }
    for _ in 0..ROUNDS {
        for way in &mut ways {
            for (connections, speeds) in CONNECTIONS.iter().zip(&mut way.speeds) {
                speeds.push(throughput(way.address, *connections));
            }
            way.words.extend(words(way.address));
        }
    }
    let mut table = Table::new(&["way", "MB/s, 1 connection", "MB/s, 8 connections", "word p50 µs", "word p99 µs"]);
    for way in ways {
        let [one, eight] = way.speeds.map(|speeds| format!("{:.0}", Spread::of(speeds).median()));
        let words = Spread::of(way.words);
        table.row(&[way.name, one, eight, format!("{:.0}", words.median()), format!("{:.0}", words.percentile(99))]);
    }
    table.print("How fast is the proxy?");
}

impl Way {
    fn new(name: &str, address: SocketAddr) -> Self {
        Self { name: name.to_owned(), address, speeds: Default::default(), words: Vec::new() }
    }
}

/// A server that gives everything back.
fn echo_server(host: Ipv4Addr) -> SocketAddr {
    let listener = TcpListener::bind((host, 0)).expect("a listener");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        while let Ok((mut reader, _)) = listener.accept() {
            reader.set_nodelay(true).expect("no delay");
            thread::spawn(move || {
                let (mut writer, mut buffer) = (reader.try_clone().expect("a clone"), vec![0; PIECE]);
                while let Ok(count) = reader.read(&mut buffer) {
                    if count == 0 || writer.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
                // Who has left needs no end.
                let _ = writer.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

fn route(cluster: &Cluster, server: SocketAddr) {
    let ports = json!([{"port": 80, "nodePort": NODE_PORT}]);
    let service = json!({"metadata": {"name": "host"}, "spec": {"type": "NodePort", "ports": ports}});
    cluster.api().create(SERVICES, &service);
    let labels = json!({"kubernetes.io/service-name": "host"});
    let slice = json!({"metadata": {"name": "host-1", "labels": labels}, "addressType": "IPv4",
        "ports": [{"port": server.port()}], "endpoints": [{"addresses": [server.ip()]}]});
    cluster.api().create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice);
}

fn guest(cluster: &Cluster) -> SocketAddr {
    cluster.push("echo");
    cluster.coracle("apply -f samples/echo/echo.yaml").ok();
    let pod = cluster.ready_pods("app=echo", 1).remove(0);
    let pod = cluster.get(&format!("/api/v1/namespaces/default/pods/{pod}"));
    let ip = pod.pointer("/status/podIP").and_then(|ip| ip.as_str()).expect("an address");
    SocketAddr::new(ip.parse().expect("an address"), 7777)
}

/// Another proxy, ended with this bench.
struct Proxy(Child);

impl Proxy {
    /// Starts it, if it is installed, and adds its way.
    fn start(name: &str, cluster: &Cluster, host: Ipv4Addr, to: SocketAddr, ways: &mut Vec<Way>) -> Option<Self> {
        let program =
            ["/usr/sbin", "/usr/bin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())?;
        let listener = TcpListener::bind((host, 0)).expect("a free port");
        let at = listener.local_addr().expect("an address");
        drop(listener);
        let dir = cluster.dir().display();
        let (config, arguments) = match name {
            "haproxy" => (
                format!(
                    "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n option splice-auto\nlisten l\n bind {at}\n server s {to}\n"
                ),
                vec!["-f".to_owned()],
            ),
            _ => (
                format!(
                    "daemon off; pid {dir}/nginx.pid; error_log stderr; load_module /usr/lib/nginx/modules/ngx_stream_module.so;\nevents {{}}\nstream {{ server {{ listen {at}; proxy_pass {to}; tcp_nodelay on; }} }}\n"
                ),
                vec!["-p".to_owned(), dir.to_string(), "-c".to_owned()],
            ),
        };
        let file = cluster.file(&format!("{name}.conf"), config);
        let mut command = Command::new(program);
        let child = command.args(arguments).arg(file).stderr(Stdio::null()).spawn().expect("it starts");
        ways.push(Way::new(&format!("host, {name}"), at));
        Some(Self(child))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Megabytes a second, each counted once though it goes there and back.
fn throughput(address: SocketAddr, connections: usize) -> f64 {
    let pieces = BYTES / connections / PIECE;
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..connections {
            let mut reader = TcpStream::connect(address).expect("a connection");
            let mut writer = reader.try_clone().expect("a clone");
            scope.spawn(move || {
                let piece = vec![7; PIECE];
                (0..pieces).for_each(|_| writer.write_all(&piece).expect("written"));
                writer.shutdown(Shutdown::Write).expect("shut down");
            });
            scope.spawn(move || {
                let (mut buffer, mut count) = (vec![0; PIECE], 0);
                loop {
                    match reader.read(&mut buffer).expect("read") {
                        0 => break,
                        read => count += read,
                    }
                }
                assert_eq!(count, pieces * PIECE, "all came back");
            });
        }
    });
    f64::from(u32::try_from(BYTES / 1_000_000).expect("few")) / begun.elapsed().as_secs_f64()
}

fn word(address: SocketAddr) -> std::io::Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.write_all(b"coracle!")?;
    connection.read_exact(&mut [0; 8])
}

/// Microseconds from a word to its echo.
fn words(address: SocketAddr) -> Vec<f64> {
    let mut connection = TcpStream::connect(address).expect("a connection");
    connection.set_nodelay(true).expect("no delay");
    let mut said = *b"coracle!";
    let talk = (0..WORDS).map(|_| {
        let begun = Instant::now();
        connection.write_all(&said).expect("written");
        connection.read_exact(&mut said).expect("read");
        begun.elapsed().as_secs_f64() * 1e6
    });
    talk.collect()
}
