//! A range of addresses in CIDR notation: which addresses belong to it, and which is its n-th.
//!
//! Invariant: the base is the range's first address; host bits given by the user are cut off.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses, as in `127.42.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

/// A text that is no CIDR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a CIDR: write an address, '/' and the number of fixed bits, as in 127.42.0.0/16")]
pub struct InvalidCidr(String);

impl Cidr {
    /// One address alone.
    #[must_use]
    pub const fn host(ip: IpAddr) -> Self {
        Self { base: ip, prefix: if ip.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether the address belongs to the range.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.base.is_ipv4() && bits(ip) & self.mask() == bits(self.base)
    }

    /// Whether all of `other` belongs to the range.
    #[must_use]
    pub fn covers(&self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.base)
    }

    /// The address at `offset` from the first one, if the range reaches so far.
    #[must_use]
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        if offset > self.last() {
            return None;
        }
        let value = bits(self.base) | offset;
        match self.base {
            IpAddr::V4(_) => u32::try_from(value).ok().map(|v| Ipv4Addr::from(v).into()),
            IpAddr::V6(_) => Some(Ipv6Addr::from(value).into()),
        }
    }

    /// The offset of an address of the range from its first one.
    #[must_use]
    pub fn offset(&self, ip: IpAddr) -> Option<u128> {
        self.contains(ip).then(|| bits(ip) & !self.mask())
    }

    /// How many bits are fixed.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The offset of the last address.
    #[must_use]
    pub fn last(&self) -> u128 {
        let width = if self.base.is_ipv4() { 32 } else { 128 };
        !self.mask() & u128::MAX.checked_shr(128 - width).unwrap_or(0)
    }

    fn mask(&self) -> u128 {
        let width: u32 = if self.base.is_ipv4() { 32 } else { 128 };
        u128::MAX.checked_shl(width - u32::from(self.prefix)).unwrap_or(0)
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let invalid = || InvalidCidr(text.to_owned());
        let (ip, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let ip: IpAddr = ip.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        if prefix > if ip.is_ipv4() { 32 } else { 128 } {
            return Err(invalid());
        }
        let first = bits(ip) & Self { base: ip, prefix }.mask();
        let base = match ip {
            IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(first).map_err(|_| invalid())?).into(),
            IpAddr::V6(_) => Ipv6Addr::from(first).into(),
        };
        Ok(Self { base, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_contains_what_shares_its_prefix() {
        let cidr: Cidr = "127.42.7.9/16".parse().unwrap();
        assert_eq!(cidr.to_string(), "127.42.0.0/16");
        assert!(cidr.contains("127.42.255.255".parse().unwrap()));
        assert!(!cidr.contains("127.43.0.0".parse().unwrap()));
        assert!(!cidr.contains("::1".parse().unwrap()));
        assert_eq!(cidr.nth(258), Some("127.42.1.2".parse().unwrap()));
        assert_eq!(cidr.offset("127.42.1.2".parse().unwrap()), Some(258));
        assert_eq!((cidr.last(), cidr.nth(65_536)), (65_535, None));
    }

    #[test]
    fn a_range_covers_itself_and_its_parts() {
        let cidr = |text: &str| text.parse::<Cidr>().unwrap();
        assert!(cidr("10.42.0.0/16").covers(cidr("10.42.3.0/24")));
        assert!(cidr("10.42.0.0/16").covers(cidr("10.42.0.0/16")));
        assert!(!cidr("10.42.3.0/24").covers(cidr("10.42.0.0/16")));
        assert!(!cidr("10.42.0.0/16").covers(cidr("10.43.0.0/24")));
    }

    #[test]
    fn the_widest_and_the_narrowest_ranges_hold() {
        let all: Cidr = "::/0".parse().unwrap();
        assert_eq!(all.last(), u128::MAX);
        let one: Cidr = "10.0.0.1/32".parse().unwrap();
        assert_eq!((one.last(), one.nth(0)), (0, Some("10.0.0.1".parse().unwrap())));
    }

    #[test]
    fn what_is_no_range_is_refused_with_an_example() {
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "a/8", "::/129", "10.0.0.0/-1"] {
            assert!(bad.parse::<Cidr>().unwrap_err().to_string().ends_with("as in 127.42.0.0/16"), "{bad}");
        }
    }
}
