//! Carries bytes between two connections, each way until its end, which the other side is told.
//!
//! Each way has a buffer that is small while little is said and large while much is: a piece costs two system calls
//! whatever its size, and thousands of connections that are quiet should cost little.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// The buffer of a way on which little is said.
const QUIET_BYTES: usize = 8 * 1024;

/// The buffer of a way that is busy: from here on, larger pieces are hardly faster.
const BUSY_BYTES: usize = 256 * 1024;

/// Carries until both ways are at their end.
///
/// # Errors
/// The first I/O error of either connection.
pub(crate) async fn carry(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::try_join!(one_way(from_client, to_server), one_way(from_server, to_client))?;
    Ok(())
}

async fn one_way(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> io::Result<()> {
    let mut buffer = vec![0; QUIET_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..count).unwrap_or_default()).await?;
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
}
