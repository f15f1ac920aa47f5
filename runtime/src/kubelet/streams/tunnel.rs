//! Bytes within the messages of a WebSocket: how SPDY travels where only WebSockets get through.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

/// The largest message of a client, in bytes: it puts what it writes at once into one, which is a frame of SPDY.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much is put into one message, in bytes.
const WRITTEN_AT_ONCE: usize = 64 * 1024;

/// The bytes of a WebSocket's messages, one after the other.
#[derive(Debug)]
pub(in crate::kubelet) struct Tunnel<S> {
    socket: WebSocketStream<S>,
    message: Bytes,
    said_goodbye: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tunnel<S> {
    /// Over a connection that was upgraded to a WebSocket.
    pub(in crate::kubelet) async fn new(connection: S) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
        Self { socket, message: Bytes::new(), said_goodbye: false }
    }
}

fn broken(error: tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => Error::new(ErrorKind::InvalidData, other),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tunnel<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        while self.message.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.message = bytes,
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(Error::new(ErrorKind::InvalidData, "a message of text in a tunnel")));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let count = self.message.len().min(into.remaining());
        into.put_slice(self.message.get(..count).unwrap_or_default());
        self.message.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tunnel<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(broken)?;
        let count = bytes.len().min(WRITTEN_AT_ONCE);
        let message = Message::Binary(Bytes::copy_from_slice(bytes.get(..count).unwrap_or_default()));
        Pin::new(&mut self.socket).start_send(message).map_err(broken)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.said_goodbye {
            ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(broken)?;
            // Clients take any other code for a failure.
            let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            Pin::new(&mut self.socket).start_send(Message::Close(Some(goodbye))).map_err(broken)?;
            self.said_goodbye = true;
        }
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn bytes_go_through_whatever_the_messages_are() {
        let (ours, theirs) = duplex(1 << 16);
        let serving = async {
            let mut tunnel = Tunnel::new(ours).await;
            let mut read = [0; 6];
            tunnel.read_exact(&mut read).await.unwrap();
            tunnel.write_all(&read).await.unwrap();
            tunnel.shutdown().await.unwrap();
            assert_eq!(tunnel.read(&mut read).await.unwrap(), 0);
        };
        let asking = async {
            let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
            for part in [&b"on"[..], b"", b"etwo"] {
                client.send(Message::Binary(part.to_vec().into())).await.unwrap();
            }
            assert_eq!(client.next().await.unwrap().unwrap(), Message::Binary(Bytes::from_static(b"onetwo")));
            assert!(client.next().await.unwrap().unwrap().is_close());
            let _ = client.flush().await;
        };
        tokio::join!(serving, asking);
    }
}
