//! What was heard outside, kept for as long as it said it holds, and not for long.
//!
//! Invariant: a question is on its way once: who asks the same meanwhile waits for that answer, also for the one that
//! there is none.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hickory_proto::op::Message;
use hickory_proto::rr::{LowerName, Name, RData, RecordType};
use quick_cache::sync::Cache as Kept;
use tokio::time::Instant;

use crate::forward::ForwardError;

/// How many answers are kept: those of a busy household, at about a kilobyte each.
const ANSWERS_MAX: usize = 4096;

/// How long an answer is kept at most: as long as `CoreDNS` does in Kubernetes.
const KEPT_MAX: Duration = Duration::from_secs(30);

/// How long a failure is kept: long enough that many who ask at once wait once.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

/// Whose answer to what.
type Question = (LowerName, RecordType, Box<[SocketAddr]>);

/// The answers.
pub(crate) struct Cache {
    kept: Kept<Question, Entry>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Clone)]
struct Entry {
    said: Result<Message, ForwardError>,
    since: Instant,
    until: Instant,
}

impl Default for Cache {
    fn default() -> Self {
        Self { kept: Kept::new(ANSWERS_MAX), hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }
}

impl Cache {
    /// How many questions were answered from here, and how many were not.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// How many answers there are.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// What is known of a question, or what `asked` says.
    pub(crate) async fn get(
        &self,
        name: &Name,
        kind: RecordType,
        upstreams: &[SocketAddr],
        asked: impl Future<Output = Result<Message, ForwardError>>,
    ) -> Result<Message, ForwardError> {
        let question = (LowerName::new(name), kind, upstreams.into());
        if let Some(entry) = self.kept.get(&question) {
            if entry.until > Instant::now() {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return entry.aged(name);
            }
            self.kept.remove(&question);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let fresh = async { Ok::<_, std::convert::Infallible>(Entry::new(asked.await)) };
        match self.kept.get_or_insert_async(&question, fresh).await {
            Ok(entry) => entry.aged(name),
            Err(never) => match never {},
        }
    }
}

impl Entry {
    fn new(said: Result<Message, ForwardError>) -> Self {
        let since = Instant::now();
        let kept = said.as_ref().map_or(FAILURE_KEPT, |message| lifetime(message).min(KEPT_MAX));
        Self { said, since, until: since + kept }
    }

    /// What was said, as old as it is, about the name as it is written now.
    fn aged(self, name: &Name) -> Result<Message, ForwardError> {
        let age = u32::try_from(self.since.elapsed().as_secs()).unwrap_or(u32::MAX);
        let mut message = self.said?;
        for query in &mut message.queries {
            query.set_name(name.clone());
        }
        let sections = [&mut message.answers, &mut message.authorities, &mut message.additionals];
        for record in sections.into_iter().flatten() {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Ok(message)
    }
}

/// How long an answer holds: as long as its shortest record, and where there is none, as the zone's own says (RFC 2308).
fn lifetime(message: &Message) -> Duration {
    let denied = |data: &RData| if let RData::SOA(soa) = data { soa.minimum } else { u32::MAX };
    let answers = message.answers.iter().map(|record| record.ttl);
    let denials = message.authorities.iter().map(|record| record.ttl.min(denied(&record.data)));
    let seconds = if message.answers.is_empty() { denials.min() } else { answers.min() };
    Duration::from_secs(seconds.unwrap_or(0).into())
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{OpCode, ResponseCode};
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, SOA};

    use super::*;

    fn name() -> Name {
        Name::from_ascii("www.example.com.").unwrap()
    }

    fn told(ttl: u32) -> Message {
        let mut message = Message::response(1, OpCode::Query);
        message.add_answer(Record::from_rdata(name(), ttl, RData::A(A::new(192, 0, 2, 7))));
        message
    }

    fn denied(ttl: u32, minimum: u32) -> Message {
        let mut message = Message::response(1, OpCode::Query);
        message.metadata.response_code = ResponseCode::NXDomain;
        let soa = SOA::new(name(), name(), 1, 1, 1, 1, minimum);
        message.add_authority(Record::from_rdata(name(), ttl, RData::SOA(soa)));
        message
    }

    async fn heard(cache: &Cache, said: Result<Message, ForwardError>) -> Result<Message, ForwardError> {
        cache.get(&name(), RecordType::A, &[], async { said }).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_grows_older_and_is_asked_anew_when_it_no_longer_holds() {
        let cache = Cache::default();
        assert_eq!(heard(&cache, Ok(told(10))).await.unwrap().answers[0].ttl, 10);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(heard(&cache, Ok(told(99))).await.unwrap().answers[0].ttl, 6);
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(heard(&cache, Ok(told(99))).await.unwrap().answers[0].ttl, 99);
        tokio::time::advance(KEPT_MAX).await;
        assert_eq!(heard(&cache, Ok(told(7))).await.unwrap().answers[0].ttl, 7, "nothing is kept for long");
        assert_eq!(cache.counts(), (1, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_kept_for_a_moment() {
        let cache = Cache::default();
        assert!(heard(&cache, Err(ForwardError::Busy)).await.is_err());
        assert!(heard(&cache, Ok(told(5))).await.is_err());
        tokio::time::advance(FAILURE_KEPT).await;
        assert!(heard(&cache, Ok(told(5))).await.is_ok());
    }

    #[test]
    fn an_answer_holds_as_long_as_its_shortest_record_and_a_denial_as_the_zone_says() {
        let mut two = told(60);
        two.add_answer(Record::from_rdata(name(), 7, RData::A(A::new(192, 0, 2, 8))));
        assert_eq!(lifetime(&two), Duration::from_secs(7));
        assert_eq!(lifetime(&denied(300, 20)), Duration::from_secs(20));
        assert_eq!(lifetime(&denied(10, 20)), Duration::from_secs(10));
        assert_eq!(lifetime(&Message::response(1, OpCode::Query)), Duration::ZERO);
    }
}
