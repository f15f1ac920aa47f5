//! The two ports that Ingresses are served at.
//!
//! Level, not edge: [`Doors::open`] opens what is not open. A port in use is not the end: the next one that is allowed is
//! tried, and all of them again later; what fails is said by [`Doors::failed`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::asked::Scheme;
use super::conversation::Conversations;
use crate::accept::{BACKLOG, Door};
use crate::bind::bind_at;
use crate::everywhere;

/// One kind of door: open, or why not.
struct Wanted {
    scheme: Scheme,
    /// The ports that it may have, best first.
    ports: Vec<u16>,
    open: Option<(u16, Vec<Door>)>,
    failed: Option<String>,
}

/// Both doors.
pub(super) struct Doors {
    address: IpAddr,
    conversations: Arc<Conversations>,
    wanted: [Wanted; 2],
}

impl Doors {
    /// At `address`; nothing is open yet.
    pub(super) fn new(address: IpAddr, http: &[u16], https: &[u16], conversations: Arc<Conversations>) -> Self {
        let wanted = |scheme, ports: &[u16]| Wanted { scheme, ports: ports.to_vec(), open: None, failed: None };
        Self { address, conversations, wanted: [wanted(Scheme::Http, http), wanted(Scheme::Https, https)] }
    }

    /// Opens what is not open. Whether something changed.
    pub(super) fn open(&mut self) -> bool {
        let mut changed = false;
        for wanted in self.wanted.iter_mut().filter(|wanted| wanted.open.is_none()) {
            let (address, scheme) = (self.address, wanted.scheme);
            let failed = match try_ports(address, &wanted.ports, scheme, &self.conversations) {
                Ok((port, doors)) => {
                    tracing::info!(%address, port, "Ingresses are served by {}", scheme.as_str());
                    wanted.open = Some((port, doors));
                    None
                }
                Err(errors) => Some(failure(address, scheme, &errors)),
            };
            changed |= wanted.open.is_some() || failed != wanted.failed;
            if failed != wanted.failed {
                failed.iter().for_each(|message| tracing::warn!("{message}"));
                wanted.failed = failed;
            }
        }
        changed
    }

    /// Closes both.
    pub(super) fn close(&mut self) {
        for wanted in &mut self.wanted {
            (wanted.open, wanted.failed) = (None, None);
        }
    }

    /// The ports that are open.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.wanted.iter().filter_map(|wanted| Some(wanted.open.as_ref()?.0)).collect()
    }

    /// Why others are not.
    pub(super) fn failed(&self) -> impl Iterator<Item = &str> {
        self.wanted.iter().filter_map(|wanted| wanted.failed.as_deref())
    }
}

/// The ports that could not be opened, and why.
type Failed = Vec<(u16, io::Error)>;

fn try_ports(
    address: IpAddr,
    ports: &[u16],
    scheme: Scheme,
    conversations: &Arc<Conversations>,
) -> Result<(u16, Vec<Door>), Failed> {
    let mut errors = Vec::new();
    for port in ports {
        let at = SocketAddr::new(address, *port);
        match everywhere::bind(at, |at| bind_at(at)?.listen(BACKLOG)) {
            Ok(listeners) => {
                let bound = listeners.first().and_then(|listener| listener.local_addr().ok());
                let port = bound.map_or(*port, |at| at.port());
                let door = |listener| {
                    let conversations = Arc::clone(conversations);
                    let take = move |stream, peer| conversations.take(scheme, port, stream, peer);
                    Door::open(listener, &Handle::current(), take)
                };
                return Ok((port, listeners.into_iter().map(door).collect()));
            }
            Err(error) => errors.push((*port, error)),
        }
    }
    Err(errors)
}

/// The first of these ports that could be opened now; the first of all if none can.
pub(super) fn likely(address: IpAddr, ports: &[u16]) -> Option<u16> {
    let free = |port: &&u16| {
        let at = SocketAddr::new(address, **port);
        everywhere::bind(at, |at| bind_at(at)?.listen(1)).is_ok()
    };
    ports.iter().find(free).or(ports.first()).copied()
}

/// What a person reads, with the fix.
fn failure(address: IpAddr, scheme: Scheme, errors: &[(u16, io::Error)]) -> String {
    let why = |(port, error): &(u16, io::Error)| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => "another process listens there".to_owned(),
            io::ErrorKind::PermissionDenied => "ports below 1024 need root or CAP_NET_BIND_SERVICE".to_owned(),
            _ => error.to_string(),
        };
        format!("port {port}: {why}")
    };
    let why: Vec<String> = errors.iter().map(why).collect();
    let scheme = scheme.as_str();
    format!(
        "Ingresses cannot be served by {scheme} on {address} ({}): free the port, or choose another by \
         --ingress-{scheme}-port; it is tried again every few seconds",
        why.join("; ")
    )
}
