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
use crate::everywhere::{Bound, Changes};

/// One kind of door: open, or why not.
struct Wanted {
    scheme: Scheme,
    /// The ports that it may have, best first.
    ports: Vec<u16>,
    open: Option<Bound<Served>>,
    failed: Option<String>,
}

impl Wanted {
    /// The port, if it is open.
    fn port(&self) -> Option<u16> {
        self.open.as_ref()?.first().map(|served| served.port)
    }
}

/// A door at one address, and its port.
struct Served {
    port: u16,
    _door: Door,
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
                Ok(bound) => {
                    wanted.open = Some(bound);
                    let port = wanted.port().unwrap_or_default();
                    tracing::info!(%address, port, "Ingresses are served by {}", scheme.as_str());
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

    /// What tells that this machine has other addresses.
    pub(super) fn changes(&self) -> Changes {
        Changes::of(self.address)
    }

    /// Makes what is open be open at the addresses that the machine has now.
    pub(super) fn follow_addresses(&mut self) {
        for wanted in &mut self.wanted {
            let (scheme, conversations) = (wanted.scheme, &self.conversations);
            let followed = wanted.open.as_mut().map(|bound| bound.follow(|at| serve_at(at, scheme, conversations)));
            if let Some(Err(error)) = followed {
                let scheme = scheme.as_str();
                tracing::warn!(%error, scheme, "Ingresses are not served at all addresses of this machine");
            }
        }
    }

    /// Closes both.
    pub(super) fn close(&mut self) {
        for wanted in &mut self.wanted {
            (wanted.open, wanted.failed) = (None, None);
        }
    }

    /// The ports that are open.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.wanted.iter().filter_map(Wanted::port).collect()
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
) -> Result<Bound<Served>, Failed> {
    let mut errors = Vec::new();
    for port in ports {
        match Bound::new(SocketAddr::new(address, *port), |at| serve_at(at, scheme, conversations)) {
            Ok(bound) => return Ok(bound),
            Err(error) => errors.push((*port, error)),
        }
    }
    Err(errors)
}

fn serve_at(at: SocketAddr, scheme: Scheme, conversations: &Arc<Conversations>) -> io::Result<Served> {
    let listener = bind_at(at)?.listen(BACKLOG)?;
    let port = listener.local_addr()?.port();
    let conversations = Arc::clone(conversations);
    let take = move |stream, peer| conversations.take(scheme, port, stream, peer);
    Ok(Served { port, _door: Door::open(listener, &Handle::current(), take) })
}

/// The first of these ports that could be opened now; the first of all if none can.
pub(super) fn likely(address: IpAddr, ports: &[u16]) -> Option<u16> {
    let free = |port: &&u16| {
        let at = SocketAddr::new(address, **port);
        Bound::new(at, |at| bind_at(at)?.listen(1)).is_ok()
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
