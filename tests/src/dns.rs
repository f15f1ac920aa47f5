//! A hand-made DNS question over UDP, so that the server's library is not tested by itself.
//!
//! Source: RFC 1035, section 4. It asks for A records only, and reads nothing else out of an answer.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
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
