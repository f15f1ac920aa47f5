//! The address that the node goes by: in its Node object, in `status.hostIP` of its pods, in the status of load
//! balancers and Ingresses, and in the API's certificate.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Addresses of nobody (RFC 5737, RFC 3849): no packet is sent to them, the system is only asked for the way there.
const SOMEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Where the node listens; if that is everywhere, the address by which this machine reaches others, or that of loopback
/// if it reaches nobody.
pub(crate) fn of(bind_address: IpAddr) -> IpAddr {
    if !bind_address.is_unspecified() {
        return bind_address;
    }
    // Who listens at all addresses of IPv6 listens at those of IPv4 as well, and Services are of IPv4.
    let families = SOMEWHERE.into_iter().filter(|there| there.is_ipv4() || bind_address.is_ipv6());
    families.filter_map(|there| way_to(there).ok()).next().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

fn way_to(there: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if there.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((there, 9))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_at_one_address_goes_by_it_and_nobody_by_all() {
        for one in ["127.0.0.1", "192.0.2.7", "::1"] {
            assert_eq!(of(one.parse().unwrap()).to_string(), one);
        }
        for all in ["0.0.0.0", "::"] {
            assert!(!of(all.parse().unwrap()).is_unspecified());
        }
    }
}
