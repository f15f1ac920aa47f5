//! A network without any: pods get addresses, and nobody is there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use coracle_api::meet::{
    Address, Attachment, BoundPort, ConnectError, ConnectionHandler, Guise, PodNames, PodNetwork, PodSlot, Protocol,
    Reached, Resolver,
};

/// Gives every pod the same address.
pub(super) struct NoNetwork;

#[async_trait]
impl PodNetwork for NoNetwork {
    async fn attach(&self, _: PodSlot) -> io::Result<Arc<dyn Attachment>> {
        Ok(Arc::new(Self))
    }
}

/// Panics when it is asked for the first time.
#[derive(Default)]
pub(super) struct BreaksOnce(AtomicBool);

#[async_trait]
impl PodNetwork for BreaksOnce {
    async fn attach(&self, slot: PodSlot) -> io::Result<Arc<dyn Attachment>> {
        assert!(self.0.swap(true, Ordering::Relaxed), "a bug of the network");
        NoNetwork.attach(slot).await
    }
}

#[async_trait]
impl Attachment for NoNetwork {
    fn ip(&self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, 42, 0, 9))
    }

    async fn serve(&self, _: u16, _: Arc<dyn ConnectionHandler>) -> io::Result<Box<dyn BoundPort>> {
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn listen(&self, _: Protocol, _: Address) -> io::Result<Box<dyn BoundPort>> {
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn reach(&self, _: Protocol, _: Address) -> Result<Reached, ConnectError> {
        Err(ConnectError::Refused)
    }

    fn admits(&self, _: Protocol, _: u16, _: SocketAddr) -> bool {
        true
    }

    fn still_leads(&self, _: Protocol, _: Address, _: SocketAddr) -> bool {
        false
    }

    fn guise(&self, _: Protocol, _: SocketAddr, _: Address) -> Option<Box<dyn Guise>> {
        None
    }

    fn shown(&self, _: Protocol, real: SocketAddr) -> SocketAddr {
        real
    }
}

#[async_trait]
impl Resolver for NoNetwork {
    async fn lookup(&self, _: &str, _: &PodNames) -> Vec<IpAddr> {
        Vec::new()
    }
}
