//! A connection of SPDY/3.1 as kubectl speaks it: streams that the client begins, each with headers that say what for.
//!
//! There are no windows, since clients know none: a stream whose reader is slow holds up the connection, as upstream.

mod frame;
mod headers;
mod table;

use std::io::{Error, ErrorKind, Result};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, timeout};

use super::idle::Idle;
use super::pipe::{Fate, Inlet, Item, Outgoing, Outlet, PIECE_BYTES_MAX, PIECES_OUT_MAX};
use super::{Ended, LINGER, PING_INTERVAL};
use frame::{Broken, Control, HEAD_BYTES, Head, Why};
pub(in crate::kubelet) use headers::Headers;
use headers::{Deflater, Inflater};
use table::{STREAMS_MAX, Table};

/// How many new streams may wait to be taken.
const BEGUN_MAX: usize = 16;

/// How many answers to control frames may wait for a client that does not read.
const ANSWERS_MAX: usize = 64;

/// How much is gathered before it is written, in bytes: two pieces with their heads.
const WRITTEN_AT_ONCE: usize = 64 * 1024 + 64;

/// A stream that a client began.
pub(in crate::kubelet) struct Begun {
    /// Its number, which is odd.
    pub(in crate::kubelet) id: u32,
    /// What the client says of it.
    pub(in crate::kubelet) headers: Headers,
    /// From the client.
    pub(in crate::kubelet) inlet: Inlet,
    /// To the client.
    pub(in crate::kubelet) outlet: Outlet,
}

/// A stream that nobody began.
#[cfg(test)]
pub(in crate::kubelet) fn begun(id: u32, headers: &[(&str, &str)]) -> Begun {
    let (queue, _) = mpsc::channel(1);
    let (_, inlet) = Inlet::new(Fate::default());
    Begun { id, headers: Headers::of(headers), inlet, outlet: Outlet::new(queue, id, Fate::default()) }
}

/// What keeps a connection open while it has no streams.
pub(in crate::kubelet) struct Hold {
    _queue: mpsc::Sender<Outgoing>,
}

/// A connection that is about to be carried.
pub(in crate::kubelet) struct Connection {
    /// Which streams are taken on.
    welcome: fn(&Headers) -> bool,
    begun: mpsc::Sender<Begun>,
    queue: mpsc::WeakSender<Outgoing>,
    outgoing: mpsc::Receiver<Outgoing>,
}

/// What is answered to a control frame.
enum Answer {
    Reply(u32),
    Reset(u32, Why),
    Pong(u32),
}

impl Connection {
    /// A connection, its new streams, and what keeps it open.
    pub(in crate::kubelet) fn new(welcome: fn(&Headers) -> bool) -> (Self, mpsc::Receiver<Begun>, Hold) {
        let (queue, outgoing) = mpsc::channel(PIECES_OUT_MAX);
        let (begun, streams) = mpsc::channel(BEGUN_MAX);
        (Self { welcome, begun, queue: queue.downgrade(), outgoing }, streams, Hold { _queue: queue })
    }

    /// Carries streams until their outlets and the hold are dropped, or the client leaves.
    pub(in crate::kubelet) async fn carry<S: AsyncRead + AsyncWrite>(self, connection: S) -> Ended {
        let (read, write) = tokio::io::split(connection);
        let (answers, waiting) = mpsc::channel(ANSWERS_MAX);
        let (table, idle) = (Table::default(), Idle::default());
        let Self { welcome, begun, queue, outgoing } = self;
        let mut reader = Reader {
            source: BufReader::with_capacity(PIECE_BYTES_MAX, read),
            inflater: Inflater::default(),
            last: 0,
            welcome,
            begun,
            queue,
            answers,
            table: &table,
            idle: &idle,
        };
        let Ok(deflater) = Deflater::new() else { return Ended::Left };
        let sink = BufWriter::with_capacity(WRITTEN_AT_ONCE, write);
        let writer = Writer { sink, deflater, answers: waiting, outgoing, table: &table, idle: &idle };
        let mut reading = std::pin::pin!(reader.run());
        let ended = tokio::select! {
            ended = &mut reading => {
                tracing::debug!(?ended, "a client of SPDY is gone");
                Ended::Left
            }
            written = writer.run() => match written {
                Ok(()) => {
                    // A connection that is closed on unread bytes is reset, and takes the last answers with it.
                    let _ = timeout(LINGER, reading).await;
                    Ended::Done
                }
                Err(_) => Ended::Left,
            },
            () = idle.run_out() => Ended::Left,
        };
        table.clear();
        ended
    }
}

/// Reads frames, and hands their bytes to the streams.
struct Reader<'a, R> {
    source: BufReader<R>,
    inflater: Inflater,
    /// The highest stream so far.
    last: u32,
    welcome: fn(&Headers) -> bool,
    begun: mpsc::Sender<Begun>,
    queue: mpsc::WeakSender<Outgoing>,
    answers: mpsc::Sender<Answer>,
    table: &'a Table,
    idle: &'a Idle,
}

