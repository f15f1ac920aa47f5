//! Asks others about names that are not the cluster's: the host's resolvers, or those of a stub domain.
//!
//! It believes only an answer to its own question: the same number, the same name and type, from the address it asked.
//! What it was told it keeps for a while. The same question is under way once, however many ask it: that is also how
//! a resolver that asks us back, by mistake, ends with itself.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use coracle_api::meet::NameServer;
use futures::StreamExt;
use futures::future::OptionFuture;
use futures::stream::FuturesUnordered;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::sync::Semaphore;

use crate::cache::Cache;
use crate::directions::{Directions, Sources, Wanted, nameservers};
use crate::exchange::{AskError, ask};
use crate::host::Host;

/// How long one resolver may take: clients commonly give up after five seconds, and there may be a second one.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the first resolver is waited for alone: most answer sooner, also those that have to ask others.
const HEAD_START: Duration = Duration::from_millis(300);

/// How many questions are on their way at the same time: each takes a file.
const FORWARDED_MAX: usize = 256;

/// Where a name server listens that is named by its address alone.
const DNS_PORT: u16 = 53;

/// Asks others.
pub(crate) struct Forwarder {
    sources: Mutex<Sources>,
    /// What the sources come to.
    directions: ArcSwap<Directions>,
    /// Whose resolvers are asked where nobody says others.
    host: Option<Host>,
    permits: Semaphore,
    cache: Cache,
    /// The resolver that answered last is asked first: one that is down should not be waited for each time.
    preferred: AtomicUsize,
}

/// Why there is no answer from outside.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error("no resolver is configured for names outside the cluster")]
    NoUpstream,
    #[error("too many questions are on their way")]
    Busy,
    #[error("no resolver answered; the last one")]
    Ask(#[source] Arc<AskError>),
}

impl Forwarder {
    /// Asks whom the sources say. With a `host`, its resolvers are one of them.
    pub(crate) fn new(sources: Sources, host: Option<Host>) -> Self {
        let directions = ArcSwap::from_pointee(sources.directions());
        let (sources, permits, cache) = (Mutex::new(sources), Semaphore::new(FORWARDED_MAX), Cache::default());
        let new = Self { sources, directions, host, permits, cache, preferred: AtomicUsize::new(0) };
        new.heed_host();
        new
    }

    /// Whether it may have anybody to ask.
    pub(crate) fn has_upstream(&self) -> bool {
        self.host.is_some() || self.directions.load().has_anybody()
    }

    /// From now on this is what the ConfigMap says.
    pub(crate) fn heed_map(&self, wanted: Wanted) {
        self.change(|sources| sources.map = wanted);
    }

    fn heed_host(&self) {
        if let Some(text) = self.host.as_ref().and_then(Host::news) {
            let resolvers = nameservers(&text);
            tracing::debug!(?resolvers, "the resolvers of this machine");
            self.change(|sources| sources.host = resolvers);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Sources)) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut sources);
        self.directions.store(Arc::new(sources.directions()));
    }

    /// What the cache has done.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// What the resolvers say about a name: the first that can tell.
    pub(crate) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, ForwardError> {
        self.ask_of(&[NameServer::Cluster], name, kind).await
    }

    /// What a pod's name servers say about a name outside.
    pub(crate) async fn ask_of(
        &self,
        servers: &[NameServer],
        name: &Name,
        kind: RecordType,
    ) -> Result<Message, ForwardError> {
        self.heed_host();
        let directions = self.directions.load_full();
        let upstreams = upstreams_of(&directions, servers, name);
        if upstreams.is_empty() {
            return Err(ForwardError::NoUpstream);
        }
        self.cache.get(name, kind, &upstreams, self.exchange(&directions, &upstreams, name, kind)).await
    }

    async fn exchange(
        &self,
        directions: &Directions,
        upstreams: &[SocketAddr],
        name: &Name,
        kind: RecordType,
    ) -> Result<Message, ForwardError> {
        let _permit = self.permits.try_acquire().map_err(|_| ForwardError::Busy)?;
        let is_usual = *upstreams == directions.upstreams;
        let first = if is_usual { self.preferred.load(Ordering::Relaxed) % upstreams.len() } else { 0 };
        let turns = (0..upstreams.len()).map(|turn| (first + turn) % upstreams.len());
        let mut waiting = turns.filter_map(|at| Some((at, *upstreams.get(at)?))).collect::<Vec<_>>().into_iter();
        let one = |(at, upstream): (usize, SocketAddr)| async move {
            let asked = tokio::time::timeout(UPSTREAM_TIMEOUT, ask(upstream, name, kind)).await;
            (at, upstream, asked.unwrap_or(Err(AskError::Timeout)))
        };
        let mut asked: FuturesUnordered<_> = waiting.next().map(one).into_iter().collect();
        let mut failure = ForwardError::NoUpstream;
        loop {
            let patience = OptionFuture::from((!waiting.as_slice().is_empty()).then(|| tokio::time::sleep(HEAD_START)));
            tokio::select! {
                answered = asked.next() => match answered {
                    Some((at, _, Ok(message))) => {
                        if is_usual {
                            self.preferred.store(at, Ordering::Relaxed);
                        }
                        return Ok(message);
                    }
                    Some((_, upstream, Err(error))) => {
                        tracing::debug!(%error, %upstream, %name, "a resolver did not answer");
                        failure = ForwardError::Ask(Arc::new(error));
                        asked.extend(waiting.next().map(one));
                    }
                    None => return Err(failure),
                },
                Some(()) = patience => asked.extend(waiting.next().map(one)),
            }
        }
    }
}

/// Whom these name servers mean, in their order: the cluster's asks the host's resolvers, or a stub domain's.
fn upstreams_of(directions: &Directions, servers: &[NameServer], name: &Name) -> Vec<SocketAddr> {
    let usual = directions.about(name);
    let of = |server: &NameServer| match server {
        NameServer::Cluster => usual.to_vec(),
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

impl ForwardError {
    /// What a client is told of it.
    pub(crate) fn code(&self) -> ResponseCode {
        match self {
            Self::NoUpstream => ResponseCode::Refused,
            Self::Busy | Self::Ask(_) => ResponseCode::ServFail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_own_servers_are_asked_after_or_instead_of_the_usual_ones_and_a_stub_domain_has_its_own() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let (host, own, stub) = (address("192.0.2.1:5353"), address("192.0.2.9:53"), address("192.0.2.2:53"));
        let stubs = [(name("corp.example."), vec![stub])].into();
        let flags = Wanted { upstreams: vec![host], stubs };
        let directions = Sources { flags, ..Sources::default() }.directions();
        let at = NameServer::At(own.ip());
        let of = |servers: &[NameServer], text| upstreams_of(&directions, servers, &name(text));
        assert_eq!(of(&[NameServer::Cluster, at, at], "example.com."), [host, own]);
        assert_eq!(of(&[at], "www.corp.example."), [own]);
        assert_eq!(of(&[], "example.com."), []);
        assert_eq!(of(&[NameServer::Cluster], "www.Corp.example."), [stub]);
    }
}
