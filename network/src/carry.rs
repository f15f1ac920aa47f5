//! Carries bytes between two connections, each way until its end, which the other side is told.
//!
//! Each way has a buffer that is small while little is said and large while much is: a piece costs two system calls
//! whatever its size, and thousands of connections that are quiet should cost little. Moving pages through the kernel
//! (`splice(2)`) was measured: over loopback it is no faster, and towards guests slower by a third.

use std::io;
use std::pin::pin;

use futures::future::select;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// The buffer of a way on which little is said.
const QUIET_BYTES: usize = 8 * 1024;

/// The buffer of a way that is busy: from here on, larger pieces are hardly faster.
const BUSY_BYTES: usize = 256 * 1024;

/// Carries until both ways are at their end. A connection that breaks off, or whose carrying is given up, is told to the
/// other side as what it is: an end alone would let it take half for whole.
///
/// # Errors
/// The first I/O error of either connection.
pub(crate) async fn carry(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
    let mut pair = Pair { client, server, is_whole: false };
    both_ways(pair.client, pair.server).await?;
    pair.is_whole = true;
    Ok(())
}

/// Lets the other side know at once that this is over: closing then sends a reset instead of an end.
pub(crate) fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a connection is closed, not reset");
    }
}

/// Both connections, that are reset unless all was carried.
struct Pair<'a> {
    client: &'a mut TcpStream,
    server: &'a mut TcpStream,
    is_whole: bool,
}

impl Drop for Pair<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            reset(self.client);
            reset(self.server);
        }
    }
}

/// How a way ended.
enum Ended {
    /// At its end, which was told.
    Whole,
    /// The side that it leads to is gone.
    Refused(io::Error),
}

async fn both_ways(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (there, back) = (pin!(one_way(from_client, to_server)), pin!(one_way(from_server, to_client)));
    let (first, other) = select(there, back).await.factor_first();
    match first? {
        // Who has said all may go before having heard all.
        Ended::Whole => other.await.map(drop),
        // A server may refuse the rest of a question and answer it. What comes of it is passed on, but the end of that
        // cannot be told from a break: the system tells of a break once, and has done so.
        Ended::Refused(error) => {
            other.await?;
            Err(error)
        }
    }
}

async fn one_way(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<Ended> {
    let mut buffer = vec![0; QUIET_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(to.shutdown().await.map_or_else(Ended::Refused, |()| Ended::Whole));
        }
        if let Err(error) = to.write_all(buffer.get(..count).unwrap_or_default()).await {
            return Ok(Ended::Refused(error));
        }
        let wanted = fitting(buffer.len(), count);
        if wanted != buffer.len() {
            buffer = vec![0; wanted];
        }
    }
}

/// The size that the next buffer has, after a piece of `count` bytes.
const fn fitting(length: usize, count: usize) -> usize {
    if count == length {
        BUSY_BYTES
    } else if count < QUIET_BYTES {
        QUIET_BYTES
    } else {
        length
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, other) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (one.unwrap(), other.unwrap().0)
    }

    #[test]
    fn a_buffer_grows_with_what_fills_it_and_shrinks_with_what_does_not() {
        assert_eq!(fitting(QUIET_BYTES, QUIET_BYTES), BUSY_BYTES);
        assert_eq!(fitting(QUIET_BYTES, 100), QUIET_BYTES);
        assert_eq!(fitting(BUSY_BYTES, BUSY_BYTES / 2), BUSY_BYTES);
        assert_eq!(fitting(BUSY_BYTES, 100), QUIET_BYTES);
    }

    #[tokio::test]
    async fn much_is_carried_both_ways_and_each_end_is_told() {
        let ((mut client, mut front), (mut back, mut server)) = (pair().await, pair().await);
        let much: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let asking = async {
            let (mut read, mut write) = client.split();
            let mut answer = Vec::new();
            let say = async {
                write.write_all(&much).await.unwrap();
                write.shutdown().await.unwrap();
            };
            tokio::join!(say, async { read.read_to_end(&mut answer).await.unwrap() });
            answer
        };
        let answering = async {
            let mut heard = Vec::new();
            server.read_to_end(&mut heard).await.unwrap();
            server.write_all(&heard).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let (answer, (), carried) = tokio::join!(asking, answering, carry(&mut front, &mut back));
        carried.unwrap();
        assert!(answer == much, "{} of {} bytes", answer.len(), much.len());
    }

    async fn hear(stream: &mut TcpStream) -> (Vec<u8>, io::Result<usize>) {
        let mut heard = Vec::new();
        let ended = stream.read_to_end(&mut heard).await;
        (heard, ended)
    }

    fn broke(ended: &io::Result<usize>) -> bool {
        ended.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    }

    #[tokio::test]
    async fn what_broke_off_does_not_look_whole() {
        let ((mut client, mut front), (mut back, mut server)) = (pair().await, pair().await);
        let breaking = async {
            server.write_all(b"half").await.unwrap();
            let mut half = [0; 4];
            client.read_exact(&mut half).await.unwrap();
            reset(&server);
            drop(server);
            hear(&mut client).await.1
        };
        let (ended, carried) = tokio::join!(breaking, async {
            let carried = carry(&mut front, &mut back).await;
            drop((front, back));
            carried
        });
        assert!(carried.is_err() && broke(&ended), "{carried:?}, {ended:?}");
    }

    #[tokio::test]
    async fn what_is_given_up_does_not_look_whole() {
        let ((mut client, mut front), (mut back, mut server)) = (pair().await, pair().await);
        let half = tokio::select! {
            _ = carry(&mut front, &mut back) => panic!("both are open"),
            half = async {
                server.write_all(b"half").await.unwrap();
                let mut half = [0; 4];
                client.read_exact(&mut half).await.unwrap();
                half
            } => half,
        };
        drop((front, back));
        let (there, back) = tokio::join!(hear(&mut client), hear(&mut server));
        assert!(&half == b"half" && broke(&there.1) && broke(&back.1), "{there:?}, {back:?}");
    }

    #[tokio::test]
    async fn an_answer_comes_through_though_the_rest_of_the_question_is_refused() {
        let ((mut client, mut front), (mut back, mut server)) = (pair().await, pair().await);
        let (mut read, mut write) = client.split();
        let answering = async {
            server.read_exact(&mut [0; 4]).await.unwrap();
            server.write_all(b"too large").await.unwrap();
            drop(server);
        };
        // It never stops asking by itself.
        let asking = async { while write.write_all(&[0; 64 * 1024]).await.is_ok() {} };
        let hearing = async {
            let mut heard = [0; 9];
            read.read_exact(&mut heard).await.unwrap();
            heard
        };
        let carrying = async {
            let _ = carry(&mut front, &mut back).await;
            drop((front, back));
        };
        let ((), (), heard, ()) = tokio::join!(answering, asking, hearing, carrying);
        assert_eq!(&heard, b"too large");
    }
}
