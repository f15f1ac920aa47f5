//! A tiny HTTP/1.1 client, independent of the libraries under test: one request, one answer, one connection.
//!
//! Invariant: what it returns was a whole answer; a connection that broke is an error, never an empty body.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server on this machine that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// GETs a path; returns status and body.
pub fn get(addr: SocketAddr, path: &str) -> Result<(u16, String), String> {
    exchange(addr, "GET", path, "").map_err(|error| format!("GET http://{addr}{path}: {error}"))
}

/// POSTs a text to a path; returns status and body.
pub fn post(addr: SocketAddr, path: &str, text: &str) -> Result<(u16, String), String> {
    exchange(addr, "POST", path, text).map_err(|error| format!("POST http://{addr}{path}: {error}"))
}

/// Sends any other method; returns status and body.
pub fn send(addr: SocketAddr, method: &str, path: &str, text: &str) -> Result<(u16, String), String> {
    exchange(addr, method, path, text).map_err(|error| format!("{method} http://{addr}{path}: {error}"))
}

fn exchange(addr: SocketAddr, method: &str, path: &str, text: &str) -> std::io::Result<(u16, String)> {
    let mut connection = TcpStream::connect_timeout(&addr, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    write!(connection, "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n")?;
    write!(connection, "Content-Length: {}\r\n\r\n{text}", text.len())?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| std::io::Error::other(format!("no whole answer: {:?}", String::from_utf8_lossy(&answer))))
}

/// Status and body of an answer that is whole.
pub fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let line = head.lines().find(|l| l.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(':')?.1.trim().to_ascii_lowercase())
    };
    if header("transfer-encoding").is_some_and(|t| t == "chunked") {
        return Some((status, unchunk(body)?));
    }
    let whole = header("content-length").is_none_or(|length| length.parse() == Ok(body.len()));
    whole.then(|| (status, body.to_owned()))
}

fn unchunk(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_answer_is_read_and_a_cut_one_is_not() {
        assert_eq!(parse("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), Some((200, "hi".to_owned())));
        assert_eq!(parse("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi"), None);
        let chunked = "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
        assert_eq!(parse(chunked), Some((404, "hi!".to_owned())));
        assert_eq!(parse(&chunked[..chunked.len() - 12]), None);
    }
}
