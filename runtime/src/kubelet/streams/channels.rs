//! The channels of a WebSocket (`channel.k8s.io`): each message begins with the number of its channel.
//!
//! A message on the channel 255 of version 5 names a channel that has ended; before, only the end of everything can be
//! told. In the forms called `base64` messages are text: the number as a digit, then the bytes in Base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::idle::Idle;
use super::pipe::{Fate, Inlet, Item, Outgoing, Outlet, PIECES_OUT_MAX, hand_on};
use super::{Ended, LINGER, PING_INTERVAL};

/// The largest message that a client may send, in bytes: what is sent at once by clients that do not cut it.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The channel on which version 5 tells that another has ended.
const CLOSE: u8 = 255;

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kubelet) enum Codec {
    /// As they are.
    Binary,
    /// As text.
    Base64,
}

/// The channels that a client writes to, those that it reads, and the queue of the latter.
pub(in crate::kubelet) struct Channels {
    codec: Codec,
    inlets: Vec<Option<mpsc::Sender<Bytes>>>,
    queue: mpsc::Sender<Outgoing>,
    outgoing: mpsc::Receiver<Outgoing>,
}

impl Channels {
    /// No channels yet.
    pub(in crate::kubelet) fn new(codec: Codec) -> Self {
        let (queue, outgoing) = mpsc::channel(PIECES_OUT_MAX);
        Self { codec, inlets: Vec::new(), queue, outgoing }
    }

    /// A channel to read from.
    pub(in crate::kubelet) fn inlet(&mut self, channel: u8) -> Inlet {
        let (sender, inlet) = Inlet::new(Fate::default());
        let at = usize::from(channel);
        if self.inlets.len() <= at {
            self.inlets.resize_with(at + 1, || None);
        }
        if let Some(place) = self.inlets.get_mut(at) {
            *place = Some(sender);
        }
        inlet
    }

    /// A channel to write to.
    pub(in crate::kubelet) fn outlet(&self, channel: u8) -> Outlet {
        Outlet::new(self.queue.clone(), u32::from(channel), Fate::default())
    }

    /// Puts an empty message before all others: how clients know that a channel works.
    pub(in crate::kubelet) fn greet(&self, channel: u8) {
        // The queue is empty: there is room.
        let _ = self.queue.try_send(Outgoing { stream: u32::from(channel), item: Item::Data(Bytes::new()) });
    }

    /// Carries messages until all outlets are dropped, or the client leaves.
    pub(in crate::kubelet) async fn carry<S: AsyncRead + AsyncWrite + Unpin>(self, connection: S) -> Ended {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
        let (mut sink, mut stream) = socket.split();
        let Self { codec, mut inlets, queue, mut outgoing } = self;
        drop(queue);
        let idle = Idle::default();
        let ended = {
            let mut reading = std::pin::pin!(async {
                while let Some(Ok(message)) = stream.next().await {
                    take(message, codec, &mut inlets, &idle).await;
                }
                inlets.clear();
            });
            tokio::select! {
                () = &mut reading => Ended::Left,
                written = write(&mut sink, codec, &mut outgoing, &idle) => match written {
                    Ok(()) => {
                        // What the client still sends is read, since a connection that is closed on unread bytes is
                        // reset, and takes the last answers with it.
                        let _ = timeout(LINGER, reading).await;
                        Ended::Done
                    }
                    Err(_) => Ended::Left,
                },
                () = idle.run_out() => Ended::Left,
            }
        };
        if let Ok(mut socket) = sink.reunite(stream) {
            let _ = timeout(LINGER, socket.get_mut().shutdown()).await;
        }
        ended
    }
}

/// Hands a message to its channel.
async fn take(message: Message, codec: Codec, inlets: &mut [Option<mpsc::Sender<Bytes>>], idle: &Idle) {
    let bytes = match message {
        Message::Binary(bytes) => bytes,
        Message::Text(text) => text.into(),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return,
    };
    idle.touch();
    let Some((channel, bytes)) = decoded(codec, bytes) else { return };
    if channel == CLOSE {
        if let Some(place) = bytes.first().and_then(|ended| inlets.get_mut(usize::from(*ended))) {
            *place = None;
        }
        return;
    }
    if let Some(Some(inlet)) = inlets.get(usize::from(channel)) {
        hand_on(inlet, bytes).await;
    }
}

/// The channel and the bytes of a message; nothing if there are none, or they make no sense.
fn decoded(codec: Codec, mut bytes: Bytes) -> Option<(u8, Bytes)> {
    if bytes.is_empty() {
        return None;
    }
    let channel = *bytes.split_to(1).first()?;
    match codec {
        Codec::Binary => Some((channel, bytes)),
        Codec::Base64 => Some((channel.checked_sub(b'0')?, STANDARD.decode(&bytes).ok()?.into())),
    }
}

