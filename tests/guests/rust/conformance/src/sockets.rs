//! `wasi:sockets` through `std::net`: TCP, UDP and names.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use crate::{Check, Failure, holds, same, text};

pub const CHECKS: &[Check] = &[
    ("a TCP connection to itself carries both ways", tcp),
    ("much goes through a TCP connection", much),
    ("a port that nobody listens on refuses", refused),
    ("a port is given once, and free again after", taken),
    ("datagrams go to and fro", udp),
    ("names of Services are found, others not", names),
    ("the system's own addresses are not reached", outside),
];

/// A port of the pod's own.
const PORT: u16 = 4711;

fn pair(port: u16) -> Result<(TcpListener, TcpStream, TcpStream), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(text)?;
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(text)?;
    let (server, peer) = listener.accept().map_err(text)?;
    same(peer.port(), client.local_addr().map_err(text)?.port())?;
    Ok((listener, client, server))
}

fn tcp() -> Result<(), Failure> {
    let (listener, mut client, mut server) = pair(PORT)?;
    same(listener.local_addr().map_err(text)?.port(), PORT)?;
    same(client.peer_addr().map_err(text)?, SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))?;
    client.set_nodelay(true).map_err(text)?;
    client.write_all(b"ahoy").map_err(text)?;
    client.shutdown(Shutdown::Write).map_err(text)?;
    let mut heard = String::new();
    server.read_to_string(&mut heard).map_err(text)?;
    same(heard.as_str(), "ahoy")?;
    server.write_all(b"aye").map_err(text)?;
    drop(server);
    heard.clear();
    client.read_to_string(&mut heard).map_err(text)?;
    same(heard.as_str(), "aye")
}

fn much() -> Result<(), Failure> {
    let (_listener, mut client, mut server) = pair(PORT)?;
    let part = [7; 8192];
    let mut heard = [0; 8192];
    for _ in 0..512 {
        client.write_all(&part).map_err(text)?;
        server.read_exact(&mut heard).map_err(text)?;
    }
    holds(heard == part, "4 MiB came as they were sent")
}

fn refused() -> Result<(), Failure> {
    let found = TcpStream::connect((Ipv4Addr::LOCALHOST, 4799)).map(drop).map_err(|error| error.kind());
    same(found, Err(ErrorKind::ConnectionRefused))
}

fn taken() -> Result<(), Failure> {
    let first = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).map_err(text)?;
    let second = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).map(drop).map_err(|error| error.kind());
    same(second, Err(ErrorKind::AddrInUse))?;
    drop(first);
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).map(drop).map_err(text)?;
    let any = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(text)?;
    holds(any.local_addr().map_err(text)?.port() != 0, "port 0 stands for one that is free")
}

fn udp() -> Result<(), Failure> {
    let server = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).map_err(text)?;
    let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(text)?;
    client.connect((Ipv4Addr::LOCALHOST, PORT)).map_err(text)?;
    client.send(b"ahoy").map_err(text)?;
    let mut heard = [0; 16];
    let (length, from) = server.recv_from(&mut heard).map_err(text)?;
    same(&heard[..length], b"ahoy")?;
    server.send_to(b"aye", from).map_err(text)?;
    let length = client.recv(&mut heard).map_err(text)?;
    same(&heard[..length], b"aye")
}

fn names() -> Result<(), Failure> {
    for name in ["hello", "hello.default", "hello.default.svc.cluster.local"] {
        let found = (name, 80).to_socket_addrs().map_err(|error| format!("{name}: {error}"))?;
        same(found.count(), 1)?;
    }
    same(("127.0.0.1", 1).to_socket_addrs().map_err(text)?.next(), Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))))?;
    holds(("nobody.default.svc.cluster.local", 80).to_socket_addrs().is_err(), "nobody is not found")
}

fn outside() -> Result<(), Failure> {
    holds(UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 1), 1)).is_ok(), "the pod's own loopback is its own")?;
    let found = TcpListener::bind((Ipv4Addr::new(192, 0, 2, 1), PORT)).map(drop);
    holds(found.is_err(), "an address that is not the pod's cannot be bound")
}