impl<R: AsyncRead + Unpin> Reader<'_, R> {
    /// Returns when there is nothing more to read; never with `Ok`.
    async fn run(&mut self) -> Result<()> {
        loop {
            let mut head = [0; HEAD_BYTES];
            self.source.read_exact(&mut head).await?;
            match Head::parse(head).map_err(broken)? {
                Head::Data { stream, last, length } => {
                    self.data(stream, length).await?;
                    if last {
                        self.table.end_in(stream);
                    }
                }
                Head::Control { kind, flags, length } => {
                    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
                    self.source.read_exact(&mut bytes).await?;
                    let control = Control::parse(kind, flags, &bytes, &mut self.inflater).map_err(broken)?;
                    self.control(control).await;
                }
            }
        }
    }

    async fn data(&mut self, stream: u32, length: u32) -> Result<()> {
        self.idle.touch();
        let feed = self.table.feed(stream);
        let mut left = u64::from(length);
        while left > 0 {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES_MAX.min(usize::try_from(left).unwrap_or(usize::MAX)));
            let count = (&mut self.source).take(left).read_buf(&mut piece).await?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            left -= u64::try_from(count).unwrap_or(left);
            if let Some(feed) = &feed {
                // Who does not want it any more has dropped the other end.
                let _ = feed.send(piece.freeze()).await;
            }
        }
        Ok(())
    }

    async fn control(&mut self, control: Control) {
        match control {
            Control::Begin { stream, last, headers } => self.begin(stream, last, headers).await,
            Control::Reset { stream } => self.table.reset(stream),
            // A client that asks and does not read can do without an answer.
            Control::Ping { id } if id % 2 == 1 => {
                let _ = self.answers.try_send(Answer::Pong(id));
            }
            Control::Ping { .. } | Control::Other => {}
        }
    }

    async fn begin(&mut self, id: u32, last: bool, headers: Headers) {
        self.idle.touch();
        if id.is_multiple_of(2) || id <= self.last {
            return self.answer(Answer::Reset(id, Why::ProtocolError)).await;
        }
        self.last = id;
        let queue = self.queue.upgrade().filter(|_| self.table.len() < STREAMS_MAX && (self.welcome)(&headers));
        let Some(queue) = queue else { return self.answer(Answer::Reset(id, Why::Refused)).await };
        let fate = Fate::default();
        let (feed, inlet) = Inlet::new(fate.clone());
        let outlet = Outlet::new(queue, id, fate.clone());
        self.table.begin(id, feed, fate);
        if last {
            self.table.end_in(id);
        }
        // The reply stands before anything that is sent on the stream: nobody has its outlet yet.
        self.answer(Answer::Reply(id)).await;
        if self.begun.send(Begun { id, headers, inlet, outlet }).await.is_err() {
            self.table.reset(id);
            self.answer(Answer::Reset(id, Why::Refused)).await;
        }
    }

    async fn answer(&mut self, answer: Answer) {
        let _ = self.answers.send(answer).await;
    }
}

fn broken(why: Broken) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

/// Writes what the streams have to say, one piece of each in turn.
struct Writer<'a, W> {
    sink: BufWriter<W>,
    deflater: Deflater,
    answers: mpsc::Receiver<Answer>,
    outgoing: mpsc::Receiver<Outgoing>,
    table: &'a Table,
    idle: &'a Idle,
}

impl<W: AsyncWrite + Unpin> Writer<'_, W> {
    /// Returns when nothing can come any more and the client has been told.
    async fn run(mut self) -> Result<()> {
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        // A server's are even.
        let mut ping = 0_u32;
        loop {
            tokio::select! {
                biased;
                Some(answer) = self.answers.recv() => self.answer(answer).await?,
                outgoing = self.outgoing.recv() => match outgoing {
                    Some(outgoing) => self.send(outgoing).await?,
                    None => break,
                },
                _ = pings.tick() => {
                    ping = ping.wrapping_add(2).max(2);
                    self.sink.write_all(&frame::ping(ping)).await?;
                }
            }
            if self.answers.is_empty() && self.outgoing.is_empty() {
                self.sink.flush().await?;
            }
        }
        for stream in self.table.open() {
            self.sink.write_all(&frame::data(stream, true, 0)).await?;
        }
        self.sink.write_all(&frame::go_away(self.table.last())).await?;
        self.sink.shutdown().await
    }

    async fn answer(&mut self, answer: Answer) -> Result<()> {
        let bytes = match answer {
            Answer::Reply(id) => frame::reply(id, &mut self.deflater).map_err(broken)?,
            Answer::Reset(id, why) => frame::reset(id, why),
            Answer::Pong(id) => frame::ping(id),
        };
        self.sink.write_all(&bytes).await
    }

    async fn send(&mut self, Outgoing { stream, item }: Outgoing) -> Result<()> {
        if !self.table.is_open(stream) {
            return Ok(());
        }
        self.idle.touch();
        let (bytes, last) = match item {
            Item::Data(bytes) => (bytes, false),
            Item::End => (Bytes::new(), true),
        };
        self.sink.write_all(&frame::data(stream, last, bytes.len())).await?;
        self.sink.write_all(&bytes).await?;
        if last {
            self.table.end_out(stream);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
