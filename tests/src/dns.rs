//! A hand-made DNS question over UDP, so that the server's library is not tested by itself.
//!
//! Source: RFC 1035, section 4. It asks for A records only, and reads nothing else out of an answer.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const TYPE_A: [u8; 2] = [0, 1];
const CLASS_IN: [u8; 2] = [0, 1];
const ID: [u8; 2] = [0x5a, 0xa5];
/// Recursion desired, as stub resolvers ask.
const FLAGS: [u8; 2] = [0x01, 0x00];
const HEADER: usize = 12;

/// An answer: its response code (0 is success, 3 is "no such name") and its addresses.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The response code.
    pub code: u8,
    /// The A records.
    pub addresses: Vec<Ipv4Addr>,
}

/// Asks for the A records of a name.
pub fn ask(server: SocketAddr, name: &str) -> Result<Answer, String> {
    let exchange = || -> std::io::Result<Vec<u8>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.send_to(&question(name), server)?;
        let mut buffer = [0; 1500];
        let (length, _) = socket.recv_from(&mut buffer)?;
        Ok(buffer[..length].to_vec())
    };
    let message = exchange().map_err(|error| format!("{name} at {server}: {error}"))?;
    parse(&message).ok_or_else(|| format!("{name} at {server}: not an answer: {message:02x?}"))
}

/// A name server of the world outside, which knows what a test tells it.
pub struct Outside {
    address: SocketAddr,
    known: Arc<Mutex<HashMap<String, Ipv4Addr>>>,
    _thread: JoinHandle<()>,
}

impl Outside {
    /// Starts one; it answers for as long as the test runs.
    pub fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("an address");
        let address = socket.local_addr().expect("an address");
        let known: Arc<Mutex<HashMap<String, Ipv4Addr>>> = Arc::default();
        let names = Arc::clone(&known);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                let reply = reply(&buffer[..length], &names.lock().expect("a test that holds it has failed"));
                let _ = reply.map(|reply| socket.send_to(&reply, client));
            }
        });
        Self { address, known, _thread: thread }
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it knows this name.
    pub fn knows(&self, name: &str, ip: Ipv4Addr) {
        self.known.lock().expect("a test that holds it has failed").insert(name.to_owned(), ip);
    }
}

/// The answer to a question: an address for A, nothing for other types, and for a name that is not known that.
fn reply(message: &[u8], known: &HashMap<String, Ipv4Addr>) -> Option<Vec<u8>> {
    let end = after_name(message, HEADER)? + 4;
    let mut labels = Vec::new();
    let mut at = HEADER;
    while let Some(length) = message.get(at).filter(|length| **length > 0) {
        let label = message.get(at + 1..at + 1 + usize::from(*length))?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + usize::from(*length);
    }
    let ip = known.get(&labels.join("."));
    let is_address = message.get(end - 4..end)? == [TYPE_A, CLASS_IN].concat();
    let mut reply = message.get(..end)?.to_vec();
    // A response, recursion available; neither answers nor the client's EDNS.
    reply[2..4].copy_from_slice(&[0x81, if ip.is_some() { 0x80 } else { 0x83 }]);
    reply[6..HEADER].fill(0);
    if let Some(ip) = ip.filter(|_| is_address) {
        reply[7] = 1;
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        reply.extend(ip.octets());
    }
    Some(reply)
}

fn question(name: &str) -> Vec<u8> {
    let mut message = [ID, FLAGS, [0, 1], [0, 0], [0, 0], [0, 0]].concat();
    for label in name.trim_end_matches('.').split('.') {
        message.push(u8::try_from(label.len()).expect("a label is short"));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend([TYPE_A, CLASS_IN].concat());
    message
}

fn parse(message: &[u8]) -> Option<Answer> {
    let pair = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    if message.get(..2)? != ID || message.get(2)? & 0x80 == 0 {
        return None;
    }
    let mut at = HEADER;
    for _ in 0..pair(4)? {
        at = after_name(message, at)? + 4;
    }
    let mut addresses = Vec::new();
    for _ in 0..pair(6)? {
        at = after_name(message, at)?;
        let (kind, length) = (pair(at)?, usize::from(pair(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        if let (1, Ok(octets)) = (kind, <[u8; 4]>::try_from(data)) {
            addresses.push(Ipv4Addr::from(octets));
        }
        at += 10 + length;
    }
    Some(Answer { code: message.get(3)? & 0x0f, addresses })
}

/// Where a name ends: after its zero, or after a pointer to its rest.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_a_compressed_name_is_read() {
        let mut message = question("a.b");
        message[2] |= 0x80;
        message[7] = 1;
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 127, 43, 0, 1]);
        assert_eq!(parse(&message), Some(Answer { code: 0, addresses: vec![Ipv4Addr::new(127, 43, 0, 1)] }));
        assert_eq!(parse(&question("a.b")), None);
    }
}
