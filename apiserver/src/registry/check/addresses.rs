//! Addresses and networks as upstream reads and warns about them.
//!
//! Upstream still reads IPv4 numbers with leading zeros, and IPv4 addresses in IPv6 form; it warns about them.

use std::net::{IpAddr, Ipv4Addr};

/// An IP address, leading zeros and all.
pub(in crate::registry) fn parse_ip(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let mut numbers = text.split('.').map(|part| {
        let digits = !part.is_empty() && part.len() <= 16 && part.chars().all(|c| c.is_ascii_digit());
        digits.then(|| part.parse::<u8>().ok()).flatten()
    });
    let octets = [numbers.next()??, numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A network and the address that it was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// The address it was written with.
    pub(in crate::registry) const fn address(self) -> IpAddr {
        self.address
    }

    /// The length of its prefix.
    pub(in crate::registry) const fn bits(self) -> u8 {
        self.bits
    }

    /// Whether the address is in it.
    pub(in crate::registry) fn holds(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.bits) == masked(self.address, self.bits)
    }

    fn text(self) -> String {
        format!("{}/{}", masked(self.address, self.bits), self.bits)
    }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::from((v4.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::from((v6.to_bits() & mask).to_be_bytes())
        }
    }
}

/// A network in CIDR form, leading zeros and all.
pub(in crate::registry) fn parse_cidr(text: &str) -> Option<Network> {
    let (address, bits) = text.split_once('/')?;
    let address = parse_ip(address)?;
    let digits = !bits.is_empty() && bits.chars().all(|c| c.is_ascii_digit());
    let bits = bits.parse().ok().filter(|_| digits)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some(Network { address, bits })
}

fn mapped(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => v6.to_ipv4_mapped(),
    }
}

/// What is odd about an address that is read all the same.
pub(in crate::registry) fn ip_warnings(path: &str, text: &str) -> Option<String> {
    let address = parse_ip(text)?;
    if text.parse::<IpAddr>().is_err() || mapped(address).is_some() {
        let meant = mapped(address).map_or(address, IpAddr::V4);
        return Some(format!(
            "{path}: non-standard IP address {text:?} will be considered invalid in a future Kubernetes release: use {:?}",
            meant.to_string()
        ));
    }
    let canonical = address.to_string();
    (address.is_ipv6() && canonical != text)
        .then(|| format!("{path}: IPv6 address {text:?} should be in RFC 5952 canonical format ({canonical:?})"))
}

/// What is odd about a network that is read all the same.
pub(in crate::registry) fn cidr_warnings(path: &str, text: &str) -> Vec<String> {
    let Some(network) = parse_cidr(text) else { return Vec::new() };
    let mut warnings = Vec::new();
    let canonical = network.text();
    if masked(network.address, network.bits) != network.address {
        let alone = format!("{}/{}", network.address, if network.address.is_ipv4() { 32 } else { 128 });
        warnings.push(format!(
            "{path}: CIDR value {text:?} is ambiguous in this context (should be {canonical:?} or {alone:?}?)"
        ));
    }
    let written = text.split('/').next().unwrap_or_default();
    let bits = text.split('/').nth(1).unwrap_or_default();
    let odd_bits = bits.len() > 1 && bits.starts_with('0');
    if written.parse::<IpAddr>().is_err() || odd_bits || mapped(network.address).is_some() {
        warnings.push(format!(
            "{path}: non-standard CIDR value {text:?} will be considered invalid in a future Kubernetes release: use {canonical:?}"
        ));
    }
    if warnings.is_empty() && network.address.is_ipv6() && canonical != text {
        warnings
            .push(format!("{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({canonical:?})"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_addresses_are_read_and_warned_about() {
        let told: Vec<String> =
            ["10.0.0.1", "010.0.0.1", "::ffff:1.2.3.4", "FD00::0001", "fd00::1", "1.2.3", "1.2.3.400"]
                .iter()
                .map(|text| format!("{text} {:?} {:?}", parse_ip(text), ip_warnings("p", text)))
                .collect();
        expect_test::expect![[r#"
            10.0.0.1 Some(10.0.0.1) None
            010.0.0.1 Some(10.0.0.1) Some("p: non-standard IP address \"010.0.0.1\" will be considered invalid in a future Kubernetes release: use \"10.0.0.1\"")
            ::ffff:1.2.3.4 Some(::ffff:1.2.3.4) Some("p: non-standard IP address \"::ffff:1.2.3.4\" will be considered invalid in a future Kubernetes release: use \"1.2.3.4\"")
            FD00::0001 Some(fd00::1) Some("p: IPv6 address \"FD00::0001\" should be in RFC 5952 canonical format (\"fd00::1\")")
            fd00::1 Some(fd00::1) None
            1.2.3 None None
            1.2.3.400 None None"#]]
        .assert_eq(&told.join("\n"));
    }

    #[test]
    fn odd_networks_are_read_and_warned_about() {
        let told: Vec<String> = ["10.0.0.0/8", "10.1.0.0/8", "010.0.0.0/8", "FD00::/8", "10.0.0.0/33", "10.0.0.0/+8"]
            .iter()
            .map(|text| format!("{text} {:?}", parse_cidr(text).map(|_| cidr_warnings("p", text))))
            .collect();
        expect_test::expect![[r#"
            10.0.0.0/8 Some([])
            10.1.0.0/8 Some(["p: CIDR value \"10.1.0.0/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.1.0.0/32\"?)"])
            010.0.0.0/8 Some(["p: non-standard CIDR value \"010.0.0.0/8\" will be considered invalid in a future Kubernetes release: use \"10.0.0.0/8\""])
            FD00::/8 Some(["p: IPv6 CIDR value \"FD00::/8\" should be in RFC 5952 canonical format (\"fd00::/8\")"])
            10.0.0.0/33 None
            10.0.0.0/+8 None"#]]
        .assert_eq(&told.join("\n"));
        let network = parse_cidr("10.0.0.0/8").unwrap();
        assert!(network.holds("10.255.0.1".parse().unwrap()) && !network.holds("11.0.0.1".parse().unwrap()));
    }
}
