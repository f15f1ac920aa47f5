//! A response's body, each of whose pieces must come in time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use wasmtime_wasi_http::Error;

/// Wraps a body.
pub(super) struct Timed<B> {
    body: B,
    limit: Duration,
    /// Made when the first piece lets wait.
    deadline: Option<Pin<Box<Sleep>>>,
    is_armed: bool,
}

impl<B> Timed<B> {
    /// Each piece may take `limit`.
    pub(super) fn new(body: B, limit: Duration) -> Self {
        Self { body, limit, deadline: None, is_armed: false }
    }
}

impl<B> Body for Timed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.is_armed = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(this.limit)));
        if !this.is_armed {
            deadline.as_mut().reset(Instant::now() + this.limit);
            this.is_armed = true;
        }
        deadline.as_mut().poll(context).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_piece_that_is_late_is_an_error_however_long_the_others_took() {
        let limit = Duration::from_secs(10);
        let pieces = futures::stream::unfold(0, async |count| {
            tokio::time::sleep(if count < 3 { Duration::from_secs(9) } else { Duration::from_secs(11) }).await;
            Some((Ok::<_, Error>(Frame::data(Bytes::from_static(b"x"))), count + 1))
        });
        let mut body = Timed::new(StreamBody::new(Box::pin(pieces)), limit);
        for _ in 0..3 {
            assert!(body.frame().await.unwrap().is_ok());
        }
        assert!(matches!(body.frame().await, Some(Err(Error::ConnectionReadTimeout))));
    }
}
