//! Compresses large answers for clients that take gzip, as they are sent: what is compressed is never held as a whole.
//!
//! Watches and other streams are not compressed, as upstream's are not: their events shall not wait for more.

use std::collections::VecDeque;
use std::io::{Error, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::request::RequestInfo;

/// Answers of at most this size are sent as they are: upstream's bound.
const PLAIN_BYTES_MAX: usize = 128 * 1024;

/// Upstream's level: most of the gain for the least of the work.
const LEVEL: u32 = 1;

/// So much is compressed at once, so that other requests are not kept waiting.
const BYTES_AT_ONCE: usize = 64 * 1024;

/// Compresses the answer if the client takes it so and it is large.
pub(crate) async fn compress(request: Request, next: Next) -> Response {
    let streams = request.extensions().get::<Arc<RequestInfo>>().is_none_or(|info| info.is_long_running());
    let wanted = !streams && takes_gzip(request.headers());
    let response = next.run(request).await;
    if !wanted || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let (mut head, mut body) = response.into_parts();
    let mut read = VecDeque::new();
    let mut bytes = 0;
    let small = body.size_hint().upper().is_some_and(|upper| upper <= PLAIN_BYTES_MAX as u64);
    while !small && bytes <= PLAIN_BYTES_MAX {
        match data(&mut body).await {
            Some(Ok(piece)) => {
                bytes += piece.len();
                read.push_back(piece);
            }
            Some(Err(error)) => return Response::from_parts(head, failing(error)),
            None => break,
        }
    }
    if bytes <= PLAIN_BYTES_MAX {
        let rest = if small { body } else { Body::from(Vec::from(read).concat()) };
        return Response::from_parts(head, rest);
    }
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    let encoder = Some(GzEncoder::new(Vec::new(), Compression::new(LEVEL)));
    let compressing = Compressing { encoder, read, rest: body };
    let pieces = futures::stream::unfold(compressing, |mut compressing| async move {
        compressing.next().await.map(|piece| (piece, compressing))
    });
    Response::from_parts(head, Body::from_stream(pieces))
}

/// Whether gzip is among what the client takes: named alone, as upstream reads it.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let named = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|coding| coding.trim() == "gzip")
}

/// The next data of a body.
async fn data(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        match body.frame().await? {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
            Err(error) => return Some(Err(error)),
        }
    }
}

fn failing(error: axum::Error) -> Body {
    Body::from_stream(futures::stream::iter([Err::<Bytes, _>(error)]))
}

/// An answer on its way through the encoder.
struct Compressing {
    /// Nothing when all has been told.
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// What was read and is not compressed yet.
    read: VecDeque<Bytes>,
    rest: Body,
}

impl Compressing {
    /// The next compressed bytes.
    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            let piece = match self.read.pop_front() {
                Some(piece) => Some(Ok(piece)),
                None => data(&mut self.rest).await,
            };
            let encoder = self.encoder.as_mut()?;
            let written = match piece {
                Some(Ok(mut piece)) => {
                    let now = piece.split_to(piece.len().min(BYTES_AT_ONCE));
                    if !piece.is_empty() {
                        self.read.push_front(piece);
                    }
                    encoder.write_all(&now)
                }
                Some(Err(error)) => Err(Error::other(error)),
                None => return self.encoder.take().map(|encoder| encoder.finish().map(Bytes::from)),
            };
            if let Err(error) = written {
                self.encoder = None;
                return Some(Err(error));
            }
            let compressed = std::mem::take(encoder.get_mut());
            if !compressed.is_empty() {
                return Some(Ok(compressed.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_when_it_is_named_alone() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert!(takes("gzip") && takes("deflate, gzip") && takes("br,gzip , identity"));
        assert!(!takes("identity") && !takes("gzip;q=0.5") && !takes("*"));
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
