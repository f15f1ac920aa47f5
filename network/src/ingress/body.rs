//! Bodies on their way: whose turn it is, when a piece is late, and how a body comes back that nobody has read.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use coracle_api::meet::{Body as Boxed, BodyError};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// A piece of an answer that did not come in time.
#[derive(Debug, thiserror::Error)]
#[error("the pod took too long to go on with its answer")]
struct Late;

/// Whose turn it is until an answer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The client's, to send more of its request.
    Client,
    /// The backend's.
    Backend,
}

/// Whose turn it is, and since when.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<(Turn, Instant)>>);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new((Turn::Backend, Instant::now()))))
    }

    /// Waits until somebody has had the turn for too long; the client may have it for `client`.
    pub(super) async fn overdue(&self, client: Duration, backend: Option<Duration>) -> Turn {
        loop {
            let (turn, since) = *lock(&self.0);
            let allowed = match turn {
                Turn::Client => Some(client),
                Turn::Backend => backend,
            };
            // Where the backend may take for ever, the client's turn may still come.
            let deadline = since + allowed.unwrap_or(client);
            if deadline > Instant::now() {
                sleep_until(deadline).await;
            } else if allowed.is_some() {
                return turn;
            } else {
                sleep_until(Instant::now() + client).await;
            }
        }
    }

    fn turn(&self, turn: Turn) {
        *lock(&self.0) = (turn, Instant::now());
    }
}

/// The body of a request, that tells whose turn it is.
pub(super) struct Asking<B> {
    pub(super) body: B,
    pub(super) turns: Turns,
    /// The client was waited for, and has not sent anything since.
    pub(super) is_waiting: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Asking<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(context);
        if poll.is_ready() || !self.is_waiting {
            self.is_waiting = poll.is_pending();
            self.turns.turn(if self.is_waiting { Turn::Client } else { Turn::Backend });
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, each of whose pieces must come in time.
pub(super) struct Timed {
    body: Boxed,
    limit: Duration,
    /// Made when the first piece lets wait.
    deadline: Option<Pin<Box<Sleep>>>,
    is_armed: bool,
}

impl Timed {
    /// Each piece may take `limit`.
    pub(super) fn new(body: Boxed, limit: Duration) -> Self {
        Self { body, limit, deadline: None, is_armed: false }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.is_armed = false;
            return Poll::Ready(frame);
        }
        let at = Instant::now() + this.limit;
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if !this.is_armed {
            deadline.as_mut().reset(at);
            this.is_armed = true;
        }
        deadline.as_mut().poll(context).map(|()| Some(Err(Late.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that keeps something for as long as it lives.
pub(super) struct Held<B, T> {
    pub(super) body: B,
    pub(super) _held: T,
}

impl<B: Body<Data = Bytes> + Unpin, T: Unpin> Body for Held<B, T> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that comes back if it is dropped before anybody has read of it.
pub(super) struct Lent {
    body: Option<Boxed>,
    lender: Lender,
    is_read: bool,
}

/// Where a lent body comes back to.
#[derive(Clone, Default)]
pub(super) struct Lender(Arc<Mutex<Option<Boxed>>>);

impl Lender {
    pub(super) fn lend(&self, body: Boxed) -> Lent {
        Lent { body: Some(body), lender: self.clone(), is_read: false }
    }

    /// What came back.
    pub(super) fn take(&self) -> Option<Boxed> {
        lock(&self.0).take()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_read {
            *lock(&self.lender.0) = self.body.take();
        }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.is_read = true;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The lock, also after a panic elsewhere: each critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use coracle_api::meet::body_of;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    #[tokio::test]
    async fn a_body_that_nobody_read_comes_back() {
        let lender = Lender::default();
        drop(lender.lend(body_of("x")));
        let mut lent = lender.lend(lender.take().expect("it is back"));
        assert!(lent.frame().await.is_some());
        drop(lent);
        assert!(lender.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_that_is_late_breaks_the_answer_off() {
        let limit = Duration::from_secs(60);
        let never = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, BodyError>>());
        let mut body = Timed::new(never.boxed_unsync(), limit);
        let begin = Instant::now();
        assert!(body.frame().await.unwrap().is_err());
        assert_eq!(begin.elapsed(), limit);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_is_overdue_and_one_that_sends_is_not() {
        let (client, backend) = (Duration::from_secs(10), Duration::from_secs(30));
        let turns = Turns::new();
        let begin = Instant::now();
        assert_eq!(turns.overdue(client, Some(backend)).await, Turn::Backend);
        assert_eq!(begin.elapsed(), backend);
        let never = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, BodyError>>());
        let mut body = Asking { body: never.boxed_unsync(), turns: turns.clone(), is_waiting: false };
        let read = tokio::time::timeout(Duration::from_secs(3600), body.frame());
        tokio::select! {
            biased;
            _ = read => panic!("nothing comes"),
            turn = turns.overdue(client, Some(backend)) => assert_eq!(turn, Turn::Client),
        }
    }
}
