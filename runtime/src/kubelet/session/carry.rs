//! Carries bytes between a client and a container.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::Output;
use crate::console::PIECE_BYTES;

/// Copies all of `from` to the client, each piece as soon as it is there. What a client did not ask for is read all
/// the same, so that nobody waits for it.
///
/// # Errors
/// An I/O error when there is no client any more.
pub(super) async fn to_client(mut from: impl AsyncRead + Unpin, to: Option<&mut Output>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let Some(to) = to else {
        while from.read(&mut piece).await? > 0 {}
        return Ok(());
    };
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(piece.get(..read).unwrap_or_default()).await?;
        to.flush().await?;
    }
}
