//! Listening at all addresses of this machine, though the cluster has the port at one of its own: Services and pods are
//! bound for real where that can be, and a wildcard address goes with none of them.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// Binds `at`. If that means all addresses of the machine and the port is taken at one of them, it binds each other one
/// by itself: those that the devices have now, without addresses that are of one link only.
///
/// # Errors
/// That of `at`, if not one address can be bound.
pub(crate) fn bind<T>(at: SocketAddr, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<Vec<T>> {
    let error = match bind(at) {
        Ok(bound) => return Ok(vec![bound]),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && at.ip().is_unspecified() => error,
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for ip in own().filter(|ip| ip.is_ipv4() || at.is_ipv6()) {
        match bind(SocketAddr::new(ip, at.port())) {
            Ok(bound) => all.push(bound),
            Err(error) => tracing::debug!(%error, %ip, port = at.port(), "an address is left out"),
        }
    }
    if all.is_empty() { Err(error) } else { Ok(all) }
}

fn own() -> impl Iterator<Item = IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the addresses of this machine cannot be read");
        Vec::new()
    });
    interfaces.into_iter().filter(|interface| !interface.is_link_local()).map(|interface| interface.ip())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    fn bound(at: SocketAddr) -> io::Result<Vec<IpAddr>> {
        let all = bind(at, TcpListener::bind)?;
        Ok(all.iter().map(|listener| listener.local_addr().unwrap().ip()).collect())
    }

    #[test]
    fn a_port_that_a_service_has_is_bound_at_all_other_addresses() {
        let service = TcpListener::bind("127.42.200.20:0").unwrap();
        let port = service.local_addr().unwrap().port();
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let all = bind(everywhere, TcpListener::bind).unwrap();
        for ip in own().filter(IpAddr::is_ipv4) {
            TcpStream::connect((ip, port)).unwrap();
        }
        assert!(all.iter().all(|one| !one.local_addr().unwrap().ip().is_unspecified()), "each by itself");
    }

    #[test]
    fn a_port_that_another_program_has_everywhere_is_refused_as_one_address_is() {
        let other = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = other.local_addr().unwrap().port();
        for ip in ["0.0.0.0", "127.0.0.1"] {
            let refused = bound(SocketAddr::new(ip.parse().unwrap(), port)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{ip}");
        }
    }
}
