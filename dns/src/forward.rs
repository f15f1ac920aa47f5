//! Asks the host's resolvers about names that are not the cluster's.
//!
//! It believes only an answer to its own question: the same number, the same name and type, from the address it asked.
//! It keeps nothing: the resolvers it asks have a cache.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use coracle_api::meet::NameServer;
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// How long one resolver may take: clients commonly give up after five seconds, and there may be a second one.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// How many questions are on their way at the same time: each takes a file.
const FORWARDED_MAX: usize = 256;

/// The largest answer taken in one datagram: what passes every network unfragmented (DNS flag day 2020).
pub(crate) const DATAGRAM_BYTES_MAX: u16 = 1232;

/// Where a name server listens that is named by its address alone.
const DNS_PORT: u16 = 53;

/// The host's resolvers.
pub(crate) struct Forwarder {
    upstreams: Vec<SocketAddr>,
    permits: Semaphore,
}

/// Why there is no answer from outside.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("no resolver is configured for names outside the cluster")]
    NoUpstream,
    #[error("too many questions are on their way")]
    Busy,
    #[error("no resolver answered; the last one")]
    Ask(#[source] AskError),
}

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

impl Forwarder {
    /// A forwarder that asks `upstreams` in this order.
    pub(crate) fn new(upstreams: Vec<SocketAddr>) -> Self {
        Self { upstreams, permits: Semaphore::new(FORWARDED_MAX) }
    }

    /// Whether it has anybody to ask.
    pub(crate) fn has_upstream(&self) -> bool {
        !self.upstreams.is_empty()
    }

    /// What the first resolver that can tell says about a name.
    pub(crate) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, ForwardError> {
        self.ask_of(&[NameServer::Cluster], name, kind).await
    }

    /// What the first of a pod's name servers that can tell says about a name outside.
    pub(crate) async fn ask_of(
        &self,
        servers: &[NameServer],
        name: &Name,
        kind: RecordType,
    ) -> Result<Message, ForwardError> {
        let _permit = self.permits.try_acquire().map_err(|_| ForwardError::Busy)?;
        let mut failure = ForwardError::NoUpstream;
        for upstream in self.upstreams_of(servers) {
            let asked = tokio::time::timeout(UPSTREAM_TIMEOUT, ask(upstream, name, kind)).await;
            match asked.unwrap_or(Err(AskError::Timeout)) {
                Ok(message) => return Ok(message),
                Err(error) => {
                    tracing::debug!(%error, %upstream, %name, "a resolver did not answer");
                    failure = ForwardError::Ask(error);
                }
            }
        }
        Err(failure)
    }

    /// Whom these name servers mean, in their order: the cluster's asks the host's resolvers.
    fn upstreams_of(&self, servers: &[NameServer]) -> Vec<SocketAddr> {
        let of = |server: &NameServer| match server {
            NameServer::Cluster => self.upstreams.clone(),
            NameServer::At(ip) => vec![SocketAddr::new(*ip, DNS_PORT)],
        };
        let mut upstreams: Vec<SocketAddr> = Vec::new();
        for upstream in servers.iter().flat_map(of) {
            if !upstreams.contains(&upstream) {
                upstreams.push(upstream);
            }
        }
        upstreams
    }
}

async fn ask(upstream: SocketAddr, name: &Name, kind: RecordType) -> Result<Message, AskError> {
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
        && message.metadata.message_type == hickory_proto::op::MessageType::Response
        && message.queries == question.queries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_own_servers_are_asked_after_or_instead_of_the_hosts() {
        let host: SocketAddr = "192.0.2.1:5353".parse().unwrap();
        let forwarder = Forwarder::new(vec![host]);
        let own: SocketAddr = "192.0.2.9:53".parse().unwrap();
        let at = NameServer::At(own.ip());
        assert_eq!(forwarder.upstreams_of(&[NameServer::Cluster, at, at]), [host, own]);
        assert_eq!(forwarder.upstreams_of(&[at]), [own]);
        assert_eq!(forwarder.upstreams_of(&[]), []);
    }
}
