//! Questions over the wire: each gets an answer of the zone, of the resolvers outside, or a refusal that says why.
//!
//! It holds nothing but the turn of answers with several addresses, so that clients that take the first one spread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hickory_proto::ProtoError;
use hickory_proto::op::{Edns, Header, HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use crate::counts::{Counts, Way};
use crate::exchange::DATAGRAM_BYTES_MAX;
use crate::forward::Forwarder;
use crate::zone::Absent;
use crate::zones::Zones;

pub(crate) mod datagrams;
mod socket;

/// How many bytes every client takes in a datagram (RFC 1035, section 4.2.1).
const PLAIN_DATAGRAM_BYTES: u16 = 512;

/// Answers questions.
pub(crate) struct Handler {
    pub(crate) zones: Arc<Zones>,
    pub(crate) forwarder: Arc<Forwarder>,
    pub(crate) turn: AtomicUsize,
    pub(crate) counts: Arc<Counts>,
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

/// What a question leads to.
enum Led {
    /// To an answer.
    Here(Reply),
    /// Outside, with the aliases that lead there.
    Outside(Reply, Name, RecordType),
}

impl Reply {
    fn refused(code: ResponseCode) -> Self {
        Self { code, ..Self::default() }
    }
}

/// Answers what comes by hickory's streams.
pub(crate) struct Streams(pub(crate) Arc<Handler>);

#[async_trait::async_trait]
impl RequestHandler for Streams {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut to: R) -> ResponseInfo {
        let began = Instant::now();
        let reply = match self.0.lead(request) {
            Led::Here(reply) => reply,
            Led::Outside(aliases, name, kind) => self.0.follow(aliases, &name, kind).await,
        };
        self.0.count(Way::Stream, request, &reply, began);
        let (metadata, edns) = (self.0.metadata(request, &reply), edns(request));
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

/// What is said of EDNS to a client that speaks it.
fn edns(request: &Request) -> Option<Edns> {
    request.edns.as_ref().map(|theirs| {
        let mut ours = Edns::new();
        ours.set_max_payload(theirs.max_payload().clamp(PLAIN_DATAGRAM_BYTES, DATAGRAM_BYTES_MAX)).set_version(0);
        ours
    })
}

impl Handler {
    fn metadata(&self, request: &Request, reply: &Reply) -> Metadata {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = self.forwarder.has_upstream();
        metadata
    }

    fn count(&self, way: Way, request: &Request, reply: &Reply, began: Instant) {
        let kind = request.queries.queries().first().map(|query| query.query_type());
        self.counts.answered(way, kind, reply.code, began.elapsed());
    }

    /// The reply as one datagram: what the client does not take is cut, and it is told.
    fn datagram(&self, request: &Request, reply: &Reply) -> Result<Vec<u8>, ProtoError> {
        let edns = edns(request);
        let mut bytes = Vec::with_capacity(usize::from(PLAIN_DATAGRAM_BYTES));
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(edns.as_ref().map_or(PLAIN_DATAGRAM_BYTES, Edns::max_payload));
        let builder = MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let metadata = self.metadata(request, reply);
        let response = builder.build(metadata, &reply.records, &reply.authorities, [], &reply.additionals);
        response.destructive_emit(&mut encoder)?;
        Ok(bytes)
    }

    /// Where the question leads, without waiting for anybody.
    fn lead(&self, request: &Request) -> Led {
        let refused = |code| Led::Here(Reply::refused(code));
        if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return refused(ResponseCode::BADVERS);
        }
        if request.metadata.op_code != OpCode::Query {
            return refused(ResponseCode::NotImp);
        }
        let Ok(info) = request.request_info() else { return refused(ResponseCode::FormErr) };
        let query = info.query.original();
        match (query.query_class(), query.query_type()) {
            // Nobody is given whole zones.
            (_, RecordType::AXFR | RecordType::IXFR) => refused(ResponseCode::Refused),
            (DNSClass::IN, kind) => self.lead_in(query.name(), kind),
            _ => refused(ResponseCode::Refused),
        }
    }

    fn lead_in(&self, name: &Name, kind: RecordType) -> Led {
        let Some(mut answer) = self.zones.current().answer(name, kind) else {
            return match self.forwarder.has_upstream() {
                true => Led::Outside(Reply::default(), name.clone(), kind),
                false => Led::Here(Reply::refused(ResponseCode::Refused)),
            };
        };
        if !self.zones.is_whole() {
            return Led::Here(Reply::refused(ResponseCode::ServFail));
        }
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
        match answer.onward.filter(|_| kind != RecordType::CNAME) {
            Some(target) => Led::Outside(reply, target, kind),
            None => Led::Here(reply),
        }
    }

    /// Asks outside. After aliases of ours, their answer is ours as well, whatever is said of the last one.
    async fn follow(&self, aliases: Reply, name: &Name, kind: RecordType) -> Reply {
        let mut reply = self.outside(name, kind).await;
        if aliases.records.is_empty() {
            return reply;
        }
        if !matches!(reply.code, ResponseCode::NoError | ResponseCode::NXDomain) {
            reply = Reply::default();
        }
        Reply { authoritative: true, records: [aliases.records, reply.records].concat(), ..reply }
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
            Err(error) => {
                tracing::debug!(%error, %name, "a name outside was not resolved");
                Reply::refused(error.code())
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
