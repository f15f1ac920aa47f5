//! Those who are attached to a container's outputs: each gets what is written from when it came.
//!
//! Invariant: nobody of the audience slows the guest down. Who falls too far behind is given up, and told so; the log
//! has what it missed.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coracle_wasm::Sink;

use super::pipe::{Pipe, Reader, pipe};

/// How far behind one may fall: half a second of the fastest log, and more than a link's delay holds.
const BEHIND_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// All who are attached to one container.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    /// Whether there is anybody, asked at each write without a lock.
    any: AtomicBool,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    /// The outputs that somebody follows.
    taken: Vec<(Stream, Arc<Pipe>)>,
    over: bool,
}

/// One who follows an output.
pub(crate) struct Seat {
    pub(crate) reader: Reader,
    pipe: Arc<Pipe>,
}

impl Seat {
    /// Whether its holder was given up for being too far behind.
    pub(crate) fn was_given_up(&self) -> bool {
        self.pipe.was_overrun()
    }
}

impl Audience {
    /// Follows an output from now on, to its end.
    pub(crate) fn follow(&self, stream: Stream) -> Seat {
        let (writer, reader) = pipe(BEHIND_BYTES_MAX);
        let mut seats = self.lock();
        if seats.over {
            writer.close();
        } else {
            seats.taken.push((stream, Arc::clone(&writer)));
            self.any.store(true, Relaxed);
        }
        Seat { reader, pipe: writer }
    }

    /// Shows `bytes` to all who follow `stream`.
    fn show(&self, stream: Stream, bytes: &[u8]) {
        if !self.any.load(Relaxed) {
            return;
        }
        let mut seats = self.lock();
        seats.taken.iter().filter(|(theirs, _)| *theirs == stream).for_each(|(_, pipe)| pipe.offer(bytes));
        seats.taken.retain(|(_, pipe)| pipe.is_open());
        self.any.store(!seats.taken.is_empty(), Relaxed);
    }

    /// Nothing comes any more.
    pub(crate) fn close(&self) {
        let mut seats = self.lock();
        seats.over = true;
        seats.taken.drain(..).for_each(|(_, pipe)| pipe.close());
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An output that goes to the log and is shown to the audience.
pub(crate) struct Shown<S> {
    pub(crate) log: S,
    pub(crate) stream: Stream,
    pub(crate) audience: Arc<Audience>,
}

impl<S: Sink> Sink for Shown<S> {
    fn write(&self, bytes: &[u8]) {
        self.log.write(bytes);
        self.audience.show(self.stream, bytes);
    }

    fn wait(&self) -> Option<Duration> {
        self.log.wait()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn all(mut seat: Seat) -> (String, bool) {
        let mut bytes = Vec::new();
        seat.reader.read_to_end(&mut bytes).await.unwrap();
        (String::from_utf8(bytes).unwrap(), seat.was_given_up())
    }

    #[tokio::test]
    async fn everybody_gets_the_output_they_follow_from_when_they_came() {
        let audience = Audience::default();
        audience.show(Stream::Stdout, b"before");
        let (out, err) = (audience.follow(Stream::Stdout), audience.follow(Stream::Stderr));
        audience.show(Stream::Stdout, b"one");
        let late = audience.follow(Stream::Stdout);
        audience.show(Stream::Stderr, b"oh");
        audience.show(Stream::Stdout, b"two");
        audience.close();
        assert_eq!(all(out).await, ("onetwo".to_owned(), false));
        assert_eq!(all(late).await, ("two".to_owned(), false));
        assert_eq!(all(err).await, ("oh".to_owned(), false));
        assert_eq!(all(audience.follow(Stream::Stdout)).await, (String::new(), false));
    }

    #[tokio::test]
    async fn who_falls_behind_is_given_up_and_nobody_else() {
        let audience = Audience::default();
        let (slow, mut prompt) = (audience.follow(Stream::Stdout), audience.follow(Stream::Stdout));
        let piece = vec![b'x'; BEHIND_BYTES_MAX / 2 + 1];
        for _ in 0..3 {
            audience.show(Stream::Stdout, &piece);
            prompt.reader.read_exact(&mut vec![0; piece.len()]).await.unwrap();
        }
        assert!(slow.was_given_up() && !prompt.was_given_up());
        assert_eq!(all(slow).await.0.len(), piece.len());
        assert_eq!(audience.lock().taken.len(), 1);
    }
}
