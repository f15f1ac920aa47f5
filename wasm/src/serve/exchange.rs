//! One request and its answer, as the connection and the instance both see them: whose turn it is, since when, and
//! what is left of the answer's body when the connection has all it needs.
//!
//! Invariant: time is counted against whoever has the turn. A guest that waits for a slow upload is not late, and a
//! client that does not read what is there holds an instance for no longer than it may.
//!
//! An HTTP server lets a body go as soon as it has the bytes that `content-length` promised, or at once for `HEAD`.
//! The program has yet to flush and to finish it, and would be told that its client has gone. So such a body is not
//! dropped but read to its end, by the instance that writes it. One whose client really has gone is dropped.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until};
use wasmtime_wasi_http::{Error, WasiBody};

use super::Response;

/// Where a deadline would lie beyond what a clock can say: as good as never.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// How long each may take for one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// The guest, for the head of its answer and for each further piece of its body.
    pub(super) guest: Duration,
    /// The client, for each piece of a body that it sends or takes.
    pub(super) client: Duration,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The guest's: it works on its answer.
    Guest,
    /// The client's: it is to send more of its request.
    Sending,
    /// The client's: it is to take what was answered.
    Taking,
}

/// One request and its answer.
pub(super) struct Exchange {
    patience: Patience,
    shared: Mutex<Shared>,
}

struct Shared {
    turn: Turn,
    since: Instant,
    body: Answer,
    /// Who reads what is kept, and wants to know of the end.
    reader: Option<Waker>,
    /// The connection that waits for more of the body.
    taker: Option<Waker>,
    /// The guest will write no more.
    is_written: bool,
}

/// The body of the answer.
enum Answer {
    /// There is none yet.
    Owed,
    /// The connection reads it.
    Read(WasiBody),
    /// The connection needs no more of it.
    Kept(WasiBody),
    /// It has come to its end, or nobody wants it any more.
    Over,
    /// It was taken from the connection, which is told so.
    Aborted,
}

impl Exchange {
    pub(super) fn new(patience: Patience) -> Arc<Self> {
        let (turn, since, body) = (Turn::Guest, Instant::now(), Answer::Owed);
        let shared = Shared { turn, since, body, reader: None, taker: None, is_written: false };
        Arc::new(Self { patience, shared: Mutex::new(shared) })
    }

    /// The request's body, whose pieces must come in time: what is late is an error that the guest is told.
    pub(super) fn asking<B>(self: &Arc<Self>, body: B) -> WasiBody
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Error>,
    {
        if body.is_end_stream() {
            return http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        }
        Asked { body, exchange: self.clone(), late: None }.boxed_unsync()
    }

    /// The response, with a body that is read through here.
    pub(super) fn answering(self: &Arc<Self>, method: &Method, response: Response) -> Response {
        let owed = owed(method, response.headers());
        let (head, body) = response.into_parts();
        {
            let mut shared = self.lock();
            // The guest may have failed since.
            if !matches!(shared.body, Answer::Aborted) {
                shared.body = Answer::Read(body);
            }
        }
        Response::from_parts(head, Answered { owed, exchange: self.clone() }.boxed_unsync())
    }

    /// The answer has no body that anybody would read.
    pub(super) fn unanswered(&self) {
        self.put(Answer::Over);
    }

    /// Takes the body away, if it has not come to its end: its connection breaks off, so that nobody takes what was
    /// sent for all of it.
    pub(super) fn abort(&self) {
        if matches!(self.lock().body, Answer::Owed | Answer::Read(_)) {
            self.put(Answer::Aborted);
        }
    }

    /// The guest writes no more. What it has written is still read; if that does not come to an end, it never will.
    pub(super) fn written(&self) {
        let taker = {
            let mut shared = self.lock();
            shared.is_written = true;
            shared.taker.take()
        };
        if let Some(taker) = taker {
            taker.wake();
        }
    }

