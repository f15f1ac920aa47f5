//! By which address and names other machines reach this one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use anyhow::bail;
use coracle_api::names::is_dns1123_subdomain;

/// Addresses of nobody (RFC 5737, RFC 3849): no packet is sent to them, the system is only asked for the way there.
const SOMEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// How the node is reached.
#[derive(Debug)]
pub(crate) struct Reached {
    /// The address that it goes by: in its Node object, in `status.hostIP` of its pods, in the status of load balancers
    /// and Ingresses, and in the API's certificate. It is where the node listens; if that is everywhere, the address by
    /// which this machine reaches others, or that of loopback if it reaches nobody.
    pub(crate) address: IpAddr,
    /// More names and addresses in the API's certificate.
    pub(crate) sans: Vec<String>,
}

impl Reached {
    pub(super) fn read(bind_address: IpAddr, sans: Vec<String>) -> anyhow::Result<Self> {
        let is_name = |san: &str| is_dns1123_subdomain(&san.strip_prefix("*.").unwrap_or(san).to_ascii_lowercase());
        if let Some(other) = sans.iter().find(|san| !is_name(san) && san.parse::<IpAddr>().is_err()) {
            bail!("--tls-san {other:?} is neither a name nor an address; write for example edge.example or 192.0.2.8");
        }
        Ok(Self { address: address(bind_address), sans })
    }
}

fn address(bind_address: IpAddr) -> IpAddr {
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
            assert_eq!(address(one.parse().unwrap()).to_string(), one);
        }
        for all in ["0.0.0.0", "::"] {
            assert!(!address(all.parse().unwrap()).is_unspecified());
        }
    }

    #[test]
    fn what_no_client_could_ask_for_is_no_name_of_the_api() {
        let read = |san: &str| Reached::read(Ipv4Addr::LOCALHOST.into(), vec![san.to_owned()]);
        for san in ["edge.example", "Edge", "*.edge.example", "192.0.2.8", "2001:db8::8"] {
            assert_eq!(read(san).unwrap().sans, [san]);
        }
        for san in ["", "a b", "https://edge.example", "edge.example:6443", "192.0.2.8/24", "*"] {
            let refused = read(san).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("--tls-san {san:?} is neither a name nor an address;")), "{refused}");
        }
    }
}
