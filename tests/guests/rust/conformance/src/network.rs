//! The pod's network from inside: ports and families, who listens where, datagrams of every size, names and files.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use crate::{Check, Failure, holds, same, text};

pub const CHECKS: &[Check] = &[
    ("addresses are the pod's own", addresses),
    ("TCP and UDP have ports of the same number", protocols),
    ("ports of IPv6 and of IPv4 are apart, in either order", families),
    ("who listens for IPv6 is found by IPv4", six_alone),
    ("who listens at localhost is not found by the pod's address", localhost),
    ("low ports are like others", low),
    ("options are set and read", options),
    ("datagrams have up to 65507 bytes", sizes),
    ("one socket has many peers, and a connected one has one", peers),
    ("nobody listens: refused at once, also for datagrams", refused),
    ("a Service has an address that answers, and connections come from the pod's", service),
    ("the cluster's name server answers by datagrams", name_server),
    ("the pod's own names are known, and localhost has both families", own_names),
    ("the files of names say the same", files),
];

const PORT: u16 = 4720;

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const HERE6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn find(name: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    (name, port).to_socket_addrs().map(Iterator::collect).map_err(text)
}

/// The pod's address, which its host name stands for.
fn own() -> Result<IpAddr, Failure> {
    let name = std::env::var("HOSTNAME").map_err(text)?;
    find(&name, 0)?.first().map(SocketAddr::ip).ok_or_else(|| format!("{name} has no address"))
}

/// What a listener says of itself to who connects.
fn speaks(listener: &TcpListener, to: IpAddr, port: u16) -> Result<(), Failure> {
    let mut client = TcpStream::connect((to, port)).map_err(text)?;
    let (mut server, _) = listener.accept().map_err(text)?;
    server.write_all(b"ahoy").map_err(text)?;
    drop(server);
    let mut heard = String::new();
    client.read_to_string(&mut heard).map_err(text)?;
    same(heard.as_str(), "ahoy")
}

fn addresses() -> Result<(), Failure> {
    let own = own()?;
    let listener = TcpListener::bind((ANY, PORT)).map_err(text)?;
    same(listener.local_addr().map_err(text)?, SocketAddr::new(ANY, PORT))?;
    let client = TcpStream::connect((own, PORT)).map_err(text)?;
    let (server, peer) = listener.accept().map_err(text)?;
    same(client.peer_addr().map_err(text)?, SocketAddr::new(own, PORT))?;
    same(client.local_addr().map_err(text)?.ip(), own)?;
    same(server.local_addr().map_err(text)?, SocketAddr::new(own, PORT))?;
    same(peer, client.local_addr().map_err(text)?)?;
    let local = TcpStream::connect((HERE, PORT)).map_err(text)?;
    let (_server, peer) = listener.accept().map_err(text)?;
    same((peer.ip(), peer), (HERE, local.local_addr().map_err(text)?))?;
    let bound = UdpSocket::bind((own, 0)).map_err(text)?.local_addr().map_err(text)?;
    holds(bound.ip() == own && bound.port() != 0, "a socket is bound to the pod's address")
}

fn protocols() -> Result<(), Failure> {
    let listener = TcpListener::bind((ANY, PORT)).map_err(text)?;
    let socket = UdpSocket::bind((ANY, PORT)).map_err(text)?;
    same(UdpSocket::bind((ANY, PORT)).map(drop).map_err(|e| e.kind()), Err(ErrorKind::AddrInUse))?;
    drop(listener);
    TcpListener::bind((ANY, PORT)).map_err(text)?;
    drop(socket);
    UdpSocket::bind((ANY, PORT)).map(drop).map_err(text)
}

fn families() -> Result<(), Failure> {
    for (first, second) in [(ANY6, ANY), (ANY, ANY6)] {
        let first = TcpListener::bind((first, PORT)).map_err(text)?;
        let second = TcpListener::bind((second, PORT)).map_err(text)?;
        let is_six = |listener: &TcpListener| listener.local_addr().is_ok_and(|address| address.is_ipv6());
        let (six, four) = if is_six(&first) { (&first, &second) } else { (&second, &first) };
        speaks(six, HERE6, PORT)?;
        speaks(four, HERE, PORT)?;
        speaks(four, own()?, PORT)?;
    }
    Ok(())
}

