//! Real where it can be, mapped where it cannot: binds a cluster address, or else a free port of the loopback address.
//!
//! It decides by trying, each time: what the system allows differs by system, user, port and moment.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use tokio::net::TcpSocket;

use coracle_api::meet::Address;

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

/// A socket bound to the cluster address if that can be, else to a free loopback port. It does not listen yet.
///
/// While it is held, nobody is given its port by chance, but a guest that sets `SO_REUSEADDR`
/// (as wasmtime does) may bind and listen there: so a reservation has no gap.
pub(crate) fn bind(mode: Mode, address: Address) -> io::Result<TcpSocket> {
    if mode == Mode::Real {
        match bind_at(address) {
            Err(error) if can_be_mapped(&error) => tracing::debug!(%error, %address, "mapped to a loopback port"),
            done => return done,
        }
    }
    let loopback: IpAddr = if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    bind_at(SocketAddr::new(loopback, 0))
}

/// A socket bound to exactly this address.
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

    #[test]
    fn what_is_not_local_or_in_use_is_mapped() {
        let elsewhere = bind(Mode::Real, "198.51.100.1:80".parse().unwrap()).unwrap();
        assert_eq!(elsewhere.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);

        let listener = std::net::TcpListener::bind("127.42.200.1:0").unwrap();
        let clash = bind(Mode::Real, listener.local_addr().unwrap()).unwrap();
        assert_eq!(clash.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);

        let real = bind(Mode::Real, "127.42.200.2:0".parse().unwrap()).unwrap();
        assert_eq!(real.local_addr().unwrap().ip(), Ipv4Addr::new(127, 42, 200, 2));
        let mapped = bind(Mode::Mapped, "127.42.200.3:0".parse().unwrap()).unwrap();
        assert_eq!(mapped.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
    }

    #[tokio::test]
    async fn a_reservation_lets_the_guest_listen_and_keeps_others_out() {
        let held = bind(Mode::Mapped, "127.42.200.4:80".parse().unwrap()).unwrap();
        let guest = bind_at(held.local_addr().unwrap()).unwrap();
        let listener = guest.listen(8).unwrap();
        assert!(bind_at(held.local_addr().unwrap()).is_err());
        let connected = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert_eq!(connected.peer_addr().unwrap(), held.local_addr().unwrap());
    }
}
