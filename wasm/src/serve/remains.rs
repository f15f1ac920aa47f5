//! What is left of an answer's body when the connection has all it needs.
//!
//! An HTTP server lets a body go as soon as it has the bytes that `content-length` promised, or at once for `HEAD`.
//! The program has yet to flush and to finish it, and would be told that its client has gone. So such a body is not
//! dropped but read to its end, by the instance that writes it. One whose client really has gone is dropped.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, WasiBody};

use super::Response;

/// Where a body goes that the connection no longer needs.
#[derive(Default)]
pub(super) struct Remains(Mutex<Shared>);

#[derive(Default)]
struct Shared {
    body: Option<WasiBody>,
    reader: Option<Waker>,
}

impl Remains {
    /// The response, with a body that comes back here instead of being dropped too early.
    pub(super) fn keep(self: &Arc<Self>, method: &Method, response: Response) -> Response {
        match owed(method, response.headers()) {
            Some(owed) => response.map(|body| Kept { body: Some(body), owed, remains: self.clone() }.boxed_unsync()),
            // Its end is the connection's end too: it is read to there.
            None => response,
        }
    }

    /// Reads what comes back, for as long as it is polled. It never ends by itself.
    pub(super) fn poll_read(&self, context: &mut Context<'_>) -> Poll<Infallible> {
        let mut shared = self.lock();
        while let Some(body) = shared.body.as_mut() {
            match pin!(body).poll_frame(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => shared.body = None,
                Poll::Pending => break,
            }
        }
        if !shared.reader.as_ref().is_some_and(|reader| reader.will_wake(context.waker())) {
            shared.reader = Some(context.waker().clone());
        }
        Poll::Pending
    }

    fn give(&self, body: WasiBody) {
        let mut shared = self.lock();
        shared.body = Some(body);
        if let Some(reader) = shared.reader.take() {
            reader.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes the connection needs, where it can tell before the body's end.
fn owed(method: &Method, headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    Some(if method == Method::HEAD { 0 } else { length })
}

/// A body that is given back when the connection has what it is owed.
struct Kept {
    body: Option<WasiBody>,
    owed: u64,
    remains: Arc<Remains>,
}

impl Body for Kept {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let poll = pin!(body).poll_frame(context);
        match &poll {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.owed = self.owed.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
            }
            Poll::Ready(Some(Err(_)) | None) => self.body = None,
            Poll::Pending => {}
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.owed == 0
            && let Some(body) = self.body.take()
        {
            self.remains.give(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_body_of_known_length_is_kept() {
        let with = |length: &'static str| HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static(length))]);
        assert_eq!(owed(&Method::GET, &with("12")), Some(12));
        assert_eq!(owed(&Method::HEAD, &with("12")), Some(0));
        assert_eq!(owed(&Method::GET, &with("many")), None);
        assert_eq!(owed(&Method::GET, &HeaderMap::new()), None);
    }
}
