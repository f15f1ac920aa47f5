//! Listening at all addresses of this machine: at each by itself. A wildcard address would go with none of the cluster's,
//! which are bound for real where that can be, on the same ports, and it would answer in their place.
//!
//! Level, not edge: [`Bound::follow`] makes what is bound equal to the addresses there are; [`Changes`] tells when to.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The groups in which the kernel tells of addresses (`RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`; rtnetlink(7)).
const GROUPS: u32 = 0x10 | 0x100;

/// Room for what the kernel tells at once. It is not read.
const TOLD_BYTES_MAX: usize = 8 * 1024;

/// An address, and the link on which it means something, if it is one alone (RFC 4007).
type Own = (IpAddr, u32);

/// What listens at an address, or at each one of this machine where that is meant.
pub(crate) struct Bound<T> {
    at: SocketAddr,
    each: BTreeMap<Own, T>,
}

impl<T> Bound<T> {
    /// Binds at `at`.
    ///
    /// # Errors
    /// The first; nothing is bound then.
    pub(crate) fn new(at: SocketAddr, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<Self> {
        let mut bound = Self { at, each: BTreeMap::new() };
        if !bound.is_everywhere() {
            bound.each.insert((at.ip(), 0), bind(at)?);
            return Ok(bound);
        }
        bound.follow(bind)?;
        if bound.each.is_empty() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        Ok(bound)
    }

    /// Whether it means all addresses. A port that is yet to be found is found for all of them at once.
    fn is_everywhere(&self) -> bool {
        self.at.ip().is_unspecified() && self.at.port() != 0
    }

    /// Binds at addresses that have come, and returns what was bound at those that have gone.
    ///
    /// # Errors
    /// The first of those that have come; the others may be bound.
    pub(crate) fn follow(&mut self, bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<Vec<T>> {
        if !self.is_everywhere() {
            return Ok(Vec::new());
        }
        let own: BTreeSet<Own> = own()?.filter(|(ip, _)| ip.is_ipv4() || self.at.is_ipv6()).collect();
        let gone = self.each.extract_if(.., |one, _| !own.contains(one)).map(|(_, one)| one).collect();
        for (ip, link) in own {
            if self.each.contains_key(&(ip, link)) {
                continue;
            }
            let at = match ip {
                IpAddr::V4(ip) => SocketAddr::from((ip, self.at.port())),
                IpAddr::V6(ip) => SocketAddrV6::new(ip, self.at.port(), 0, link).into(),
            };
            match bind(at) {
                Ok(one) => drop(self.each.insert((ip, link), one)),
                // It went meanwhile, or is still being tried (RFC 4862, section 5.4).
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                    tracing::debug!(%error, %ip, "an address is left out");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(gone)
    }

    /// One of them.
    pub(crate) fn first(&self) -> Option<&T> {
        self.each.values().next()
    }

    /// All of them.
    pub(crate) fn into_each(self) -> impl Iterator<Item = T> {
        self.each.into_values()
    }
}

/// The addresses of this machine's devices.
fn own() -> io::Result<impl Iterator<Item = Own>> {
    Ok(if_addrs::get_if_addrs()?.into_iter().map(|interface| match interface.ip() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => (ip.into(), interface.index.unwrap_or_default()),
        ip => (ip, 0),
    }))
}

/// Tells that addresses have come or gone: a netlink socket. tokio knows of datagrams of one machine only as those of
/// unix sockets, and nothing of their kind is asked of it but when to look.
pub(crate) struct Changes(Option<UnixDatagram>);

impl Changes {
    /// For who listens at `address`: nothing is told if that is one.
    pub(crate) fn of(address: IpAddr) -> Self {
        let heard = address.is_unspecified().then(listen).transpose();
        Self(heard.unwrap_or_else(|error| {
            tracing::warn!(%error, "ports are not opened at addresses that this machine gets from now on");
            None
        }))
    }

    /// Waits for the next change.
    pub(crate) async fn next(&self) {
        let Some(socket) = &self.0 else { return pending().await };
        match socket.async_io(Interest::READABLE, || drain(socket)).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "the kernel no longer tells of this machine's addresses");
                pending().await
            }
        }
    }
}

fn listen() -> io::Result<UnixDatagram> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    UnixDatagram::from_std(socket.into())
}

/// Takes all that is told. What is lost for want of room was told as well.
fn drain(socket: impl AsFd) -> io::Result<()> {
    let (mut room, mut told) = ([0; TOLD_BYTES_MAX], false);
    loop {
        match recv(&socket, &mut room, RecvFlags::DONTWAIT) {
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => told = true,
            Err(Errno::AGAIN) if told => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_port_is_bound_at_each_address_beside_a_service_that_has_it() {
        let service = TcpListener::bind("127.42.200.20:0").unwrap();
        let port = service.local_addr().unwrap().port();
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let bound = Bound::new(everywhere, TcpListener::bind).unwrap();
        for (ip, _) in own().unwrap().filter(|(ip, _)| ip.is_ipv4()) {
            TcpStream::connect((ip, port)).unwrap();
        }
        assert!(bound.into_each().all(|one| !one.local_addr().unwrap().ip().is_unspecified()));
    }

    #[test]
    fn a_port_that_another_program_has_is_refused_whole() {
        for taken in ["0.0.0.0:0", "127.0.0.1:0"] {
            let other = TcpListener::bind(taken).unwrap();
            let port = other.local_addr().unwrap().port();
            for ip in ["0.0.0.0", "127.0.0.1"] {
                let refused = Bound::new(SocketAddr::new(ip.parse().unwrap(), port), TcpListener::bind).err().unwrap();
                assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{ip} while {taken} is taken");
            }
        }
    }

    #[test]
    fn what_has_gone_is_let_go_and_what_has_come_is_bound() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let mut bound = Bound { at: everywhere, each: BTreeMap::from([((IpAddr::from([198, 51, 100, 1]), 0), 0)]) };
        assert_eq!(bound.follow(|_| Ok(1)).unwrap(), [0]);
        assert!(bound.each.values().all(|one| *one == 1) && bound.each.contains_key(&(Ipv4Addr::LOCALHOST.into(), 0)));
        assert_eq!(bound.follow(|_| Err(io::ErrorKind::AddrInUse.into())).unwrap(), [0; 0], "nothing is bound twice");
    }
}