fn encoded(codec: Codec, channel: u8, bytes: &[u8]) -> Message {
    match codec {
        Codec::Binary => {
            let mut message = BytesMut::with_capacity(1 + bytes.len());
            message.put_u8(channel);
            message.extend_from_slice(bytes);
            Message::Binary(message.freeze())
        }
        Codec::Base64 => {
            let digit = char::from(b'0'.saturating_add(channel));
            Message::Text(format!("{digit}{}", STANDARD.encode(bytes)).into())
        }
    }
}

/// Sends what is queued, and a ping now and then; says goodbye when nothing can come any more.
async fn write<W>(
    sink: &mut W,
    codec: Codec,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    idle: &Idle,
) -> Result<(), tungstenite::Error>
where
    W: futures::Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    loop {
        tokio::select! {
            first = outgoing.recv() => {
                let Some(first) = first else { break };
                let mut next = Some(first);
                while let Some(Outgoing { stream, item }) = next {
                    // No version has a way to tell that a channel of the server's ended.
                    if let (Item::Data(bytes), Ok(channel)) = (item, u8::try_from(stream)) {
                        sink.feed(encoded(codec, channel, &bytes)).await?;
                        idle.touch();
                    }
                    next = outgoing.try_recv().ok();
                }
                sink.flush().await?;
            }
            _ = pings.tick() => sink.send(Message::Ping(Bytes::new())).await?,
        }
    }
    // Clients take any other code for a failure.
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    sink.send(Message::Close(Some(goodbye))).await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;

    async fn client(connection: DuplexStream) -> WebSocketStream<DuplexStream> {
        WebSocketStream::from_raw_socket(connection, Role::Client, None).await
    }

    fn binary(bytes: &'static [u8]) -> Message {
        Message::Binary(Bytes::from_static(bytes))
    }

    #[tokio::test]
    async fn messages_go_by_channel_and_the_end_is_a_normal_close() {
        let (ours, theirs) = duplex(1 << 16);
        let mut channels = Channels::new(Codec::Binary);
        let mut stdin = channels.inlet(0);
        let mut stdout = channels.outlet(1);
        channels.greet(1);
        let serving = async {
            tokio::join!(channels.carry(ours), async {
                let mut line = [0; 5];
                stdin.read_exact(&mut line).await.unwrap();
                stdout.write_all(&line).await.unwrap();
                // The channel of the client ended, the connection did not.
                assert_eq!(stdin.read(&mut line).await.unwrap(), 0);
                stdout.write_all(b"bye").await.unwrap();
                drop(stdout);
            })
        };
        let asking = async {
            let mut client = client(theirs).await;
            assert_eq!(client.next().await.unwrap().unwrap(), binary(b"\x01"));
            for message in [&b"\x09lost"[..], b"", b"\x00hel", b"\x00lo"] {
                client.send(Message::Binary(message.to_vec().into())).await.unwrap();
            }
            assert_eq!(client.next().await.unwrap().unwrap(), binary(b"\x01hello"));
            client.send(binary(b"\xff\x00")).await.unwrap();
            assert_eq!(client.next().await.unwrap().unwrap(), binary(b"\x01bye"));
            let Message::Close(Some(goodbye)) = client.next().await.unwrap().unwrap() else { panic!("no close") };
            assert_eq!(goodbye.code, CloseCode::Normal);
            while client.next().await.is_some() {}
        };
        let ((ended, ()), ()) = tokio::join!(serving, asking);
        assert_eq!(ended, Ended::Done);
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_connection() {
        let (ours, theirs) = duplex(1 << 16);
        let mut channels = Channels::new(Codec::Binary);
        let mut stdin = channels.inlet(0);
        let _stdout = channels.outlet(1);
        let asking = async {
            let mut client = client(theirs).await;
            client.send(binary(b"\x00x")).await.unwrap();
            drop(client);
        };
        let (ended, ()) = tokio::join!(channels.carry(ours), asking);
        assert_eq!(ended, Ended::Left);
        let mut read = Vec::new();
        stdin.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"x");
    }

    #[test]
    fn text_messages_are_base64() {
        let message = encoded(Codec::Base64, 1, b"hello");
        assert_eq!(message, Message::Text("1aGVsbG8=".into()));
        let Message::Text(text) = message else { panic!("no text") };
        assert_eq!(decoded(Codec::Base64, text.into()), Some((1, Bytes::from_static(b"hello"))));
        assert_eq!(decoded(Codec::Base64, Bytes::from_static(b"1?")), None);
        assert_eq!(decoded(Codec::Base64, Bytes::from_static(b"\x01")), None);
    }
}
