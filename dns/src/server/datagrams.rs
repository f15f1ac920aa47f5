//! Questions by datagram: what the zone knows is answered where the datagram is taken, with no task and no queue
//! between; only a question that leads outside is waited for aside. It has a thread of its own: beside other work each
//! datagram would wake a second worker, who would find that the first one is at it.
//!
//! Invariant: nobody is sent more than they asked for with a refusal, and what is itself an answer is never answered,
//! so that nobody can have two servers speak to each other or to a third.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::{Header, HeaderCounts, MessageType, Metadata, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;
use tokio::net::UdpSocket;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::socket::{Asker, Room, Socket};
use super::{Handler, Led, Reply};
use crate::counts::Way;

/// How many times datagrams are taken in a row before answers from outside have their turn.
const TAKEN_IN_A_ROW_MAX: usize = 4;

/// The longest question: one name, and what EDNS may carry.
const QUESTION_BYTES_MAX: usize = 4096;

/// Where a message says how many questions it has (RFC 1035, section 4.1.1).
const QUESTIONS_AT: std::ops::Range<usize> = 4..6;

/// Answers what comes to the socket until `stop`, and takes its thread for as long.
pub(crate) fn answer_apart(socket: std::net::UdpSocket, handler: Arc<Handler>, stop: &CancellationToken) {
    let answering = || -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let socket = UdpSocket::from_std(socket)?;
            stop.run_until_cancelled(answer_all(socket, handler)).await.unwrap_or(Ok(()))
        })
    };
    if let Err(error) = answering() {
        tracing::error!(%error, "the DNS server no longer hears datagrams");
    }
}

/// Answers what comes to the socket.
///
/// # Errors
/// When nothing can come any more.
pub(crate) async fn answer_all(socket: UdpSocket, handler: Arc<Handler>) -> io::Result<()> {
    let socket = Arc::new(Socket::new(socket)?);
    let (mut outside, mut room) = (JoinSet::new(), Room::default());
    loop {
        socket.readable().await?;
        for _ in 0..TAKEN_IN_A_ROW_MAX {
            match socket.take(&mut room) {
                Ok(questions) => {
                    let questions = questions.filter(|(_, asker)| is_somebody(asker.addr));
                    questions.for_each(|(question, asker)| take(question, asker, &socket, &handler, &mut outside));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A client that has gone is told of here (ECONNREFUSED).
                Err(error) => tracing::debug!(%error, "a datagram was not received"),
            }
        }
        while outside.try_join_next().is_some() {}
    }
}

/// Whether an answer could reach anybody.
fn is_somebody(client: SocketAddr) -> bool {
    let is_one = match client.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    is_one && client.port() != 0
}

fn take(bytes: &[u8], asker: Asker, socket: &Arc<Socket>, handler: &Arc<Handler>, outside: &mut JoinSet<()>) {
    let is_readable = bytes.len() <= QUESTION_BYTES_MAX && has_one_question(bytes);
    let read = is_readable.then(|| Request::from_bytes(bytes.to_vec(), asker.addr, Protocol::Udp));
    let Some(Ok(request)) = read else {
        if let Some(refusal) = unreadable(bytes) {
            handler.counts.answered(Way::Datagram, None, ResponseCode::FormErr, Duration::ZERO);
            socket.send(&refusal, asker);
        }
        return;
    };
    if request.metadata.message_type == MessageType::Response {
        return;
    }
    let began = Instant::now();
    match handler.lead(&request) {
        Led::Here(reply) => say(handler, socket, asker, &request, &reply, began),
        Led::Outside(aliases, name, kind) => {
            let (socket, handler) = (Arc::clone(socket), Arc::clone(handler));
            outside.spawn(async move {
                let reply = handler.follow(aliases, &name, kind).await;
                say(&handler, &socket, asker, &request, &reply, began);
            });
        }
    }
}

fn say(handler: &Handler, socket: &Socket, asker: Asker, request: &Request, reply: &Reply, began: Instant) {
    handler.count(Way::Datagram, request, reply, began);
    match handler.datagram(request, reply) {
        Ok(answer) => socket.send(&answer, asker),
        Err(error) => tracing::warn!(%error, client = %asker.addr, "an answer cannot be written"),
    }
}

/// Whether a message says that it has one question: none and many are refused by all servers (RFC 9619), and room for as
/// many as it says should not be made.
fn has_one_question(bytes: &[u8]) -> bool {
    bytes.get(QUESTIONS_AT).is_some_and(|count| count == [0, 1])
}

/// What is said to a question that cannot be read: its number, and that. Nothing if it has none, or is an answer.
fn unreadable(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = Header::read(&mut BinDecoder::new(bytes)).ok()?;
    if header.message_type == MessageType::Response {
        return None;
    }
    let mut metadata = Metadata::response_from_request(&header.metadata);
    metadata.response_code = ResponseCode::FormErr;
    Header { metadata, counts: HeaderCounts::default() }.to_bytes().ok()
}
