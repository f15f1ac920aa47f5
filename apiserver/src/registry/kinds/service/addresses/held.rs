//! The addresses that a Service holds.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::Value;

/// Cluster IPs and node ports.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) ips: BTreeSet<Ipv4Addr>,
    pub(super) ports: BTreeSet<u16>,
}

impl Held {
    /// What a Service holds by what is written in it.
    pub(super) fn by(service: &Value) -> Self {
        let Some(spec) = service.get("spec") else { return Self::default() };
        let ips = spec.get("clusterIPs").and_then(Value::as_array).into_iter().flatten();
        let ips = ips.chain(spec.get("clusterIP")).filter_map(Value::as_str).filter_map(|ip| ip.parse().ok());
        let ports = spec.get("ports").and_then(Value::as_array).into_iter().flatten().filter_map(|p| p.get("nodePort"));
        let ports = ports.chain(spec.get("healthCheckNodePort")).filter_map(Value::as_u64);
        Self { ips: ips.collect(), ports: ports.filter_map(|p| u16::try_from(p).ok()).filter(|p| *p != 0).collect() }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.ips.extend(&other.ips);
        self.ports.extend(&other.ports);
    }

    pub(super) fn remove(&mut self, other: &Self) {
        self.ips.retain(|ip| !other.ips.contains(ip));
        self.ports.retain(|port| !other.ports.contains(port));
    }

    /// What is here and not there.
    pub(super) fn without(mut self, other: &Self) -> Self {
        self.remove(other);
        self
    }
}
