//! A network without any: pods get addresses, and nobody is there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::meet::{
    Address, Attachment, BoundPort, ConnectError, ConnectionHandler, PodNetwork, PodSlot, Protocol, Reached, Resolver,
};

/// Gives every pod the same address.
pub(super) struct NoNetwork;

#[async_trait]
impl PodNetwork for NoNetwork {
    async fn attach(&self, _: PodSlot) -> io::Result<Arc<dyn Attachment>> {
        Ok(Arc::new(Self))
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

    fn listen(&self, _: u16) -> io::Result<Box<dyn BoundPort>> {
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn reach(&self, _: Protocol, _: Address) -> Result<Reached, ConnectError> {
        Err(ConnectError::Refused)
    }

    fn admits(&self, _: Protocol, _: u16, _: SocketAddr) -> bool {
        true
    }

    fn shown(&self, real: SocketAddr) -> SocketAddr {
        real
    }
}

#[async_trait]
impl Resolver for NoNetwork {
    async fn lookup(&self, _: &str, _: &str) -> Vec<IpAddr> {
        Vec::new()
    }
}