fn six_alone() -> Result<(), Failure> {
    let listener = TcpListener::bind((ANY6, PORT)).map_err(text)?;
    same(listener.local_addr().map_err(text)?, SocketAddr::new(ANY6, PORT))?;
    for to in [HERE, HERE6, own()?] {
        speaks(&listener, to, PORT)?;
    }
    let socket = UdpSocket::bind((ANY6, PORT)).map_err(text)?;
    let client = UdpSocket::bind((ANY, 0)).map_err(text)?;
    client.send_to(b"ahoy", (own()?, PORT)).map_err(text)?;
    let (length, from) = socket.recv_from(&mut [0; 8]).map_err(text)?;
    holds(from.is_ipv6(), "its peers have addresses of IPv6")?;
    socket.send_to(b"aye", from).map_err(text)?;
    same((length, client.recv_from(&mut [0; 8]).map_err(text)?.0), (4, 3))
}

fn localhost() -> Result<(), Failure> {
    let listener = TcpListener::bind((HERE, PORT)).map_err(text)?;
    speaks(&listener, HERE, PORT)?;
    let found = TcpStream::connect((own()?, PORT)).map(drop).map_err(|error| error.kind());
    same(found, Err(ErrorKind::ConnectionRefused))?;
    same(TcpListener::bind((ANY, PORT)).map(drop).map_err(|e| e.kind()), Err(ErrorKind::AddrInUse))?;
    let other = TcpListener::bind((own()?, PORT)).map_err(text)?;
    speaks(&other, own()?, PORT)
}

fn low() -> Result<(), Failure> {
    let web = TcpListener::bind((ANY, 80)).map_err(text)?;
    speaks(&web, HERE, 80)?;
    speaks(&web, own()?, 80)?;
    let names = UdpSocket::bind((ANY, 53)).map_err(text)?;
    let client = UdpSocket::bind((ANY, 0)).map_err(text)?;
    client.send_to(b"ahoy", (own()?, 53)).map_err(text)?;
    let (_, from) = names.recv_from(&mut [0; 8]).map_err(text)?;
    same(from.ip(), own()?)
}

fn options() -> Result<(), Failure> {
    let listener = TcpListener::bind((ANY, PORT)).map_err(text)?;
    let client = TcpStream::connect((HERE, PORT)).map_err(text)?;
    client.set_ttl(42).map_err(text)?;
    same(client.ttl().map_err(text)?, 42)?;
    listener.set_nonblocking(true).map_err(text)?;
    let (_first, _) = listener.accept().map_err(text)?;
    same(listener.accept().map(drop).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock))
}

fn sizes() -> Result<(), Failure> {
    let server = UdpSocket::bind((ANY, PORT)).map_err(text)?;
    let client = UdpSocket::bind((ANY, 0)).map_err(text)?;
    let mut heard = vec![0; 65_536];
    for size in [0, 1, 1472, 9000, 65_507] {
        let sent = vec![u8::try_from(size % 251).unwrap_or(0); size];
        client.send_to(&sent, (own()?, PORT)).map_err(text)?;
        let (length, _) = server.recv_from(&mut heard).map_err(text)?;
        holds(heard[..length] == sent, &format!("{size} bytes came as they were sent"))?;
    }
    holds(client.send_to(&vec![0; 65_508], (own()?, PORT)).is_err(), "more than fit are refused")
}

fn peers() -> Result<(), Failure> {
    let servers = [PORT, PORT + 1, PORT + 2].map(|port| UdpSocket::bind((ANY, port)));
    let client = UdpSocket::bind((ANY, 0)).map_err(text)?;
    let mut heard = [0; 8];
    for (number, server) in servers.iter().enumerate() {
        let server = server.as_ref().map_err(text)?;
        let at = SocketAddr::new(own()?, server.local_addr().map_err(text)?.port());
        client.send_to(&[number as u8], at).map_err(text)?;
        let (_, from) = server.recv_from(&mut heard).map_err(text)?;
        server.send_to(&[number as u8 + 100], from).map_err(text)?;
        let (_, answered) = client.recv_from(&mut heard).map_err(text)?;
        same((answered, heard[0]), (at, number as u8 + 100))?;
    }
    let [one, other, _] = servers;
    let (one, other) = (one.map_err(text)?, other.map_err(text)?);
    client.connect((own()?, PORT)).map_err(text)?;
    same(client.peer_addr().map_err(text)?, SocketAddr::new(own()?, PORT))?;
    client.send(b"x").map_err(text)?;
    let (_, from) = one.recv_from(&mut heard).map_err(text)?;
    other.send_to(b"stranger", from).map_err(text)?;
    one.send_to(b"friend", from).map_err(text)?;
    let length = client.recv(&mut heard).map_err(text)?;
    same(&heard[..length], b"friend")
}

