//! The pod's side of its guests' sockets: its place in the network, its names, and its connections in flight.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use coracle_api::meet::{Attachment, Guise, PodNames, Protocol, Resolver};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::launch::Launch;
use crate::outbound::{Authority, Kept};
use crate::traffic::Counters;

/// What all instances of a container share of the network.
pub(crate) struct Pod {
    attachment: Arc<dyn Attachment>,
    resolver: Arc<dyn Resolver>,
    names: Arc<PodNames>,
    stopping: CancellationToken,
    connections: Arc<Connections>,
    counters: Arc<Counters>,
    kept: Kept,
    authority: Option<Arc<Authority>>,
    /// Room for more sockets.
    sockets: Arc<Semaphore>,
}

/// The connections that guests of the container have accepted and not closed.
#[derive(Default)]
struct Connections {
    open: AtomicUsize,
    closed: Notify,
}

/// An accepted connection is open as long as this lives.
pub(super) struct InFlight(Arc<Connections>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
        self.0.closed.notify_waiters();
    }
}

impl Pod {
    /// The network of the container that `launch` describes, which stops accepting with `stopping`.
    pub(crate) fn new(launch: &Launch, stopping: CancellationToken, counters: Arc<Counters>, sockets: usize) -> Self {
        Self {
            attachment: launch.attachment.clone(),
            resolver: launch.resolver.clone(),
            names: launch.names.clone(),
            stopping,
            connections: Arc::default(),
            counters,
            kept: Kept::default(),
            authority: launch.authority.clone(),
            sockets: Arc::new(Semaphore::new(sockets)),
        }
    }

    pub(crate) fn attachment(&self) -> &dyn Attachment {
        &*self.attachment
    }

    /// The connections that are kept for outgoing HTTP.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Who signs the certificates of the cluster's own hosts.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        self.authority.as_deref()
    }

    /// Where the traffic of the container is counted.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Waits until the container is told to stop and no accepted connection is open.
    pub(crate) async fn drained(&self) {
        self.stopping.cancelled().await;
        loop {
            // Enabled before the look, so that a connection that closes between the two is not missed.
            let mut closed = std::pin::pin!(self.connections.closed.notified());
            closed.as_mut().enable();
            if self.connections.open.load(SeqCst) == 0 {
                return;
            }
            closed.await;
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Room for one more socket, as long as what comes back lives; nothing if the container has as many as it may.
    pub(super) fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.sockets.clone().try_acquire_owned().ok()
    }

    /// A connection was accepted.
    pub(super) fn in_flight(&self) -> InFlight {
        self.connections.open.fetch_add(1, SeqCst);
        InFlight(self.connections.clone())
    }

    /// The addresses of a name, or the address that the text is.
    pub(crate) async fn look_up(&self, name: &str) -> Vec<IpAddr> {
        let known = self.names.known(name);
        if known.is_empty() { self.resolver.lookup(name, &self.names).await } else { known }
    }

    /// Whether `ip` is of this machine or of the pods' own network.
    pub(super) fn is_near(&self, ip: IpAddr) -> bool {
        is_near(self.attachment.ip(), ip)
    }

    /// The addresses from which a connection to `real` may come, best first: the pod's own, if packets find their way
    /// between the two, and the machine's, which is shown as the pod's.
    pub(super) fn sources_for(&self, real: SocketAddr) -> impl Iterator<Item = SocketAddr> + use<> {
        let ip = self.attachment.ip();
        let loopback: IpAddr = match real {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let own = (ip.is_ipv4() == real.is_ipv4() && is_near(ip, real.ip())).then_some(ip);
        let machines = real.ip().is_loopback().then_some(loopback);
        own.into_iter().chain(machines).map(|ip| SocketAddr::new(ip, 0))
    }

    /// Connects to a real address, from the pod's own where that is possible, or else in its guise.
    pub(crate) async fn dial(&self, real: SocketAddr) -> io::Result<(TcpStream, Option<Box<dyn Guise>>)> {
        let socket = if real.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        let bound = self.sources_for(real).any(|source| socket.bind(source).is_ok());
        let ip = self.attachment.ip();
        let guise = match socket.local_addr() {
            Ok(own) if bound => self.attachment.guise(Protocol::Tcp, own, SocketAddr::new(ip, 0)),
            Ok(_) | Err(_) => None,
        };
        socket.set_nodelay(true)?;
        Ok((socket.connect(real).await?, guise))
    }
}

/// Whether packets from a pod's address reach `target`: an address of this machine, or of the pods' own network.
fn is_near(pod: IpAddr, target: IpAddr) -> bool {
    target.is_loopback() || shares_network(pod, target)
}

/// Whether both are of the pods' own network.
fn shares_network(pod: IpAddr, target: IpAddr) -> bool {
    match (pod, target) {
        (IpAddr::V4(pod), IpAddr::V4(target)) => pod.octets()[..2] == target.octets()[..2],
        (IpAddr::V6(pod), IpAddr::V6(target)) => pod.segments()[..4] == target.segments()[..4],
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_the_source_only_where_packets_find_back() {
        let near = |pod: &str, target: &str| is_near(pod.parse().unwrap(), target.parse().unwrap());
        assert!(near("127.42.0.7", "127.42.1.9"));
        assert!(near("127.42.0.7", "127.0.0.1"));
        assert!(near("10.42.0.7", "10.42.3.9"));
        assert!(!near("10.42.0.7", "1.1.1.1"));
        assert!(!near("127.42.0.7", "1.1.1.1"));
        assert!(near("10.42.0.7", "127.0.0.1"), "what cannot be real is mapped there");
    }
}
