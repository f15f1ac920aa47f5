//! A block of loopback addresses of one cluster's own, so that clusters side by side never meet.
//!
//! Invariant: a block belongs to one cluster at a time on the whole machine. The claim is a listening socket, which the
//! system takes back however the test ends.

use std::net::{Ipv4Addr, TcpListener};

/// Clusters that fit into one 127.A.0.0/16.
const CLUSTERS_PER_NET: u8 = 7;
/// The claim's port: below the NodePorts and below the ports that the system hands out.
const CLAIM_PORT: u16 = 29_999;
/// The A of 127.A.0.0/16 is one of these many, from 64 on: clear of 127.0 and of Coracle's own defaults, 127.42 and 127.43.
const NETS: u32 = 128;

/// Addresses for one cluster.
pub struct Block {
    net: u8,
    cluster: u8,
    _claim: TcpListener,
}

impl Block {
    /// Takes the next free block. Each test process begins to look at another place.
    pub fn claim() -> Self {
        let start = std::process::id();
        for step in 0..NETS {
            let net = 64 + u8::try_from(start.wrapping_add(step) % NETS).expect("less than 128");
            for cluster in 0..CLUSTERS_PER_NET {
                if let Ok(claim) = TcpListener::bind((address(net, cluster), CLAIM_PORT)) {
                    return Self { net, cluster, _claim: claim };
                }
            }
        }
        panic!("no block of loopback addresses is free; these tests need Linux, where all of 127.0.0.0/8 can be bound");
    }

    /// Where the API, DNS and NodePorts listen.
    pub fn address(&self) -> Ipv4Addr {
        address(self.net, self.cluster)
    }

    /// The range of pod addresses.
    pub fn pods(&self) -> String {
        format!("127.{}.{}.0/20", self.net, 16 * self.cluster)
    }

    /// The range of Service addresses.
    pub fn services(&self) -> String {
        format!("127.{}.{}.0/20", self.net, 128 + 16 * self.cluster)
    }
}

fn address(net: u8, cluster: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, net, 255, 1 + cluster)
}
