//! Asks others what a test tells it to ask, and says in a word how that went; so a test sees the network as a pod does.
//!
//! `caller` serves at port 7000: each connection brings one line and is given one.
//! - `tcp HOST:PORT` connects
//! - `udp HOST:PORT` sends a datagram and waits for one; `udp HOST:PORT SECONDS` waits longer
//! - `http HOST:PORT` asks for `/`
//! - `name HOST` looks up
//! - `chain HOST:PORT COUNT` asks for `/healthz` again and again, and answers with the microseconds that each took
//!
//! The answer is `ok` (for `name`, the addresses), `refused`, `denied`, `silent`, `unknown`, or what else there was.
//! `caller datagrams PORT` sends every datagram back. `caller relay PORT` joins each connection at PORT with one at the
//! port after it, so that a test is the server of a pod.

use std::env;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{ErrorCode, Fields, OutgoingBody, OutgoingRequest, Scheme};

/// Where questions are asked.
const PORT: u16 = 7000;

/// How long a datagram is waited for, if nothing is said.
const SILENCE: Duration = Duration::from_secs(2);

/// How often somebody looks whether something has come, in nanoseconds.
const GLANCE: u64 = 5_000_000;

/// How much of an answer is read at once.
const PIECE: u64 = 64 * 1024;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("datagrams") => datagrams(arguments[2].parse().expect("a port")),
        Some("relay") => relay(arguments[2].parse().expect("a port")),
        _ => questions(),
    }
}

fn relay(port: u16) {
    let listen = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("the port is free");
    let (clients, servers) = (listen(port), listen(port + 1));
    println!("joins connections at port {port} with others");
    loop {
        let joined = clients.accept().and_then(|(client, _)| join(&client, &servers.accept()?.0));
        println!("joined: {joined:?}");
    }
}

/// Carries what each says to the other, until both have said all.
fn join(one: &TcpStream, other: &TcpStream) -> std::io::Result<()> {
    one.set_nonblocking(true)?;
    other.set_nonblocking(true)?;
    let mut ways = [Way::new(one, other), Way::new(other, one)];
    while ways.iter().any(|way| !way.ended) {
        let mut moved = false;
        for way in &mut ways {
            moved |= way.carry()?;
        }
        if !moved {
            subscribe_duration(GLANCE).block();
        }
    }
    Ok(())
}

/// One direction.
struct Way<'a> {
    from: &'a TcpStream,
    to: &'a TcpStream,
    held: Vec<u8>,
    ended: bool,
}

impl<'a> Way<'a> {
    fn new(from: &'a TcpStream, to: &'a TcpStream) -> Self {
        Self { from, to, held: Vec::new(), ended: false }
    }

    /// Carries a piece on; whether there was something to do.
    fn carry(&mut self) -> std::io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.held.is_empty() {
            self.held.resize(PIECE as usize, 0);
            let read = self.from.read(&mut self.held);
            self.held.truncate(*read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => {
                    self.ended = true;
                    return self.to.shutdown(Shutdown::Write).map(|()| true);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                read => read?,
            };
        }
        match self.to.write(&self.held) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            written => {
                self.held.drain(..written?);
                Ok(true)
            }
        }
    }
}

fn questions() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).expect("the port is free");
    println!("asks what it is told to ask at port {PORT}");
    for stream in listener.incoming().map_while(Result::ok) {
        if let Err(error) = question(&stream) {
            println!("a question broke off: {error}");
        }
    }
}

fn question(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer = match line.trim().split_once(' ') {
        Some(("tcp", to)) => tcp(to),
        Some(("udp", to)) => udp(to),
        Some(("http", to)) => http(to),
        Some(("name", name)) => names(name),
        Some(("chain", rest)) => {
            let (to, count) = rest.split_once(' ').expect("how often");
            chain(to, count.parse().expect("a number"))
        }
        _ => return Ok(()),
    };
    println!("{} {:.100}", line.trim(), answer);
    writeln!(stream, "{answer}")
}

fn word(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "refused".to_owned(),
        ErrorKind::PermissionDenied => "denied".to_owned(),
        _ => error.to_string(),
    }
}

fn tcp(to: &str) -> String {
    TcpStream::connect(to).map_or_else(|error| word(&error), |_| "ok".to_owned())
}

fn udp(asked: &str) -> String {
    let (to, patience) = match asked.split_once(' ') {
        Some((to, seconds)) => (to, Duration::from_secs(seconds.parse().expect("seconds"))),
        None => (asked, SILENCE),
    };
    let exchange = || -> std::io::Result<bool> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        socket.send_to(b"ahoy", to)?;
        let sent = Instant::now();
        while sent.elapsed() < patience {
            match socket.recv_from(&mut [0; 16]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => subscribe_duration(GLANCE).block(),
                received => return received.map(|_| true),
            }
        }
        Ok(false)
    };
    match exchange() {
        Ok(true) => "ok".to_owned(),
        Ok(false) => "silent".to_owned(),
        Err(error) => word(&error),
    }
}

fn names(name: &str) -> String {
    match (name, 0).to_socket_addrs() {
        Ok(found) => found.map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" "),
        Err(_) => "unknown".to_owned(),
    }
}

fn http(to: &str) -> String {
    match fetch(to, "/") {
        Ok(200) => "ok".to_owned(),
        Ok(status) => status.to_string(),
        Err(ErrorCode::ConnectionRefused) => "refused".to_owned(),
        Err(ErrorCode::HttpRequestDenied) => "denied".to_owned(),
        Err(ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound) => "unknown".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The status of an answer that has come whole.
fn fetch(to: &str, path: &str) -> Result<u16, ErrorCode> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_authority(Some(to)).expect("an authority");
    request.set_path_with_query(Some(path)).expect("a path");
    let body = request.body().expect("a body is taken once");
    OutgoingBody::finish(body, None).expect("it is empty");
    let future = handle(request, None)?;
    future.subscribe().block();
    let response = future.get().expect("it is ready").expect("it is asked once")?;
    let body = response.consume().expect("a body is taken once");
    let stream = body.stream().expect("a stream is taken once");
    while stream.blocking_read(PIECE).is_ok() {}
    Ok(response.status())
}

fn chain(to: &str, count: usize) -> String {
    let one = |_| {
        let begun = Instant::now();
        match fetch(to, "/healthz") {
            Ok(200) => begun.elapsed().as_micros().to_string(),
            other => format!("{other:?}"),
        }
    };
    (0..count).map(one).collect::<Vec<_>>().join(" ")
}

fn datagrams(port: u16) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("the port is free");
    println!("sends datagrams back at port {port}");
    let mut buffer = [0; 2048];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                println!("{from}: {}", String::from_utf8_lossy(&buffer[..length]));
                if let Err(error) = socket.send_to(&buffer[..length], from) {
                    println!("{from}: {error}");
                }
            }
            Err(error) => println!("nothing received: {error}"),
        }
    }
}