fn refused() -> Result<(), Failure> {
    let own = own()?;
    let found = TcpStream::connect((own, 4799)).map(drop).map_err(|error| error.kind());
    same(found, Err(ErrorKind::ConnectionRefused))?;
    let socket = UdpSocket::bind((ANY, 0)).map_err(text)?;
    let found = socket.send_to(b"x", (own, 4799)).map_err(|error| error.kind());
    same(found, Err(ErrorKind::ConnectionRefused))
}

fn service() -> Result<(), Failure> {
    let at = find("hello", 80)?;
    let at = at.first().ok_or("hello has no address")?;
    let mut client = TcpStream::connect(at).map_err(text)?;
    same(client.peer_addr().map_err(text)?, *at)?;
    same(client.local_addr().map_err(text)?.ip(), own()?)?;
    client.write_all(b"GET /healthz HTTP/1.0\r\nhost: hello\r\n\r\n").map_err(text)?;
    let mut heard = String::new();
    client.read_to_string(&mut heard).map_err(text)?;
    holds(heard.starts_with("HTTP/1.") && heard.ends_with("ok\n"), &heard)
}

fn name_server() -> Result<(), Failure> {
    let at = find("kube-dns.kube-system", 53)?;
    let at = *at.first().ok_or("kube-dns has no address")?;
    let mut question = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["kubernetes", "default", "svc", "cluster", "local"] {
        question.push(label.len() as u8);
        question.extend(label.bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let kubernetes = find("kubernetes.default", 443)?;
    let IpAddr::V4(wanted) = kubernetes.first().ok_or("kubernetes has no address")?.ip() else {
        return Err("kubernetes has no address of IPv4".to_owned());
    };
    for connected in [false, true] {
        let socket = UdpSocket::bind((ANY, 0)).map_err(text)?;
        if connected {
            socket.connect(at).and_then(|()| socket.send(&question)).map_err(text)?;
        } else {
            socket.send_to(&question, at).map_err(text)?;
        }
        let mut answer = [0; 512];
        let (length, from) = socket.recv_from(&mut answer).map_err(text)?;
        same(from, at)?;
        holds(answer[..2] == question[..2], "it answers this question")?;
        holds(answer[..length].ends_with(&wanted.octets()) || length > question.len() + 16, "with the address")?;
    }
    Ok(())
}

fn own_names() -> Result<(), Failure> {
    let ips = |name| find(name, 0).map(|found| found.iter().map(SocketAddr::ip).collect::<Vec<_>>());
    same(ips("localhost")?, vec![HERE, HERE6])?;
    same(ips("db.example")?, vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 44))])?;
    holds(find("nobody.default", 0).is_err(), "nobody has that name")
}

fn files() -> Result<(), Failure> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(text);
    let own = own()?.to_string();
    let hosts = read("/etc/hosts")?;
    let has = |ip: &str, name: &str| hosts.lines().any(|line| line.split_whitespace().eq([ip, name]));
    holds(has(&own, "conformance") && has("192.0.2.44", "db.example"), &hosts)?;
    let resolv = read("/etc/resolv.conf")?;
    holds(resolv.contains("search default.svc.cluster.local svc.cluster.local cluster.local"), &resolv)?;
    let server = find("kube-dns.kube-system", 53)?.first().map(|at| at.ip().to_string()).unwrap_or_default();
    holds(resolv.contains(&format!("nameserver {server}\n")) && resolv.contains("ndots:5"), &resolv)?;
    same(read("/etc/hostname")?, "conformance\n".to_owned())
}
