//! The frames of SPDY/3.1, as bytes. Pure.
//!
//! A frame begins with eight bytes: of a control frame its version, kind, flags and length, of a data frame its stream,
//! flags and length. What is not needed to serve streams (settings, windows, priorities) is read and left alone.

use super::headers::{Deflater, Headers, Inflater};

/// How long the beginning of a frame is, in bytes.
pub(super) const HEAD_BYTES: usize = 8;

/// The largest control frame, in bytes: headers are the largest thing in one, and are short.
const CONTROL_BYTES_MAX: u32 = 64 * 1024;

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// The flag of a stream's last frame.
const FIN: u8 = 1;

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::kubelet) enum Broken {
    #[error("a frame is of another version than 3")]
    Version,
    #[error("a frame is larger than allowed")]
    TooLarge,
    #[error("a control frame has no sense")]
    Frame,
    #[error("headers are not compressed as they must be")]
    Compression,
    #[error("headers have no sense")]
    Headers,
}

/// The beginning of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// So many bytes of a stream follow.
    Data { stream: u32, last: bool, length: u32 },
    /// A control frame of so many bytes follows.
    Control { kind: u16, flags: u8, length: u32 },
}

impl Head {
    pub(super) fn parse(bytes: [u8; HEAD_BYTES]) -> Result<Self, Broken> {
        let [a, b, c, d, flags, e, f, g] = bytes;
        let first = u32::from_be_bytes([a, b, c, d]);
        let length = u32::from_be_bytes([0, e, f, g]);
        if first >> 31 == 0 {
            return Ok(Self::Data { stream: first, last: flags & FIN != 0, length });
        }
        if u16::from_be_bytes([a & 0x7f, b]) != VERSION {
            return Err(Broken::Version);
        }
        if length > CONTROL_BYTES_MAX {
            return Err(Broken::TooLarge);
        }
        Ok(Self::Control { kind: u16::from_be_bytes([c, d]), flags, length })
    }
}

/// What a client's control frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Control {
    /// A stream begins; perhaps with all that the client has to say.
    Begin { stream: u32, last: bool, headers: Headers },
    /// A stream is thrown away.
    Reset { stream: u32 },
    /// Are you there?
    Ping { id: u32 },
    /// Nothing that matters here.
    Other,
}

impl Control {
    pub(super) fn parse(kind: u16, flags: u8, bytes: &[u8], inflater: &mut Inflater) -> Result<Self, Broken> {
        let word = |at: usize| -> Result<u32, Broken> {
            let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Broken::Frame)?;
            Ok(u32::from_be_bytes(*bytes))
        };
        let stream = || Ok(word(0)? & 0x7fff_ffff);
        let block = |at: usize| bytes.get(at..).ok_or(Broken::Frame);
        match kind {
            SYN_STREAM => {
                let headers = inflater.read(block(10)?)?;
                Ok(Self::Begin { stream: stream()?, last: flags & FIN != 0, headers })
            }
            SYN_REPLY | HEADERS => {
                inflater.read(block(4)?)?;
                Ok(Self::Other)
            }
            RST_STREAM => Ok(Self::Reset { stream: stream()? }),
            PING => Ok(Self::Ping { id: word(0)? }),
            _ => Ok(Self::Other),
        }
    }
}

/// Why a stream is thrown away by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    ProtocolError = 1,
    Refused = 3,
}

/// The beginning of a data frame.
pub(super) fn data(stream: u32, last: bool, length: usize) -> [u8; HEAD_BYTES] {
    let [a, b, c, d] = (stream & 0x7fff_ffff).to_be_bytes();
    let [_, e, f, g] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [a, b, c, d, u8::from(last) * FIN, e, f, g]
}

/// Takes a stream on.
pub(super) fn reply(stream: u32, deflater: &mut Deflater) -> Result<Vec<u8>, Broken> {
    let block = deflater.write(&Headers::default())?;
    Ok(control(SYN_REPLY, 0, &[&stream.to_be_bytes(), &block]))
}

/// Throws a stream away.
pub(super) fn reset(stream: u32, why: Why) -> Vec<u8> {
    control(RST_STREAM, 0, &[&stream.to_be_bytes(), &(why as u32).to_be_bytes()])
}

/// Asks, or answers.
pub(super) fn ping(id: u32) -> Vec<u8> {
    control(PING, 0, &[&id.to_be_bytes()])
}

/// Says goodbye, naming the last stream that was taken on.
pub(super) fn go_away(last: u32) -> Vec<u8> {
    control(GOAWAY, 0, &[&last.to_be_bytes(), &0_u32.to_be_bytes()])
}

/// Begins a stream, as a client does.
#[cfg(test)]
pub(super) fn begin(stream: u32, headers: &Headers, deflater: &mut Deflater) -> Vec<u8> {
    let block = deflater.write(headers).unwrap();
    control(SYN_STREAM, 0, &[&stream.to_be_bytes(), &[0; 6], &block])
}

fn control(kind: u16, flags: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(HEAD_BYTES + length);
    frame.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    frame.extend_from_slice(&kind.to_be_bytes());
    let [_, e, f, g] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    frame.extend_from_slice(&[flags, e, f, g]);
    for part in parts {
        frame.extend_from_slice(part);
    }
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(frame: &[u8]) -> Result<Control, Broken> {
        let (head, rest) = frame.split_first_chunk().unwrap();
        let Head::Control { kind, flags, length } = Head::parse(*head)? else { panic!("no control frame") };
        assert_eq!(usize::try_from(length).unwrap(), rest.len());
        Control::parse(kind, flags, rest, &mut Inflater::default())
    }

    #[test]
    fn frames_are_read_as_they_are_written() {
        let headers = Headers::of(&[("streamtype", "data"), ("port", "80")]);
        let mut deflater = Deflater::new().unwrap();
        let begun = parsed(&begin(5, &headers, &mut deflater));
        assert_eq!(begun, Ok(Control::Begin { stream: 5, last: false, headers }));
        assert_eq!(parsed(&reset(7, Why::Refused)), Ok(Control::Reset { stream: 7 }));
        assert_eq!(parsed(&ping(3)), Ok(Control::Ping { id: 3 }));
        assert_eq!(parsed(&go_away(3)), Ok(Control::Other));
        let read = Head::parse(data(9, true, 70_000));
        assert_eq!(read, Ok(Head::Data { stream: 9, last: true, length: 70_000 }));
        assert_eq!(Head::parse([0x80, 2, 0, 1, 0, 0, 0, 0]), Err(Broken::Version));
        assert_eq!(Head::parse([0x80, 3, 0, 1, 0, 0xff, 0, 0]), Err(Broken::TooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_an_error(head: [u8; 8], rest in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Head::Control { kind, flags, .. }) = Head::parse(head) {
                let _ = Control::parse(kind, flags, &rest, &mut Inflater::default());
            }
            let _ = Control::parse(SYN_STREAM, 0, &rest, &mut Inflater::default());
        }
    }
}
