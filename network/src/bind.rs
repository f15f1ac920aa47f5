//! Real where it can be, mapped where it cannot: binds a cluster address, or else a free port of the loopback address.
//!
//! It decides by trying, each time: what the system allows differs by system, user, port and moment.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use coracle_api::meet::{Address, Protocol};
use serde::{Deserialize, Serialize};
use tokio::net::TcpSocket;

/// Which addresses are bound on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Cluster addresses, wherever the system lets us; a free loopback port elsewhere.
    #[default]
    Real,
    /// Loopback ports only: cluster addresses mean something inside the cluster and nowhere else.
    Mapped,
}

/// A bound socket that does not listen yet.
pub(crate) enum Binding {
    /// While it is held nobody is given its port by chance, but a guest that sets `SO_REUSEADDR`
    /// (as wasmtime does) may bind and listen there: so a reservation has no gap.
    Tcp(TcpSocket),
    /// The port is this socket's alone.
    Udp(UdpSocket),
}

impl Binding {
    /// Where it is bound.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }

    fn at(protocol: Protocol, address: SocketAddr) -> io::Result<Self> {
        match protocol {
            Protocol::Tcp => bind_at(address).map(Self::Tcp),
            Protocol::Udp => UdpSocket::bind(address).map(Self::Udp),
        }
    }
}

/// A socket bound to the cluster address if that can be, else to a free loopback port.
pub(crate) fn bind(mode: Mode, protocol: Protocol, address: Address) -> io::Result<Binding> {
    if mode == Mode::Real {
        match Binding::at(protocol, address) {
            Err(error) if can_be_mapped(&error) => tracing::debug!(%error, %address, "mapped to a loopback port"),
            done => return done,
        }
    }
    let loopback: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    Binding::at(protocol, SocketAddr::new(loopback, 0))
}

/// A TCP socket bound to exactly this address.
pub(crate) fn bind_at(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Whether a failure to bind is about this address (and not about us, as when files have run out).
fn can_be_mapped(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(mode: Mode, protocol: Protocol, address: &str) -> IpAddr {
        bind(mode, protocol, address.parse().unwrap()).unwrap().local_addr().unwrap().ip()
    }

    #[test]
    fn what_is_not_local_or_in_use_is_mapped() {
        let listener = std::net::TcpListener::bind("127.42.200.1:0").unwrap();
        let clash = listener.local_addr().unwrap().to_string();
        assert_eq!(bound(Mode::Real, Protocol::Tcp, &clash), Ipv4Addr::LOCALHOST);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            assert_eq!(bound(Mode::Real, protocol, "198.51.100.1:80"), Ipv4Addr::LOCALHOST);
            assert_eq!(bound(Mode::Real, protocol, "127.42.200.2:0"), Ipv4Addr::new(127, 42, 200, 2));
            assert_eq!(bound(Mode::Mapped, protocol, "127.42.200.3:0"), Ipv4Addr::LOCALHOST);
        }
    }

    #[tokio::test]
    async fn a_reservation_lets_the_guest_listen_and_keeps_others_out() {
        let held = bind(Mode::Mapped, Protocol::Tcp, "127.42.200.4:80".parse().unwrap()).unwrap();
        let real = held.local_addr().unwrap();
        let listener = bind_at(real).unwrap().listen(8).unwrap();
        assert!(bind_at(real).is_err());
        let connected = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap(), real);
    }
}
