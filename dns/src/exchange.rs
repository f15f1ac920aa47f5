//! One question to one resolver, and its answer: by datagram, and by stream if it does not fit.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// The largest answer taken in one datagram: what passes every network unfragmented (DNS flag day 2020).
pub(crate) const DATAGRAM_BYTES_MAX: u16 = 1232;

/// Why one resolver gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("it did not answer in time")]
    Timeout,
    #[error("it cannot be reached")]
    Socket(#[from] io::Error),
    #[error("the message cannot be read or written")]
    Message(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it answered {0}")]
    Failed(ResponseCode),
}

/// What the resolver says about a name: that it has such records, or that there are none.
pub(crate) async fn ask(upstream: SocketAddr, name: &Name, kind: RecordType) -> Result<Message, AskError> {
    let mut question = Message::query();
    let mut edns = Edns::new();
    edns.set_max_payload(DATAGRAM_BYTES_MAX);
    question.add_query(Query::query(name.clone(), kind)).set_edns(edns);
    question.metadata.recursion_desired = true;
    let bytes = question.to_vec().map_err(|error| AskError::Message(error.into()))?;

    let mut message = by_datagram(upstream, &question, &bytes).await?;
    if message.metadata.truncation {
        message = by_stream(upstream, &bytes).await?;
        if !answers(&message, &question) {
            return Err(AskError::Message("the answer is to another question".into()));
        }
    }
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(message),
        failed => Err(AskError::Failed(failed)),
    }
}

async fn by_datagram(upstream: SocketAddr, question: &Message, bytes: &[u8]) -> Result<Message, AskError> {
    let any: IpAddr = if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(DATAGRAM_BYTES_MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What cannot be read or answers something else may be forged: the true answer may still come.
        if let Ok(message) = Message::from_vec(buffer.get(..length).unwrap_or_default())
            && answers(&message, question)
        {
            return Ok(message);
        }
    }
}

async fn by_stream(upstream: SocketAddr, bytes: &[u8]) -> Result<Message, AskError> {
    let length = u16::try_from(bytes.len()).map_err(|error| AskError::Message(error.into()))?;
    let mut stream = TcpStream::connect(upstream).await?;
    stream.write_all(&[&length.to_be_bytes()[..], bytes].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Message::from_vec(&answer).map_err(|error| AskError::Message(error.into()))
}

fn answers(message: &Message, question: &Message) -> bool {
    message.metadata.id == question.metadata.id
        && message.metadata.message_type == MessageType::Response
        && message.queries == question.queries
}
