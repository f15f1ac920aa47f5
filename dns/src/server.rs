//! Questions over the wire: each gets an answer of the zone, of the resolvers outside, or a refusal that says why.
//!
//! It holds nothing but the turn of answers with several addresses, so that clients that take the first one spread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use crate::forward::{DATAGRAM_BYTES_MAX, ForwardError, Forwarder};
use crate::zone::Absent;
use crate::zones::Zones;

/// Answers questions.
pub(crate) struct Handler {
    pub(crate) zones: Arc<Zones>,
    pub(crate) forwarder: Arc<Forwarder>,
    pub(crate) turn: AtomicUsize,
}

/// What is sent back.
#[derive(Default)]
struct Reply {
    code: ResponseCode,
    authoritative: bool,
    records: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

impl Reply {
    fn refused(code: ResponseCode) -> Self {
        Self { code, ..Self::default() }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut to: R) -> ResponseInfo {
        let edns = request.edns.as_ref().map(|theirs| {
            let mut ours = Edns::new();
            ours.set_max_payload(theirs.max_payload().clamp(512, DATAGRAM_BYTES_MAX)).set_version(0);
            ours
        });
        let reply = self.reply(request).await;
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = self.forwarder.has_upstream();
        let builder = MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let response = builder.build(metadata, &reply.records, &reply.authorities, [], &reply.additionals);
        match to.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, client = %request.src(), "an answer was not sent");
                Header { metadata, counts: HeaderCounts::default() }.into()
            }
        }
    }
}

impl Handler {
    async fn reply(&self, request: &Request) -> Reply {
        if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return Reply::refused(ResponseCode::BADVERS);
        }
        if request.metadata.op_code != OpCode::Query {
            return Reply::refused(ResponseCode::NotImp);
        }
        let Ok(info) = request.request_info() else { return Reply::refused(ResponseCode::FormErr) };
        let query = info.query.original();
        match query.query_class() {
            DNSClass::IN => self.answer(query.name(), query.query_type()).await,
            _ => Reply::refused(ResponseCode::Refused),
        }
    }

    async fn answer(&self, name: &Name, kind: RecordType) -> Reply {
        let zone = self.zones.current();
        if !zone.is_ours(name) {
            return self.outside(name, kind).await;
        }
        if !self.zones.is_whole() {
            return Reply::refused(ResponseCode::ServFail);
        }
        let Some(mut answer) = zone.answer(name, kind) else { return Reply::refused(ResponseCode::ServFail) };
        if matches!(kind, RecordType::A | RecordType::AAAA) && answer.onward.is_none() {
            self.turn(&mut answer.records, kind);
        }
        let mut reply = Reply {
            code: ResponseCode::NoError,
            authoritative: true,
            records: answer.records,
            authorities: Vec::new(),
            additionals: answer.additionals,
        };
        match answer.absent {
            Some(Absent::Data(soa)) => reply.authorities.push(soa),
            Some(Absent::Name(soa)) => {
                reply.code = ResponseCode::NXDomain;
                reply.authorities.push(soa);
            }
            None => {}
        }
        if let Some(target) = answer.onward.filter(|_| kind != RecordType::CNAME) {
            reply.records.extend(self.outside(&target, kind).await.records);
        }
        reply
    }

    async fn outside(&self, name: &Name, kind: RecordType) -> Reply {
        match self.forwarder.ask(name, kind).await {
            Ok(message) => Reply {
                code: message.metadata.response_code,
                authoritative: false,
                records: message.answers,
                authorities: message.authorities,
                additionals: message.additionals,
            },
            Err(ForwardError::NoUpstream) => Reply::refused(ResponseCode::Refused),
            Err(error @ (ForwardError::Busy | ForwardError::Ask(_))) => {
                tracing::debug!(%error, %name, "a name outside was not resolved");
                Reply::refused(ResponseCode::ServFail)
            }
        }
    }

    /// Lets another address come first each time; aliases stay before them.
    fn turn(&self, records: &mut [Record], kind: RecordType) {
        let first = records.iter().position(|record| record.record_type() == kind).unwrap_or(0);
        let addresses = records.get_mut(first..).unwrap_or_default();
        if addresses.len() > 1 {
            addresses.rotate_left(self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len());
        }
    }
}
