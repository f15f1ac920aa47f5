//! A range of IPv4 addresses in CIDR form.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A text that is no range of IPv4 addresses, or too small a one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range for services: write it as an IPv4 network of /12 to /28, for example 10.43.0.0/16")]
pub struct InvalidCidr(String);

/// A range of addresses: `10.43.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: Ipv4Addr,
    bits: u32,
}

/// Prefix lengths that make sense for services: upstream's largest range, and one with room for the conventions.
const BITS: std::ops::RangeInclusive<u32> = 12..=28;

impl Cidr {
    /// How many addresses hosts may have: all but the network's own and the broadcast.
    pub(super) fn hosts(self) -> u64 {
        (1 << (32 - self.bits)) - 2
    }

    /// The nth address of a host, from 1.
    pub(super) fn nth(self, n: u64) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits().saturating_add(u32::try_from(n).unwrap_or(u32::MAX)))
    }

    /// Which address it is.
    pub(super) fn position(self, address: Ipv4Addr) -> u64 {
        u64::from(address.to_bits().saturating_sub(self.network.to_bits()))
    }

    /// Whether it is the address of a host in this range.
    pub(super) fn has_host(self, address: Ipv4Addr) -> bool {
        address > self.network && self.position(address) <= self.hosts()
    }

    /// How many of the first are for those who ask for an address: a sixteenth, between 16 and 256, as upstream.
    pub(super) fn reserved(self) -> u64 {
        let size = self.hosts() + 2;
        (size / 16).clamp(16, 256).min(size / 2)
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let parse = || {
            let (address, bits) = text.split_once('/')?;
            let bits = bits.parse().ok().filter(|bits| BITS.contains(bits))?;
            let address: Ipv4Addr = address.parse().ok()?;
            let mask = u32::MAX << (32 - bits);
            Some(Self { network: Ipv4Addr::from_bits(address.to_bits() & mask), bits })
        };
        parse().ok_or_else(|| InvalidCidr(text.to_owned()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_knows_its_hosts() {
        let range: Cidr = "10.43.7.9/16".parse().unwrap();
        assert_eq!(range.to_string(), "10.43.0.0/16");
        assert_eq!(range.nth(10), Ipv4Addr::new(10, 43, 0, 10));
        assert!(range.has_host(Ipv4Addr::new(10, 43, 255, 254)));
        for not in [[10, 43, 0, 0], [10, 43, 255, 255], [10, 44, 0, 1], [10, 42, 255, 255]] {
            assert!(!range.has_host(not.into()), "{not:?}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/30", "fd00::/64", "10.0.0/16"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