    fn put(&self, body: Answer) {
        let (before, wakers) = {
            let mut shared = self.lock();
            (std::mem::replace(&mut shared.body, body), [shared.reader.take(), shared.taker.take()])
        };
        // Outside of the lock: what is dropped may have much to do.
        drop(before);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Reads what the connection no longer needs. Ready when there is nothing left that anybody could read.
    pub(super) fn poll_rest(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.lock();
        while let Answer::Kept(body) = &mut shared.body {
            match pin!(body).poll_frame(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => shared.body = Answer::Over,
                Poll::Pending => break,
            }
        }
        if matches!(shared.body, Answer::Over | Answer::Aborted) {
            return Poll::Ready(());
        }
        if !shared.reader.as_ref().is_some_and(|reader| reader.will_wake(context.waker())) {
            shared.reader = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// When whoever has the turn has had it for too long, unless something happens before; and who that is.
    pub(super) fn deadline(&self) -> (Instant, Turn) {
        let shared = self.lock();
        let allowed = match shared.turn {
            Turn::Guest => self.patience.guest,
            // What is late here ends by itself (see `Asked`), unless the guest does not even listen for it.
            Turn::Sending => self.patience.client.saturating_add(self.patience.guest),
            Turn::Taking => self.patience.client,
        };
        (shared.since + allowed.min(NEVER), shared.turn)
    }

    /// Waits until somebody has had the turn for too long.
    pub(super) async fn overdue(&self) -> Turn {
        loop {
            let (deadline, turn) = self.deadline();
            if deadline <= Instant::now() {
                return turn;
            }
            sleep_until(deadline).await;
        }
    }

    fn turn(&self, turn: Turn) {
        self.lock().turn(turn);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer's body breaks off if this is dropped before the guest has done its work.
pub(super) struct Unfinished(Option<Arc<Exchange>>);

impl Unfinished {
    /// The guest begins its work.
    pub(super) fn new(exchange: Arc<Exchange>) -> Self {
        Self(Some(exchange))
    }

    /// The guest has done its work.
    pub(super) fn finished(mut self) {
        if let Some(exchange) = self.0.take() {
            exchange.written();
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(exchange) = &self.0 {
            exchange.abort();
        }
    }
}

impl Shared {
    /// Something happened, and now it is somebody's turn.
    fn turn(&mut self, turn: Turn) {
        (self.turn, self.since) = (turn, Instant::now());
    }
}

/// How many bytes the connection needs, where it can tell before the body's end.
fn owed(method: &Method, headers: &HeaderMap) -> Option<u64> {
    if method == Method::HEAD {
        return Some(0);
    }
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The body of a request.
struct Asked<B> {
    body: B,
    exchange: Arc<Exchange>,
    /// Armed while the guest waits for the next piece.
    late: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<B> Body for Asked<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.late = None;
            this.exchange.turn(Turn::Guest);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let late = this.late.get_or_insert_with(|| {
            this.exchange.turn(Turn::Sending);
            Box::pin(sleep_until(Instant::now() + this.exchange.patience.client.min(NEVER)))
        });
        late.as_mut().poll(context).map(|()| {
            this.exchange.turn(Turn::Guest);
            Some(Err(Error::ConnectionReadTimeout))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, as the connection reads it.
struct Answered {
    /// How many more bytes the connection needs, where that is known.
    owed: Option<u64>,
    exchange: Arc<Exchange>,
}

impl Body for Answered {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let mut shared = this.exchange.lock();
        let shared_now = &mut *shared;
        let body = match &mut shared_now.body {
            Answer::Read(body) => body,
            Answer::Aborted => return Poll::Ready(Some(Err(Error::ConnectionWriteTimeout))),
            Answer::Owed | Answer::Kept(_) | Answer::Over => return Poll::Ready(None),
        };
        // A task that has had its share of the thread is told to wait, though there is something to read: where waiting
        // means that nothing will come, it must not be told so.
        let poll = match shared_now.is_written {
            true => pin!(unconstrained(body.frame())).poll(context),
            false => pin!(body).poll_frame(context),
        };
        match &poll {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
                this.owed = this.owed.map(|owed| owed.saturating_sub(bytes));
                shared.turn(Turn::Taking);
            }
            Poll::Ready(Some(Err(_)) | None) => {
                drop(shared);
                this.exchange.unanswered();
            }
            Poll::Pending if shared.is_written => return Poll::Ready(Some(Err(Error::HttpProtocolError))),
            Poll::Pending => {
                if shared.turn == Turn::Taking {
                    shared.turn(Turn::Guest);
                }
                shared.taker = Some(context.waker().clone());
            }
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        match &self.exchange.lock().body {
            Answer::Read(body) => body.is_end_stream(),
            Answer::Aborted => false,
            Answer::Owed | Answer::Kept(_) | Answer::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.exchange.lock().body {
            Answer::Read(body) => body.size_hint(),
            Answer::Owed | Answer::Kept(_) | Answer::Over | Answer::Aborted => SizeHint::default(),
        }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        let before = {
            let mut shared = self.exchange.lock();
            shared.turn(Turn::Guest);
            match std::mem::replace(&mut shared.body, Answer::Over) {
                Answer::Read(body) if self.owed == Some(0) => {
                    shared.body = Answer::Kept(body);
                    None
                }
                before => Some(before),
            }
        };
        drop(before);
        if let Some(reader) = self.exchange.lock().reader.take() {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::Full;

    use super::*;

    const PATIENCE: Patience = Patience { guest: Duration::from_secs(300), client: Duration::from_secs(60) };

    fn response(text: &'static str) -> Response {
        Response::new(Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed_unsync())
    }

    #[test]
    fn only_a_body_of_known_length_is_kept() {
        let with = |length: &'static str| HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static(length))]);
        assert_eq!(owed(&Method::GET, &with("12")), Some(12));
        assert_eq!(owed(&Method::HEAD, &with("12")), Some(0));
        assert_eq!(owed(&Method::HEAD, &HeaderMap::new()), Some(0));
        assert_eq!(owed(&Method::GET, &with("many")), None);
        assert_eq!(owed(&Method::GET, &HeaderMap::new()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_works_for_too_long_is_overdue() {
        let exchange = Exchange::new(PATIENCE);
        let begin = Instant::now();
        assert_eq!(exchange.overdue().await, Turn::Guest);
        assert_eq!(begin.elapsed(), PATIENCE.guest);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_take_its_answer_is_overdue_and_its_body_is_gone() {
        let exchange = Exchange::new(PATIENCE);
        let mut body = exchange.answering(&Method::GET, response("hello")).into_body();
        let begin = Instant::now();
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(exchange.overdue().await, Turn::Taking);
        assert_eq!(begin.elapsed(), PATIENCE.client);
        exchange.abort();
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_upload_is_an_error_for_the_guest_and_no_fault_of_it() {
        let exchange = Exchange::new(PATIENCE);
        let never = http_body_util::StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Error>>());
        let mut body = exchange.asking(never);
        let begin = Instant::now();
        assert!(matches!(body.frame().await, Some(Err(Error::ConnectionReadTimeout))));
        assert_eq!(begin.elapsed(), PATIENCE.client);
        assert_eq!(exchange.overdue().await, Turn::Guest);
        assert_eq!(begin.elapsed(), PATIENCE.client + PATIENCE.guest);
    }

    #[tokio::test]
    async fn what_the_guest_has_written_is_read_by_a_task_that_has_had_its_share_of_the_thread() {
        let exchange = Exchange::new(PATIENCE);
        let (to, from) = tokio::sync::mpsc::channel(1);
        let pieces = futures::stream::unfold(from, async |mut from: tokio::sync::mpsc::Receiver<Bytes>| {
            from.recv().await.map(|piece| (Ok::<_, Error>(Frame::data(piece)), from))
        });
        let body = http_body_util::StreamBody::new(Box::pin(pieces)).boxed_unsync();
        let mut body = exchange.answering(&Method::GET, Response::new(body)).into_body();
        to.try_send(Bytes::from_static(b"ok")).unwrap();
        drop(to);
        exchange.written();
        std::future::poll_fn(|context| {
            // Uses up what a task may do before it must let others run.
            while let Poll::Ready(left) = tokio::task::coop::poll_proceed(context) {
                left.made_progress();
            }
            let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(context) else { panic!("it is there") };
            assert_eq!(frame.into_data().unwrap(), "ok");
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn what_the_connection_does_not_need_is_read_to_its_end() {
        let exchange = Exchange::new(PATIENCE);
        let body = exchange.answering(&Method::HEAD, response("hello")).into_body();
        drop(body);
        std::future::poll_fn(|context| exchange.poll_rest(context)).await;
    }
}
